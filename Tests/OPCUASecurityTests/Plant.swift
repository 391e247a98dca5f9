import FoundationEssentials
import Testing

@testable import OPCUASecurity

/// The certificates and lists of pki.json; see Tests/Fixtures/OPCUASecurity/make-pki.py.
struct Plant: Sendable {
    /// 2030-01-01.
    static let now: Int64 = 1_893_456_000

    private let encoded: [String: Data]

    static let shared: Plant = {
        do {
            let path = "\(#filePath)".split(separator: "/").dropLast(2).joined(separator: "/")
            let file = URL(filePath: "/" + path + "/Fixtures/OPCUASecurity/pki.json")
            return Plant(encoded: try JSONDecoder().decode([String: Data].self, from: Data(contentsOf: file)))
        } catch {
            fatalError("pki.json: \(error)")
        }
    }()

    func bytes(_ name: String) throws -> [UInt8] { [UInt8](try #require(encoded[name], "no \(name) in pki.json")) }
    func certificate(_ name: String) throws -> Certificate { try Certificate(der: bytes(name)) }
    func certificates(_ names: [String]) throws -> [Certificate] { try names.map { try certificate($0) } }

    func chain(_ names: [String]) throws -> CertificateChain {
        let all = try certificates(names)
        return CertificateChain(leaf: all[0], issuers: Array(all.dropFirst()))
    }

    /// - Parameter lists: names of revocation lists.
    func list(trusted: [String] = [], issuers: [String] = [], lists: [String] = []) throws -> TrustList {
        TrustList(
            trusted: try certificates(trusted),
            issuers: try certificates(issuers),
            revocationLists: try lists.map { try RevocationList(fileContent: bytes($0)) }
        )
    }
}
