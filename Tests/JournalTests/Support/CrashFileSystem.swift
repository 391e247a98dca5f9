import FoundationEssentials
import Journal
import Synchronization
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The real file system, with a book of what a disk would hold if the power went away: what was not synced is there, or
/// not, or in pieces, as chance will have it. What a failed sync was to write may be gone for good, though the files still
/// show it, as with the kernel's page cache.
final class CrashFileSystem: JournalFileSystem {
    private enum Change {
        case write(offset: Int, bytes: [UInt8])
        case truncate(Int)
    }

    private enum EntryChange {
        case add(String, Int)
        case remove(String)
        case rename(String, String)
    }

    private struct File {
        var durable: [UInt8] = []
        var pending: [Change] = []
    }

    private struct Folder {
        var durable: [String: Int] = [:]
        var pending: [EntryChange] = []

        static func apply(_ change: EntryChange, to entries: inout [String: Int]) {
            switch change {
            case .add(let name, let file): entries[name] = file
            case .remove(let name): entries[name] = nil
            case .rename(let name, let newName): entries[newName] = entries.removeValue(forKey: name)
            }
        }
    }

    private struct Disk {
        var files: [Int: File] = [:]
        /// Root and tenants' folders; a folder's number is that of a file which is never read.
        var folders: [String: Folder] = [:]
    }

    /// A moment at which the power may go away.
    struct Moment: Sendable {
        fileprivate var disk: @Sendable (inout SeededGenerator) -> [String: [String: [UInt8]]]
        /// What the test knew then.
        var durable: [UUID: Int64]
        var forgotten: [UUID: Int64]

        /// The folders and files that would be found.
        func lose(_ random: inout SeededGenerator) -> [String: [String: [UInt8]]] { disk(&random) }
    }

    private struct State {
        var disk = Disk()
        var paths: [String: Int] = [:]
        var nextFile = 0
        var random: SeededGenerator
        var moments: [Moment] = []
        var syncFailures = 0
        var hasBegun = false
    }

    private let real = POSIXFileSystem()
    private let root: String
    private let state: Mutex<State>
    private let knowledge: @Sendable () -> (durable: [UUID: Int64], forgotten: [UUID: Int64])
    private let failsSyncs: Bool

    init(
        root: String,
        seed: UInt64,
        failsSyncs: Bool,
        knowledge: @escaping @Sendable () -> (durable: [UUID: Int64], forgotten: [UUID: Int64])
    ) {
        self.root = root
        self.failsSyncs = failsSyncs
        self.knowledge = knowledge
        var state = State(random: SeededGenerator(seed: seed))
        state.disk.folders[root] = Folder()
        self.state = Mutex(state)
    }

    /// From now on syncs may fail.
    func begin() {
        state.withLock { $0.hasBegun = true }
    }

    var moments: [Moment] { state.withLock { $0.moments } }
    var syncFailures: Int { state.withLock { $0.syncFailures } }

    // MARK: Power loss

    private func maybeCapture(_ state: inout State) {
        guard Int.random(in: 0..<25, using: &state.random) == 0, state.moments.count < 16 else { return }
        let disk = state.disk
        let root = root
        // First what is known: what is told to be durable after this needs a sync after this.
        let (durable, forgotten) = knowledge()
        state.moments.append(
            Moment(disk: { Self.lose(disk, root, &$0) }, durable: durable, forgotten: forgotten)
        )
    }

    private static func lose(
        _ disk: Disk,
        _ root: String,
        _ random: inout SeededGenerator
    ) -> [String: [String: [UInt8]]] {
        var left: [String: [String: [UInt8]]] = [:]
        for (path, folder) in disk.folders.sorted(by: { $0.key < $1.key }) {
            var entries = folder.durable
            for change in folder.pending.prefix(.random(in: 0...folder.pending.count, using: &random)) {
                Folder.apply(change, to: &entries)
            }
            left[path] = [:]
            for (name, number) in entries.sorted(by: { $0.key < $1.key }) {
                left[path]?[name] = disk.files[number].map { image(of: $0, &random) } ?? []
            }
        }
        let folders = left[root] ?? [:]
        return left.filter { path, _ in
            path != root && folders[String(path.dropFirst(root.utf8.count + 1))] != nil
        }
    }

    private static func image(of file: File, _ random: inout SeededGenerator) -> [UInt8] {
        var image = file.durable
        let losesAll = Int.random(in: 0..<4, using: &random) == 0
        for change in file.pending where !losesAll {
            switch change {
            case .truncate(let length):
                if Bool.random(using: &random) { image = Array(image.prefix(length)) }
            case .write(let offset, let bytes):
                // Disks write sectors.
                var place = 0
                let isWhole = Bool.random(using: &random)
                while place < bytes.count {
                    let end = min(bytes.count, ((offset + place) / 512 + 1) * 512 - offset)
                    if isWhole || Bool.random(using: &random) {
                        put(bytes[place..<end], at: offset + place, in: &image)
                    }
                    place = end
                }
            }
        }
        return image
    }

    private static func put(_ bytes: ArraySlice<UInt8>, at offset: Int, in image: inout [UInt8]) {
        if image.count < offset + bytes.count {
            image += [UInt8](repeating: 0, count: offset + bytes.count - image.count)
        }
        image.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    }

