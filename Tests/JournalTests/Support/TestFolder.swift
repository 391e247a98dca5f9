import FoundationEssentials
import SystemPackage
import Testing

@testable import Journal

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A folder of a test's own, removed with the object.
final class TestFolder: Sendable {
    let path: String

    init() throws {
        // In memory where that is possible: hundreds of syncs would wait for whatever else the machine's disk is busy with.
        let parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
        var template = Array((parent + "/journal-test-XXXXXX").utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        path = String(cString: made)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Path of a tenant's folder.
    func tenant(_ id: UUID) -> String { path + "/" + id.uuidString.lowercased() }

    /// Everything in the folder of a tenant by name.
    func files(of tenant: UUID) throws -> [String: [UInt8]] {
        var files: [String: [UInt8]] = [:]
        for name in try listFolder(self.tenant(tenant)) {
            files[name] = try readSmallFile(self.tenant(tenant) + "/" + name, limit: 1 << 18) ?? []
        }
        return files
    }

    /// Makes a tenant's folder hold exactly these files.
    func replace(_ tenant: UUID, by files: [String: [UInt8]]) throws {
        let folder = self.tenant(tenant)
        try? FileManager.default.removeItem(atPath: folder)
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for (name, bytes) in files { try write(bytes, to: folder + "/" + name) }
    }
}

func write(_ bytes: [UInt8], to path: String) throws {
    let file = try openFile(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC)
    defer { closeQuietly(file) }
    guard bytes.withUnsafeBytes({ write(file.rawValue, $0.baseAddress, $0.count) }) == bytes.count else {
        throw Errno(rawValue: errno)
    }
}

func mode(of path: String) throws -> mode_t {
    var status = stat()
    guard lstat(path, &status) == 0 else { throw Errno(rawValue: errno) }
    return status.st_mode & 0o7777
}

extension UUID {
    /// The same for the same number.
    init(number: UInt8) {
        self.init(uuid: (number, 1, 2, 3, 4, 5, 0x46, 7, 0x88, 9, 10, 11, 12, 13, 14, number))
    }
}

/// Waits until `condition` holds. A test whose condition never does fails here, after a time no healthy run needs.
func eventually(
    _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while try !condition() {
        guard ContinuousClock.now < deadline else {
            Issue.record("waited in vain: \(what)", sourceLocation: sourceLocation)
            throw Errno.timedOut
        }
        try await Task.sleep(for: .milliseconds(1))
    }
}
