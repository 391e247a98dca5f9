/// The kernel's list of mounts (proc(5), /proc/self/mountinfo), as far as it tells what kind of file system a path is on.
struct MountTable: Sendable, Equatable {
    struct Mount: Sendable, Equatable {
        var path: String
        /// "ext4", "nfs4", "overlay", …
        var type: String
    }

    var mounts: [Mount] = []

    /// Lines that are not understood are left out.
    init(parsing text: String) {
        for line in text.split(separator: "\n") {
            // 36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/sda1 rw: some optional fields before the dash.
            let words = line.split(separator: " ")
            guard words.count > 6, let dash = words.dropFirst(6).firstIndex(of: "-"), dash + 1 < words.count else {
                continue
            }
            mounts.append(Mount(path: Self.unescaped(words[4]), type: String(words[dash + 1])))
        }
    }

    /// The mount that a path without symbolic links is on: the deepest, and of those at one place the last, which covers
    /// the others.
    func mount(of path: String) -> Mount? {
        var best: Mount?
        for mount in mounts where Self.contains(mount.path, path) {
            if mount.path.utf8.count >= best?.path.utf8.count ?? 0 { best = mount }
        }
        return best
    }

    private static func contains(_ folder: String, _ path: String) -> Bool {
        folder == "/" || path == folder || path.hasPrefix(folder + "/")
    }

    /// White space and backslashes stand as three octal digits.
    private static func unescaped(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3,
                let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
