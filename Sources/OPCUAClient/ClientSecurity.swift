import FoundationEssentials
import NIOPosix
package import OPCUASecurity

/// Who this client is and whom it trusts. One for all connections of a process.
package struct ClientSecurity: Sendable {
    /// The application instance certificate and its key.
    package let identity: ApplicationIdentity
    /// Asked about a server's certificate before every secured channel, off the event loops.
    package let trustStore: TrustStore

    package init(identity: ApplicationIdentity, trustStore: TrustStore) {
        self.identity = identity
        self.trustStore = trustStore
    }

    /// What servers compare with the URI in ApplicationDescription (Part 6, 6.2.2).
    package var applicationURI: String? { identity.certificate.uris.first }
}

/// A server's certificate that the trust store has accepted, and what it is used with.
struct TrustedServer {
    var certificate: Certificate
    var policy: SecurityPolicy
}

/// A user's certificate and key, read from files.
struct UserCertificate: Sendable {
    var chain: CertificateChain
    var key: PrivateKey

    /// Blocks on the disk.
    static func load(certificatePath: String, keyPath: String) throws(OPCUAClientError) -> UserCertificate {
        func bytes(_ path: String) throws(OPCUAClientError) -> [UInt8] {
            guard let data = FileManager.default.contents(atPath: path) else {
                throw OPCUAClientError(
                    .invalidConfiguration,
                    "the user certificate file \(path) cannot be read",
                    advice: "Check that it exists and that this process may read it",
                    isRetriedAtLongestDelayOnly: true
                )
            }
            return [UInt8](data)
        }
        do {
            let chain = try CertificateChain(fileContent: try bytes(certificatePath))
            let key = try PrivateKey(try bytes(keyPath))
            guard key.belongs(to: chain.leaf.publicKey) else {
                throw OPCUAClientError(
                    .invalidConfiguration,
                    "the private key \(keyPath) does not belong to the user certificate \(certificatePath)",
                    isRetriedAtLongestDelayOnly: true
                )
            }
            return UserCertificate(chain: chain, key: key)
        } catch let error as OPCUAClientError {
            throw error
        } catch {
            throw OPCUAClientError(
                .invalidConfiguration,
                "the user certificate \(certificatePath) or its key \(keyPath) cannot be used: \(error)",
                isRetriedAtLongestDelayOnly: true
            )
        }
    }
}

extension OPCUAClientError {
    /// Runs what blocks on the disk off the event loop.
    static func offLoop<R: Sendable>(
        isolation: isolated (any Actor)? = #isolation,
        _ body: @escaping @Sendable () throws -> R
    ) async throws(OPCUAClientError) -> R {
        do { return try await NIOThreadPool.singleton.runIfActive(body) } catch let error as OPCUAClientError {
            throw error
        } catch let error as SecurityError {
            throw OPCUAClientError(.security, error.message, status: error.status)
        } catch {
            throw OPCUAClientError(.stopped, "\(error)")
        }
    }
}
