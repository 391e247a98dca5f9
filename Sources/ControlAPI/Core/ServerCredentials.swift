import CGRPC
import Synchronization

/// grpc_server_credentials, released in deinit.
final class ServerCredentials: @unchecked Sendable {
    let handle: OpaquePointer
    /// Used by the core's handshakes through an unretained pointer: lives as long as the credentials, which `ControlServer`
    /// keeps until the server is gone.
    private let certificates: CertificateFiles?

    private init(handle: OpaquePointer, certificates: CertificateFiles?) {
        self.handle = handle
        self.certificates = certificates
    }

    deinit {
        grpc_server_credentials_release(handle)
    }

    static func insecure() throws(ControlServerError) -> ServerCredentials {
        guard let handle = cgrpc_insecure_server_credentials() else { throw .credentials("no insecure credentials") }
        return ServerCredentials(handle: handle, certificates: nil)
    }

    /// TLS with the files of `certificates`. Before each handshake the core asks for a newer set.
    static func tls(_ certificates: CertificateFiles) throws(ControlServerError) -> ServerCredentials {
        let request =
            certificates.options.clientCAFile == nil
            ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
        let options = grpc_ssl_server_credentials_create_options_using_config_fetcher(
            request,
            { userData, config in
                guard let userData, let config else { return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL }
                let files = Unmanaged<CertificateFiles>.fromOpaque(userData).takeUnretainedValue()
                switch files.fetch() {
                case .unchanged:
                    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED
                case .failed:
                    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL
                case .new(let set):
                    guard let made = makeConfig(set) else { return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL }
                    config.pointee = made
                    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
                }
            },
            Unmanaged.passUnretained(certificates).toOpaque()
        )
        guard let options, let handle = grpc_ssl_server_credentials_create_with_options(options) else {
            throw .credentials("the TLS certificate, key or client CA was not accepted")
        }
        return ServerCredentials(handle: handle, certificates: certificates)
    }
}

/// The core copies the texts.
///
/// Authorities are always given: with a config fetcher the core asserts that there are some, and Debian's build, which
/// keeps assertions, would abort the process. Without client certificates nothing is ever checked against them, and the
/// server's own certificate serves.
private func makeConfig(_ set: CertificateFiles.Contents) -> OpaquePointer? {
    set.key.withCString { key in
        set.certificate.withCString { certificate in
            var pair = grpc_ssl_pem_key_cert_pair(private_key: key, cert_chain: certificate)
            return (set.clientCA ?? set.certificate).withCString {
                grpc_ssl_server_certificate_config_create($0, &pair, 1)
            }
        }
    }
}
