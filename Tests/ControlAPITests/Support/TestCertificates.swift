import CGRPC
import Glibc

/// Certificates made with the openssl command in a temporary folder.
struct TestCertificates: Sendable {
    struct Failed: Error {}

    /// Whether the command is there.
    static var isAvailable: Bool { openssl != nil }
    private static let openssl = ["/usr/bin/openssl", "/usr/local/bin/openssl"].first { (path: String) in
        access(path, X_OK) == 0
    }

    let folder: TemporaryFolder

    /// Two authorities: "ca" and "stranger-ca".
    init() throws {
        folder = try TemporaryFolder()
        for name in ["ca", "stranger-ca"] {
            try run(["req", "-x509", "-subj", "/CN=\(name)", "-days", "2", "-out", file("\(name).pem")] + key(name))
        }
    }

    func file(_ name: String) -> String { "\(folder.path)/\(name)" }

    /// Makes `name`.pem and `name`.key for this machine.
    func issue(_ name: String, by authority: String = "ca", subject: String = "/CN=localhost", days: Int = 2) throws {
        try run(["req", "-subj", subject, "-out", file("\(name).csr")] + key(name))
        try folder.write("extensions", "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        let issuer = ["-CA", file("\(authority).pem"), "-CAkey", file("\(authority).key"), "-CAcreateserial"]
        try run(
            ["x509", "-req", "-in", file("\(name).csr"), "-days", "\(days)", "-extfile", file("extensions")]
                + ["-out", file("\(name).pem.new")] + issuer
        )
        guard rename(file("\(name).pem.new"), file("\(name).pem")) == 0 else { throw Failed() }
    }

    func text(_ name: String) throws -> String {
        guard let stream = fopen(file(name), "r") else { throw Failed() }
        defer { fclose(stream) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = fread(&bytes, 1, bytes.count, stream)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    /// Credentials of a client that trusts `authority` and shows the certificate `client`.
    func client(trusting authority: String = "ca", showing client: String? = nil) throws -> OpaquePointer {
        let root = try text("\(authority).pem")
        guard let client else {
            return try unwrap(grpc_ssl_credentials_create(root, nil, nil, nil))
        }
        let key = try text("\(client).key")
        let chain = try text("\(client).pem")
        return try key.withCString { key in
            try chain.withCString { chain in
                var pair = grpc_ssl_pem_key_cert_pair(private_key: key, cert_chain: chain)
                return try unwrap(grpc_ssl_credentials_create(root, &pair, nil, nil))
            }
        }
    }

    private func unwrap(_ credentials: OpaquePointer?) throws -> OpaquePointer {
        guard let credentials else { throw Failed() }
        return credentials
    }

    private func key(_ name: String) -> [String] {
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("\(name).key")]
    }

    private func run(_ arguments: [String]) throws {
        guard let openssl = Self.openssl else { throw Failed() }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, file("openssl.log"), O_WRONLY | O_CREAT | O_APPEND, 0o600)
        var argv: [UnsafeMutablePointer<CChar>?] = ([openssl] + arguments).map { strdup($0) }
        argv.append(nil)
        defer { for argument in argv { free(argument) } }
        var pid = pid_t()
        guard posix_spawn(&pid, openssl, &actions, nil, argv, environ) == 0 else { throw Failed() }
        var status: Int32 = 0
        guard waitpid(pid, &status, 0) == pid, status == 0 else { throw Failed() }
    }
}
