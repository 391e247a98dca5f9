import FoundationEssentials
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// What opening a tenant's folder gives.
struct RecoveredTenant {
    var identity: JournalIdentity
    var folder: String
    var isOnRootFileSystem: Bool
    var ledger: JournalLedger
    var nextIndex: UInt64
    /// Made while opening, not synced yet.
    var newFile: FileDescriptor?
    var dirtyFolders: [String]
    var report: RecoveryReport

    func makeWriter(_ configuration: JournalConfiguration, _ thread: JournalThread) -> SegmentWriter {
        let writer = SegmentWriter(
            configuration: configuration,
            thread: thread,
            identity: identity,
            folder: folder,
            nextIndex: nextIndex
        )
        writer.addDirty(file: newFile, folders: dirtyFolders)
        return writer
    }
}

/// Opens a tenant's folder: finds the segments, checks every record, cuts damage off and sets it aside.
///
/// Nothing is ever deleted here, and nothing found in a file is believed before its checksum was right. New records always go
/// into a new segment, so that a file once left is never written again.
struct TenantRecovery {
    typealias Visitor = (RecordHeader, UnsafeRawBufferPointer) -> Void

    let configuration: JournalConfiguration
    let tenantID: UUID
    let folder: String
    let rootDevice: UInt64
    let buffer: ReadBuffer
    var report = RecoveryReport()
    private var dirtyFolders: [String] = []
    private var newFile: FileDescriptor?

    init(configuration: JournalConfiguration, tenantID: UUID, folder: String, rootDevice: UInt64, buffer: ReadBuffer) {
        self.configuration = configuration
        self.tenantID = tenantID
        self.folder = folder
        self.rootDevice = rootDevice
        self.buffer = buffer
    }

    /// A segment whose header is in order.
    struct Candidate {
        var name: String
        var header: SegmentHeader
        var size: Int64
    }

    mutating func run(_ visit: Visitor) throws(JournalError) -> RecoveredTenant {
        do throws(Errno) {
            try openOrCreateFolder()
            let names = try listFolder(folder)
            // What was in them was stored, or superseded, before they were renamed.
            for name in names where name.hasSuffix(SegmentName.spareSuffix) {
                try? configuration.fileSystem.unlink(folder + "/" + name)
            }
            var candidates: [Candidate] = []
            for name in names where name.hasSuffix(SegmentName.suffix) {
                if let candidate = try examine(name) { candidates.append(candidate) }
            }
            let identity = try findIdentity(names, &candidates)
            candidates.sort { $0.header.index < $1.header.index }
            var ledger = JournalLedger()
            let end = try recover(candidates, identity, &ledger, visit)
            let left = try listFolder(folder)
            ledger.finishRecovery(end: max(end, highestEnd(left)))
            // The folder may be left over from an attempt that failed before anything was synced.
            if ledger.segments.isEmpty, !dirtyFolders.contains(configuration.path) {
                dirtyFolders.append(configuration.path)
            }
            report.segments = ledger.segments.count
            report.bytes = ledger.bytesOnDisk
            return RecoveredTenant(
                identity: identity,
                folder: folder,
                isOnRootFileSystem: try fileStatus(folder).device == rootDevice,
                ledger: ledger,
                nextIndex: highestIndex(left).map { $0 + 1 } ?? 1,
                newFile: newFile,
                dirtyFolders: dirtyFolders,
                report: report
            )
        } catch {
            if let newFile { closeQuietly(newFile) }
            throw .system("open the journal of tenant \(tenantID.uuidString.lowercased())", folder, error)
        }
    }

    private mutating func openOrCreateFolder() throws(Errno) {
        do throws(Errno) {
            guard try fileStatus(folder).isFolder else { throw .notDirectory }
        } catch {
            guard error == .noSuchFileOrDirectory else { throw error }
            try configuration.fileSystem.createFolder(folder)
            dirtyFolders.append(configuration.path)
            report.isNew = true
        }
    }

    /// Positions in files that were set aside are not used again, even when no segment was written since: the database may
    /// know them, and a file of a later version may be put back.
    private func highestEnd(_ names: [String]) -> Int64 {
        names.compactMap { name -> Int64? in
            guard name.hasSuffix(SegmentName.damagedSuffix) || name.hasSuffix(SegmentName.foreignSuffix),
                let segment = SegmentName(name), segment.base < 1 << 60,
                let size = try? fileStatus(folder + "/" + name).size, size < 1 << 40
            else { return nil }
            // "<segment>.<offset>.damaged" is what was cut off at that offset, "<segment>.damaged" a whole file.
            let offset = name.split(separator: ".").compactMap { Int64($0) }.last ?? 0
            return segment.base + max(0, min(offset, 1 << 40) + size - Int64(SegmentHeader.size))
        }.max() ?? 0
    }

    private func highestIndex(_ names: [String]) -> UInt64? {
        names.compactMap { SegmentName($0)?.index }.max()
    }

    // MARK: Headers

