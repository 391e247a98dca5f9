import COpenSSL

/// Key material: overwritten when the last owner lets go of it, never printed.
///
/// Immutable after creation, hence free to share between threads.
package final class SecretBytes: @unchecked Sendable, CustomStringConvertible, CustomReflectable {
    private let storage: UnsafeMutableRawBufferPointer

    package var count: Int { storage.count }

    /// Makes `count` bytes, 0 … 65,536, and lets `fill` write them; `fill` returns false to give up.
    init?(count: Int, fill: (UnsafeMutableRawBufferPointer) -> Bool) {
        storage = .allocate(byteCount: count, alignment: 16)
        storage.initializeMemory(as: UInt8.self, repeating: 0)
        guard fill(storage) else { return nil }
    }

    /// Copies `bytes`; the original is the caller's to wipe.
    init(copying bytes: some Collection<UInt8>) {
        storage = .allocate(byteCount: bytes.count, alignment: 16)
        storage.copyBytes(from: bytes)
    }

    /// Takes over the content of `bytes` and wipes the array it was in.
    package convenience init(moving bytes: inout [UInt8]) {
        self.init(copying: bytes)
        bytes.wipe()
        bytes = []
    }

    deinit {
        OPENSSL_cleanse(storage.baseAddress, storage.count)
        storage.deallocate()
    }

    func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R { body(UnsafeRawBufferPointer(storage)) }

    package var description: String { "••••" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

extension [UInt8] {
    /// Overwrites the bytes. Only of use where the array is uniquely owned: a copy elsewhere stays as it is.
    mutating func wipe() {
        withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
    }
}
