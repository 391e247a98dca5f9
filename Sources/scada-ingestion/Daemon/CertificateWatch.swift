import NIOPosix
import OPCUASecurity
import Observability
import Synchronization

/// The certificates whose end somebody has to know of: the own one, the API's, and those of the servers that are trusted.
///
/// Who asks gets what was read last and never waits for the disk; the files are read again once a minute on a thread that
/// may block. Any thread.
final class CertificateWatch: Sendable {
    struct Entry: Sendable, Equatable {
        /// The metric's label: `own`, `grpc`, or `trusted:` or `issuers:` and the thumbprint.
        var label: String
        /// For people.
        var role: String
        var subject: String
        /// Seconds since 1970.
        var notAfter: Int64
    }

    /// Certificates told at most, those that end first.
    private static let most = 100
    private static let validity: Duration = .seconds(60)

    private let identity: Certificate
    private let store: TrustStore?
    /// GRPC_TLS_CERT and GRPC_TLS_KEY.
    private let tls: (certificate: String, key: String)?
    private let known = Mutex(Known())

    private struct Known {
        var entries: [Entry] = []
        var readAt = ContinuousClock.now
        var isReading = false
    }

    /// Reads for the first time; blocks on the disk.
    /// - Parameter tls: the files of the API's certificate and key; nil without TLS.
    init(identity: ApplicationIdentity, store: TrustStore?, tls: (certificate: String, key: String)?) {
        self.identity = identity.certificate
        self.store = store
        self.tls = tls
        let entries = read()
        known.withLock { $0.entries = entries }
    }

    /// Those that end first, first.
    var entries: [Entry] {
        let (entries, isOld) = known.withLock { known in
            let isOld = !known.isReading && ContinuousClock.now - known.readAt >= Self.validity
            if isOld { known.isReading = true }
            return (known.entries, isOld)
        }
        if isOld {
            NIOThreadPool.singleton.submit { [self] _ in
                let entries = read()
                known.withLock { $0 = Known(entries: entries) }
            }
        }
        return entries
    }

    private func read() -> [Entry] {
        var entries = [
            Entry(label: "own", role: "OPC UA client", subject: identity.subject, notAfter: identity.notAfter)
        ]
        if let tls, let certificate = try? SmallTextFile.readBytes(tls.certificate),
            let key = try? SmallTextFile.readBytes(tls.key),
            let pair = try? TLSKeyPair(certificate: certificate, key: key)
        {
            entries.append(Entry(label: "grpc", role: "gRPC server", subject: pair.name, notAfter: pair.notAfter))
        }
        for stored in (try? store?.list()) ?? [] {
            let role: String
            switch stored.location {
            case .own, .rejected: continue
            case .trusted: role = "trusted OPC UA server"
            case .issuers: role = "issuer"
            }
            let label = "\(stored.location.rawValue):\(stored.certificate.thumbprint)"
            // One certificate may stand in several files.
            if entries.contains(where: { $0.label == label }) { continue }
            entries.append(
                Entry(
                    label: label,
                    role: role,
                    subject: stored.certificate.subject,
                    notAfter: stored.certificate.notAfter
                )
            )
        }
        return Array(entries.sorted { ($0.notAfter, $0.label) < ($1.notAfter, $1.label) }.prefix(Self.most))
    }
}
