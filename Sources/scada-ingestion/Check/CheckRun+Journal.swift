import Glibc
import Journal
import TimescaleStore

extension CheckRun {
    /// The folder, who has it, what is in it, and whether it can grow as configured.
    mutating func checkJournal() async {
        let path = configuration.journal.directory
        let subject = "journal \(path)"
        guard let folder = checkFolder(path, subject, variable: "JOURNAL_DIR") else { return }
        // Opening a journal that nobody has used would leave files of this user behind, perhaps not the daemon's.
        if access("\(path)/lock", F_OK) == 0 { await lookIntoJournal(path, subject) }
        checkFileSystem(folder, subject)
        checkRoom(folder, subject)
    }

    private mutating func lookIntoJournal(_ path: String, _ subject: String) async {
        do throws(JournalError) {
            let journals = try JournalDirectory(JournalConfiguration(path: path))
            let listings = try journals.listTenants()
            try await journals.close()
            for listing in listings { tell(listing, subject) }
        } catch {
            guard error.code == .alreadyOwned else {
                return add(.fail(subject, "\(error)", .configuration))
            }
            isDaemonRunning = true
            let owner = error.ownerProcessID.map { "process \($0)" } ?? "another process"
            add(
                .warn(
                    subject,
                    "\(owner) has it: a daemon is running on this configuration",
                    cure: "end it before another one starts"
                )
            )
        }
    }

    private mutating func tell(_ listing: JournalDirectory.Listing, _ subject: String) {
        let tenant = listing.tenantID.lowercase
        if listing.setAsideFiles > 0 {
            add(
                .warn(
                    subject,
                    "tenant \(tenant) has \(listing.setAsideFiles) damaged files set aside, "
                        + "\(ByteSize.rounded(Int(listing.setAsideBytes)))",
                    cure: "keep them for an examination, or delete them"
                )
            )
        }
        guard let tenants, listing.bytes > 0, !tenants.contains(where: { $0.id == listing.tenantID }) else { return }
        add(
            .warn(
                subject,
                "tenant \(tenant) is not active any more and has \(ByteSize.rounded(Int(listing.bytes))) of readings here",
                cure: "activate it to store them, or delete its folder"
            )
        )
    }

    private mutating func checkFileSystem(_ folder: String, _ subject: String) {
        guard let resolved = realpath(folder, nil) else { return }
        defer { free(resolved) }
        let mounts: String
        do throws(Unacceptable) { mounts = try SmallTextFile.read("/proc/self/mountinfo") } catch { return }
        guard let mount = MountTable(parsing: mounts).mount(of: String(cString: resolved)) else { return }
        if let finding = Self.judge(mount.type, subject) { add(finding) }
    }

    /// What is wrong with a journal on that kind of file system; nil when nothing is.
    static func judge(_ fileSystem: String, _ subject: String) -> Finding? {
        switch fileSystem {
        case "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs":
            .warn(
                subject,
                "it is on a network file system (\(fileSystem)): locks and syncs may not be what they promise",
                cure: "put JOURNAL_DIR on a local disk"
            )
        case "tmpfs", "ramfs":
            .warn(
                subject,
                "it is in memory (\(fileSystem)): a restart of the machine loses what the database does not have yet",
                cure: "put JOURNAL_DIR on a disk"
            )
        case "overlay":
            .warn(
                subject,
                "it is within a container's own layer, which goes with the container",
                cure: "mount a volume at JOURNAL_DIR"
            )
        default: nil
        }
    }

    private mutating func checkRoom(_ folder: String, _ subject: String) {
        var info = statvfs()
        guard statvfs(folder, &info) == 0 else { return }
        let free = Int(
            clamping: UInt64(info.f_bavail).multipliedReportingOverflow(by: UInt64(info.f_frsize)).partialValue
        )
        let perTenant = configuration.journal.maxBytesPerTenant
        let all = perTenant.multipliedReportingOverflow(by: max(1, tenants?.count ?? 1))
        let wanted = configuration.journal.maxTotalBytes ?? (all.overflow ? Int.max : all.partialValue)
        if free < wanted {
            add(
                .warn(
                    subject,
                    "\(ByteSize.rounded(free)) are free, the journals may take \(ByteSize.rounded(wanted))",
                    cure: "give it a larger disk, or set JOURNAL_MAX_TOTAL_BYTES"
                )
            )
        } else {
            add(.ok(subject, "\(ByteSize.rounded(free)) are free, at most \(ByteSize.rounded(wanted)) are used"))
        }
    }

    // MARK: Folders

    /// Whether a folder can be used, or made.
    /// - Returns: the folder itself, or the one it would be made in; nil after a failure was added.
    mutating func checkFolder(_ path: String, _ subject: String, variable: String) -> String? {
        let user = "user id \(geteuid())"
        var info = stat()
        if stat(path, &info) == 0 {
            guard info.st_mode & S_IFMT == S_IFDIR else {
                add(.fail(subject, "it is not a folder", cure: "set \(variable) to a folder", .configuration))
                return nil
            }
            guard access(path, R_OK | W_OK | X_OK) == 0 else {
                add(
                    .fail(
                        subject,
                        "\(user) may not write into it",
                        cure: "chown it to the user the daemon runs as, or set \(variable)",
                        .configuration
                    )
                )
                return nil
            }
            return path
        }
        var parent = path
        repeat { parent = Self.parent(of: parent) } while stat(parent, &info) != 0 && parent != "/" && parent != "."
        guard info.st_mode & S_IFMT == S_IFDIR, access(parent, W_OK | X_OK) == 0 else {
            add(
                .fail(
                    subject,
                    "it does not exist and \(user) may not make it in \(parent)",
                    cure: "make it for the user the daemon runs as, or set \(variable)",
                    .configuration
                )
            )
            return nil
        }
        add(.ok(subject, "it does not exist yet and will be made"))
        return parent
    }

    /// "/a/b" → "/a", "/a" → "/", "a" → ".".
    static func parent(of path: String) -> String {
        let parts = path.split(separator: "/").dropLast()
        if path.hasPrefix("/") { return "/" + parts.joined(separator: "/") }
        return parts.isEmpty ? "." : parts.joined(separator: "/")
    }
}
