import FoundationEssentials
import Testing

@testable import ControlAPI

struct TokenListTests {
    static let hashA = String(repeating: "ab", count: 32)
    static let hashB = String(repeating: "01", count: 32)
    static let tenant = TestBackend.tenant
    static let other = TestBackend.otherTenant

    static func bytes(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: 32) }

    @Test func readsHashesTenantsAndComments() throws {
        let list = try TokenList(
            parsing: """
                # tokens of the platform
                sha256:\(Self.hashA) *      # the management API

                \t\(Self.hashB.uppercased())\t\(Self.tenant.uuidString)
                """
        )
        #expect(list.entries.count == 2)
        #expect(list.tenants(forHash: Self.bytes(0xAB)) == .all)
        #expect(list.tenants(forHash: Self.bytes(0x01)) == .only([Self.tenant]))
        #expect(list.tenants(forHash: Self.bytes(0x02)) == nil)
    }

    @Test func readsLinesThatEndAsOnWindows() throws {
        let text = "# comment\r\nsha256:\(Self.hashA) *\r\n\r\n\(Self.hashB) \(Self.tenant)\r\n"
        let list = try TokenList(parsing: text)
        #expect(list.entries.count == 2)
        #expect(list.tenants(forHash: Self.bytes(0x01)) == .only([Self.tenant]))
    }

    @Test func sameHashOnSeveralLinesAddsUp() throws {
        let two = try TokenList(parsing: "\(Self.hashA) \(Self.tenant)\nsha256:\(Self.hashA) \(Self.other)")
        #expect(two.entries.count == 1)
        #expect(two.tenants(forHash: Self.bytes(0xAB)) == .only([Self.tenant, Self.other]))
        let all = try TokenList(parsing: "\(Self.hashA) \(Self.tenant)\n\(Self.hashA) *\n\(Self.hashA) \(Self.other)")
        #expect(all.tenants(forHash: Self.bytes(0xAB)) == .all)
    }

    @Test func anEmptyFileKnowsNobody() throws {
        #expect(try TokenList(parsing: "").entries.isEmpty)
        #expect(try TokenList(parsing: "\n  # nobody yet\n").tenants(forHash: Self.bytes(0)) == nil)
    }

    @Test(arguments: [
        ("secret-token", 1, "two words"),
        ("\n\nsha256:\(hashA)", 3, "two words"),
        ("\(hashA) * extra", 1, "two words"),
        ("\(hashA.dropLast()) *", 1, "64 hexadecimal digits"),
        ("\(hashA)00 *", 1, "64 hexadecimal digits"),
        ("md5:\(hashA) *", 1, "64 hexadecimal digits"),
        ("\(hashA.dropLast())g *", 1, "64 hexadecimal digits"),
        ("# fine\n\(hashA) all", 2, "neither a tenant's UUID nor *"),
        ("\(hashA) 11111111-1111-4111-8111-11111111111", 1, "neither a tenant's UUID nor *"),
    ])
    func namesTheLineAndNotItsContent(text: String, line: Int, problem: String) {
        let error = #expect(throws: TokenList.ParseError.self) { try TokenList(parsing: text) }
        #expect(error?.line == line)
        #expect(error?.description.contains(problem) == true)
        #expect(error?.description.contains("secret-token") == false)
    }

    /// One wrong bit anywhere, and hashes of a wrong length, are unknown.
    @Test func onlyTheWholeHashIsKnown() throws {
        let list = try TokenList(parsing: "\(Self.hashB) *\n\(Self.hashA) \(Self.tenant)")
        for byte in 0..<32 {
            for bit in 0..<8 {
                var hash = Self.bytes(0xAB)
                hash[byte] ^= 1 << UInt8(bit)
                #expect(list.tenants(forHash: hash) == nil)
            }
        }
        #expect(list.tenants(forHash: []) == nil)
        #expect(list.tenants(forHash: Array(Self.bytes(0xAB).dropLast())) == nil)
        #expect(list.tenants(forHash: Self.bytes(0xAB) + [0xAB]) == nil)
    }
}