    private static func persist(_ file: inout File) {
        for change in file.pending {
            switch change {
            case .truncate(let length): file.durable = Array(file.durable.prefix(length))
            case .write(let offset, let bytes): put(bytes[...], at: offset, in: &file.durable)
            }
        }
        file.pending = []
    }

    private static func persist(_ folder: inout Folder) {
        for change in folder.pending { Folder.apply(change, to: &folder.durable) }
        folder.pending = []
    }

    /// Whether this sync fails.
    private func fails(_ state: inout State) -> Bool {
        guard failsSyncs, state.hasBegun, Int.random(in: 0..<5, using: &state.random) == 0 else { return false }
        state.syncFailures += 1
        return true
    }

    // MARK: Calls

    private static func path(of file: FileDescriptor) -> String {
        var buffer = [CChar](repeating: 0, count: 4097)
        let count = readlink("/proc/self/fd/\(file.rawValue)", &buffer, 4096)
        return String(decoding: buffer.prefix(max(count, 0)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func split(_ path: String) -> (folder: String, name: String) {
        let slash = path.lastIndex(of: "/") ?? path.startIndex
        return (String(path[..<slash]), String(path[path.index(after: slash)...]))
    }

    private func note(_ path: String, _ change: (String) -> EntryChange, _ state: inout State) {
        let (folder, name) = Self.split(path)
        state.disk.folders[folder, default: Folder()].pending.append(change(name))
    }

    func create(_ path: String) throws(Errno) -> FileDescriptor {
        let file = try real.create(path)
        state.withLock { state in
            maybeCapture(&state)
            state.nextFile += 1
            let number = state.nextFile
            state.disk.files[number] = File()
            state.paths[path] = number
            note(path, { .add($0, number) }, &state)
        }
        return file
    }

    private func change(_ file: FileDescriptor, _ change: Change) {
        let path = Self.path(of: file)
        state.withLock { state in
            maybeCapture(&state)
            if let number = state.paths[path] { state.disk.files[number]?.pending.append(change) }
            maybeCapture(&state)
        }
    }

    func write(_ file: FileDescriptor, _ pieces: UnsafeBufferPointer<iovec>, at offset: Int64) throws(Errno) -> Int {
        let count = try real.write(file, pieces, at: offset)
        let bytes = pieces.flatMap { Array(UnsafeRawBufferPointer(start: $0.iov_base, count: $0.iov_len)) }
        change(file, .write(offset: Int(offset), bytes: Array(bytes.prefix(count))))
        return count
    }

    func truncate(_ file: FileDescriptor, to length: Int64) throws(Errno) {
        try real.truncate(file, to: length)
        change(file, .truncate(Int(length)))
    }

    func sync(_ file: FileDescriptor) throws(Errno) {
        let path = Self.path(of: file)
        let isGood = state.withLock { state -> Bool in
            maybeCapture(&state)
            guard let number = state.paths[path] else { return true }
            if fails(&state) {
                // Some of it may have got to the disk all the same.
                if Bool.random(using: &state.random) { Self.persist(&state.disk.files[number, default: File()]) }
                state.disk.files[number]?.pending = []
                return false
            }
            Self.persist(&state.disk.files[number, default: File()])
            maybeCapture(&state)
            return true
        }
        if !isGood { throw .ioError }
    }

    func syncFolder(_ folder: FileDescriptor) throws(Errno) {
        let path = Self.path(of: folder)
        state.withLock { state in
            maybeCapture(&state)
            Self.persist(&state.disk.folders[path, default: Folder()])
            maybeCapture(&state)
        }
    }

    func syncFileSystem(_ folder: FileDescriptor) throws(Errno) {
        let isGood = state.withLock { state -> Bool in
            maybeCapture(&state)
            if fails(&state) { return false }
            for number in state.disk.files.keys { Self.persist(&state.disk.files[number, default: File()]) }
            for path in state.disk.folders.keys { Self.persist(&state.disk.folders[path, default: Folder()]) }
            maybeCapture(&state)
            return true
        }
        if !isGood { throw .ioError }
    }

    func checkWriteOut(_ file: FileDescriptor) throws(Errno) {}

    func unlink(_ path: String) throws(Errno) {
        try real.unlink(path)
        state.withLock { state in
            maybeCapture(&state)
            state.paths[path] = nil
            note(path, { .remove($0) }, &state)
            maybeCapture(&state)
        }
    }

    func rename(_ path: String, to newPath: String) throws(Errno) {
        try real.rename(path, to: newPath)
        state.withLock { state in
            maybeCapture(&state)
            state.paths[newPath] = state.paths.removeValue(forKey: path)
            let newName = Self.split(newPath).name
            note(path, { .rename($0, newName) }, &state)
            maybeCapture(&state)
        }
    }

    func createFolder(_ path: String) throws(Errno) {
        try real.createFolder(path)
        state.withLock { state in
            maybeCapture(&state)
            state.disk.folders[path] = Folder()
            note(path, { .add($0, 0) }, &state)
            maybeCapture(&state)
        }
    }
}
