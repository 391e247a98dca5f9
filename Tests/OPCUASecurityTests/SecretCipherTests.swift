import OPCUACodec
import Testing

@testable import OPCUASecurity

@Suite("Secrets at rest")
struct SecretCipherTests {
    static let key = Base64.encode((0..<32).map { UInt8($0) })
    static let otherKey = Base64.encode((0..<32).map { UInt8(255 - $0) })

    @Test(arguments: ["", "p", "hunter2", "pässwörd €", String(repeating: "x", count: 5000)])
    func roundTrips(_ plaintext: String) throws {
        let cipher = try SecretCipher(key: Self.key)
        let stored = try cipher.encrypt(plaintext)
        #expect(stored.hasPrefix("enc:v1:"))
        #expect(try cipher.encrypt(plaintext) != stored)
        #expect(try cipher.open(stored) == OpenedSecret(plaintext: plaintext, form: .current))
        let older = String(stored.dropFirst(7))
        #expect(try cipher.open(older) == OpenedSecret(plaintext: plaintext, form: .legacy))
        #expect(SecretCipher.needsKey(stored) && SecretCipher.needsKey(older))
    }

    /// Made with Python's cryptography package: AESGCM(bytes(range(32))).encrypt(bytes(range(12)), b"geheim", None).
    @Test func readsWhatAnotherLibraryWrote() throws {
        let cipher = try SecretCipher(key: Self.key + "\n")
        let text = "AAECAwQFBgcICQoLIGe+fqyIVxyCl17zkEax7KPm6TBWkA=="
        #expect(try cipher.open("enc:v1:" + text) == OpenedSecret(plaintext: "geheim", form: .current))
        #expect(try cipher.open(text) == OpenedSecret(plaintext: "geheim", form: .legacy))
    }

    @Test func opensWithPreviousKeys() throws {
        let old = try SecretCipher(key: Self.otherKey).encrypt("s")
        let cipher = try SecretCipher(key: Self.key, previousKeys: [SecretCipher.makeKey(), Self.otherKey])
        #expect(try cipher.open(old) == OpenedSecret(plaintext: "s", form: .previousKey))
    }

    @Test func tellsAWrongKeyFromDamage() throws {
        let cipher = try SecretCipher(key: Self.key)
        func code(_ stored: String) -> SecretCipherError.Code? {
            do throws(SecretCipherError) {
                _ = try cipher.open(stored)
                return nil
            } catch { return error.code }
        }
        let foreign = try SecretCipher(key: Self.otherKey).encrypt("secret")
        #expect(code(foreign) == .wrongKey)
        #expect(code(String(foreign.dropFirst(7))) == .wrongKey)
        #expect(code("enc:v1:") == .damaged)
        #expect(code("enc:v1:AAAA") == .damaged)
        #expect(code("enc:v1:not base64!") == .damaged)
        #expect(code(String(try cipher.encrypt("secret").dropLast(1))) == .damaged)
        let notText = Base64.encode(
            try AESGCM.seal([0xFF, 0xFE], key: SecretBytes(copying: (0..<32).map { UInt8($0) }))
        )
        #expect(code("enc:v1:" + notText) == .damaged)
    }

    @Test func noticesEveryChangedBit() throws {
        let cipher = try SecretCipher(key: Self.key)
        let sealed = try #require(Base64.decode(try cipher.encrypt("abc").dropFirst(7).utf8))
        for index in sealed.indices {
            for bit in 0..<8 {
                var damaged = sealed
                damaged[index] ^= 1 << bit
                let stored = "enc:v1:" + Base64.encode(damaged)
                #expect(throws: SecretCipherError.self) { try cipher.open(stored) }
            }
        }
    }

    @Test(arguments: ["hunter2", "", "aGVsbG8=", "a sentence of words, long enough to be base64 of 28 bytes"])
    func readsPlainText(_ text: String) throws {
        #expect(try SecretCipher(key: Self.key).open(text) == OpenedSecret(plaintext: text, form: .plain))
        #expect(!SecretCipher.needsKey(text))
    }

    @Test(arguments: ["", "short", "AAAA", Base64.encode([UInt8](repeating: 1, count: 33)), "verysecretkey!!!"])
    func refusesBadKeys(_ key: String) {
        for keys in [(key, []), (Self.key, [key])] {
            do throws(SecretCipherError) {
                _ = try SecretCipher(key: keys.0, previousKeys: keys.1)
                Issue.record("accepted")
            } catch {
                #expect(error.code == .badKey)
                #expect(key.isEmpty || !error.description.contains(key))
            }
        }
    }

    @Test func printsNoSecret() throws {
        let cipher = try SecretCipher(key: Self.key)
        let opened = try cipher.open("hunter2")
        var dumped = ""
        dump(opened, to: &dumped)
        dump(cipher, to: &dumped)
        #expect(!"\(opened) \(String(reflecting: opened)) \(dumped)".contains("hunter2"))
    }
}
