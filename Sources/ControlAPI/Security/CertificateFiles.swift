import Synchronization

/// The PEM files of TLS, read again when they change (by modification time, size or inode: a file replaced in place, by
/// rename, or through a symbolic link as orchestrators do).
final class CertificateFiles: Sendable {
    struct Contents: Sendable {
        var certificate: String
        var key: String
        var clientCA: String?
    }

    enum Fetched {
        case unchanged
        case new(Contents)
        case failed
    }

    private struct State {
        var stamps: [FileStamp]?
        /// The last failure reported, so that it is reported once.
        var lastFailure: String?
    }

    let options: TLSOptions
    private let report: @Sendable (String, _ isError: Bool) -> Void
    private let state = Mutex(State())

    /// `report` gets a line when files were read again and when that failed.
    init(options: TLSOptions, report: @escaping @Sendable (String, _ isError: Bool) -> Void) {
        self.options = options
        self.report = report
    }

    private var paths: [String] {
        [options.certificateFile, options.keyFile] + (options.clientCAFile.map { [$0] } ?? [])
    }

    /// Reads and checks the files; throws an error that names the file.
    func read() throws(ControlServerError) -> Contents {
        Contents(
            certificate: try Self.pem(options.certificateFile, "-----BEGIN CERTIFICATE-----", "a PEM certificate"),
            key: try Self.pem(options.keyFile, "PRIVATE KEY-----", "a PEM private key"),
            clientCA: try options.clientCAFile.map { path throws(ControlServerError) in
                try Self.pem(path, "-----BEGIN CERTIFICATE-----", "a PEM certificate")
            }
        )
    }

    /// Called by the core before each handshake, on its threads. A set that cannot be read leaves the one in use.
    func fetch() -> Fetched {
        state.withLock { state in
            do throws(ControlServerError) {
                // Stamps first: a file that changes while it is read is read again at the next handshake.
                var stamps: [FileStamp] = []
                for path in paths { stamps.append(try FileStamp(path)) }
                if stamps == state.stamps { return .unchanged }
                let contents = try read()
                let isFirst = state.stamps == nil
                state.stamps = stamps
                state.lastFailure = nil
                if !isFirst { report("TLS certificate files have changed and were read again", false) }
                return .new(contents)
            } catch {
                let failure = error.description
                if failure != state.lastFailure {
                    state.lastFailure = failure
                    report("\(failure); the certificate in use stays", true)
                }
                return .failed
            }
        }
    }

    private static func pem(_ path: String, _ mark: String, _ what: String) throws(ControlServerError) -> String {
        let text = String(decoding: try SmallFile.read(path), as: UTF8.self)
        guard text.contains(mark) else { throw .file(path, "does not hold \(what)") }
        return text
    }
}
