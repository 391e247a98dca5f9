import Dispatch
import OPCUASecurity
import Synchronization

/// Tells whether the PKI folder trusts a server's certificate, for reports: nothing is decided by it, and nothing written.
final class CertificateTrust: Sendable {
    private let folder: String
    /// The disk is read here: not on the cooperative pool.
    private let queue = DispatchQueue(label: "pki")
    private let store = Mutex<TrustStore?>(nil)

    /// - Parameter folder: OPC_PKI_DIR; opened when it is first asked for.
    init(folder: String) {
        self.folder = folder
    }

    /// Those of the certificates (as servers send them, with or without their issuers) that are trusted themselves or by
    /// an authority they come with.
    func trusted(_ certificates: [[UInt8]]) async -> Set<[UInt8]> {
        if certificates.isEmpty { return [] }
        return await withCheckedContinuation { continuation in
            queue.async {
                guard let list = try? self.open().currentList() else {
                    continuation.resume(returning: [])
                    return
                }
                let trusted = certificates.filter { bytes in
                    guard let chain = try? CertificateChain(byteString: bytes) else { return false }
                    return chain.all.contains { list.trusted.contains($0) }
                }
                continuation.resume(returning: Set(trusted))
            }
        }
    }

    private func open() throws(SecurityError) -> TrustStore {
        if let known = store.withLock({ $0 }) { return known }
        let opened = try TrustStore(folder: folder)
        store.withLock { $0 = opened }
        return opened
    }
}
