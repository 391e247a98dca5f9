import FoundationEssentials
import OPCUASecurity
import Testing
import TimescaleStore

@testable import scada_ingestion

@Suite struct ReencryptionTests {
    @Test func everyFormEndsUnderTheCurrentKey() throws {
        let former = try SecretCipher(key: keyA)
        let cipher = try SecretCipher(key: keyB, previousKeys: [keyA])
        let legacy = String(try former.encrypt("three").dropFirst(SecretCipher.prefix.count))
        let stored = [try cipher.encrypt("one"), try former.encrypt("two"), legacy, "four", "enc:v1:AAAA"]
        let passwords = stored.map { TenantRegistry.StoredPassword(connection: UUID(), text: $0) }
        let plan = Reencryption(passwords, cipher: cipher)
        #expect(plan.current == 1)
        #expect(plan.replacements.map(\.password) == Array(passwords[1...3]))
        #expect(plan.refusals.map(\.password) == [passwords[4]])
        // The current key alone opens what is written.
        let alone = try SecretCipher(key: keyB)
        let opened = try plan.replacements.map { try alone.open($0.text) }
        #expect(opened.map(\.plaintext) == ["two", "three", "four"])
        #expect(opened.allSatisfy { $0.form == .current })
        #expect(
            plan.summary
                == "1 password in plain text, 1 password under a previous key, 1 password in the older form"
        )
        #expect(!"\(plan.refusals)".contains("AAAA"))
    }

    @Test func nothingToDo() throws {
        let cipher = try SecretCipher(key: keyA)
        let password = TenantRegistry.StoredPassword(connection: UUID(), text: try cipher.encrypt("x"))
        let plan = Reencryption([password], cipher: cipher)
        #expect(plan.replacements.isEmpty)
        #expect(plan.summary == "no password")
    }

    @Test func aForeignKeyLeavesTheTextAlone() throws {
        let password = TenantRegistry.StoredPassword(
            connection: UUID(),
            text: try SecretCipher(key: keyA).encrypt("hunter2secret")
        )
        let plan = Reencryption([password], cipher: try SecretCipher(key: keyB))
        #expect(plan.replacements.isEmpty)
        #expect(plan.refusals.count == 1)
        #expect(!"\(plan.refusals)".contains("hunter2secret"))
    }
}
