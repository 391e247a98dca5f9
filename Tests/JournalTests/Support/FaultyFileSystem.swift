import Journal
import Synchronization
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The real file system, but for calls that a rule makes fail.
final class FaultyFileSystem: JournalFileSystem {
    enum Call: Hashable {
        case create, write, truncate, sync, syncFolder, syncFileSystem, checkWriteOut, unlink, rename, createFolder
    }

    enum Outcome {
        case pass
        case fail(Errno)
        /// Writes so many bytes only.
        case short(Int)
    }

    private struct State {
        var rule: @Sendable (Call) -> Outcome = { _ in .pass }
        var counts: [Call: Int] = [:]
    }

    private let real = POSIXFileSystem()
    private let state = Mutex(State())

    /// From now on.
    func set(_ rule: @escaping @Sendable (Call) -> Outcome) {
        state.withLock { $0.rule = rule }
    }

    func fail(_ call: Call, _ errno: Errno) {
        set { $0 == call ? .fail(errno) : .pass }
    }

    func heal() {
        set { _ in .pass }
    }

    func count(_ call: Call) -> Int { state.withLock { $0.counts[call] ?? 0 } }

    @discardableResult
    private func judge(_ call: Call) throws(Errno) -> Outcome {
        let outcome = state.withLock { state in
            state.counts[call, default: 0] += 1
            return state.rule(call)
        }
        if case .fail(let errno) = outcome { throw errno }
        return outcome
    }

    func create(_ path: String) throws(Errno) -> FileDescriptor {
        try judge(.create)
        return try real.create(path)
    }

    func write(_ file: FileDescriptor, _ pieces: UnsafeBufferPointer<iovec>, at offset: Int64) throws(Errno) -> Int {
        guard case .short(let limit) = try judge(.write) else { return try real.write(file, pieces, at: offset) }
        var left = limit
        var done = 0
        for piece in pieces where left > 0 {
            let part = iovec(iov_base: piece.iov_base, iov_len: min(piece.iov_len, left))
            done += try withUnsafePointer(to: part) { part throws(Errno) -> Int in
                try real.write(file, UnsafeBufferPointer(start: part, count: 1), at: offset + Int64(done))
            }
            left = limit - done
        }
        return done
    }

    func truncate(_ file: FileDescriptor, to length: Int64) throws(Errno) {
        try judge(.truncate)
        try real.truncate(file, to: length)
    }

    func sync(_ file: FileDescriptor) throws(Errno) {
        try judge(.sync)
        try real.sync(file)
    }

    func syncFolder(_ folder: FileDescriptor) throws(Errno) {
        try judge(.syncFolder)
        try real.syncFolder(folder)
    }

    func syncFileSystem(_ folder: FileDescriptor) throws(Errno) {
        try judge(.syncFileSystem)
        try real.syncFileSystem(folder)
    }

    func checkWriteOut(_ file: FileDescriptor) throws(Errno) {
        try judge(.checkWriteOut)
        try real.checkWriteOut(file)
    }

    func unlink(_ path: String) throws(Errno) {
        try judge(.unlink)
        try real.unlink(path)
    }

    func rename(_ path: String, to newPath: String) throws(Errno) {
        try judge(.rename)
        try real.rename(path, to: newPath)
    }

    func createFolder(_ path: String) throws(Errno) {
        try judge(.createFolder)
        try real.createFolder(path)
    }
}