    /// - Returns: nil when the file is no segment of this tenant; then it was set aside.
    private mutating func examine(_ name: String) throws(Errno) -> Candidate? {
        let path = folder + "/" + name
        let status = try fileStatus(path)
        guard status.isRegularFile, let number = SegmentName(name) else {
            setAside(
                name,
                SegmentName.foreignSuffix,
                JournalIssue(
                    kind: .foreignFile,
                    file: name,
                    bytes: status.size,
                    message: "not a segment of this program"
                )
            )
            return nil
        }
        let file = try openFile(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        defer { closeQuietly(file) }
        var bytes = [UInt8](repeating: 0, count: SegmentHeader.size)
        let decoded: SegmentHeader.Decoded = bytes.withUnsafeMutableBytes { bytes in
            switch readFully(file, bytes, 0) {
            case .failure: .damaged
            case .success(let count): SegmentHeader.decode(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            }
        }
        var issue = JournalIssue(kind: .foreignFile, file: name, bytes: status.size, message: "")
        switch decoded {
        case .valid(let header) where header.tenantID != tenantID:
            issue.message = "a segment of tenant \(header.tenantID.uuidString.lowercased()) in the folder of another"
        case .valid(let header) where header.index != number.index || header.base != number.base:
            issue.message =
                "a segment that was renamed: inside it is \(SegmentName(index: header.index, base: header.base).fileName)"
        case .valid(let header):
            return Candidate(name: name, header: header, size: status.size)
        case .futureVersion(let version):
            issue.kind = .futureVersion
            issue.message =
                "written by a later version of scada-ingestion (segment format \(version), this one knows"
                + " \(SegmentHeader.version)); run that version to store its rows"
        case .foreign:
            issue.message = "not a segment of this program"
        case .damaged:
            issue.kind = .damagedHeader
            issue.message = "the segment's header is damaged"
            let end = number.base + max(0, status.size - Int64(SegmentHeader.size))
            if end > number.base, end <= JournalPosition.highest.rawValue {
                issue.lost = JournalPosition(rawValue: number.base)..<JournalPosition(rawValue: end)
            }
            setAside(name, SegmentName.damagedSuffix, issue)
            return nil
        }
        setAside(name, SegmentName.foreignSuffix, issue)
        return nil
    }

    // MARK: Identity

    /// The journal's id from its file, or else from the newest segment, or else a new one; segments of another journal are
    /// set aside.
    private mutating func findIdentity(
        _ names: [String],
        _ candidates: inout [Candidate]
    ) throws(Errno) -> JournalIdentity {
        var identity: JournalIdentity?
        if names.contains(JournalIdentity.fileName) {
            let bytes = try readSmallFile(folder + "/" + JournalIdentity.fileName, limit: 4096)
            var issue = JournalIssue(kind: .identity, file: JournalIdentity.fileName, message: "")
            switch bytes.map(JournalIdentity.decode) ?? .damaged {
            case .valid(let found) where found.tenantID == tenantID:
                identity = found
            case .valid(let found):
                issue.message = "names tenant \(found.tenantID.uuidString.lowercased()), whose folder this is not"
                setAside(JournalIdentity.fileName, SegmentName.foreignSuffix, issue)
            case .futureVersion(let version):
                issue.kind = .futureVersion
                issue.message = "written by a later version of scada-ingestion (\(version))"
                setAside(JournalIdentity.fileName, SegmentName.foreignSuffix, issue)
            case .damaged:
                issue.message = "damaged"
                setAside(JournalIdentity.fileName, SegmentName.damagedSuffix, issue)
            }
        }
        let newest = candidates.max { $0.header.index < $1.header.index }
        let journalID = identity?.journalID ?? newest?.header.journalID ?? UUID()
        let result = JournalIdentity(journalID: journalID, tenantID: tenantID)
        if identity == nil {
            if !candidates.isEmpty {
                report.issues.append(
                    JournalIssue(
                        kind: .identity,
                        file: JournalIdentity.fileName,
                        message: "written anew with the journal id found in the segments"
                    )
                )
            }
            try write(result)
        }
        for candidate in candidates where candidate.header.journalID != journalID {
            setAside(
                candidate.name,
                SegmentName.foreignSuffix,
                JournalIssue(
                    kind: .foreignFile,
                    file: candidate.name,
                    bytes: candidate.size,
                    message:
                        "belongs to journal \(candidate.header.journalID.uuidString.lowercased()), not to this one,"
                        + " \(journalID.uuidString.lowercased())"
                )
            )
        }
        candidates.removeAll { $0.header.journalID != journalID }
        return result
    }

    private mutating func write(_ identity: JournalIdentity) throws(Errno) {
        let path = folder + "/" + JournalIdentity.fileName
        let temporary = path + ".new"
        // Left over from a process that ended between creating and renaming.
        try? configuration.fileSystem.unlink(temporary)
        let file = try configuration.fileSystem.create(temporary)
        var bytes = identity.encoded()
        let count: Result<Int, Errno> = bytes.withUnsafeMutableBytes { bytes in
            withUnsafePointer(to: iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)) { piece in
                do throws(Errno) {
                    return .success(
                        try configuration.fileSystem.write(file, UnsafeBufferPointer(start: piece, count: 1), at: 0)
                    )
                } catch {
                    return .failure(error)
                }
            }
        }
        do throws(Errno) {
            guard try count.get() == bytes.count else { throw .noSpace }
            try configuration.fileSystem.rename(temporary, to: path)
        } catch {
            closeQuietly(file)
            throw error
        }
        // Synced with the first records: until then nothing depends on it, and after that the segments know the id too.
        newFile = file
        dirtyFolders.append(folder)
    }

    /// Renames a file out of the way and notes why.
    mutating func setAside(_ name: String, _ suffix: String, _ issue: JournalIssue) {
        var issue = issue
        var target = name + suffix
        var number = 1
        while (try? fileStatus(folder + "/" + target)) != nil {
            target = name + ".\(number)" + suffix
            number += 1
        }
        do throws(Errno) {
            try configuration.fileSystem.rename(folder + "/" + name, to: folder + "/" + target)
            issue.setAsideAs = target
            if !dirtyFolders.contains(folder) { dirtyFolders.append(folder) }
        } catch {
            issue.message += "; it could not be renamed: \(error)"
        }
        report.issues.append(issue)
    }
}
