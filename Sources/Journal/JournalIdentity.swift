import CChecksum
import FoundationEssentials

/// Which journal a folder holds: a small text file, so that people can read it.
///
/// A journal's id is random and made once; the database keeps a checkpoint for each id, so positions of one journal are
/// never taken for another's.
struct JournalIdentity: Equatable {
    static let fileName = "journal.id"
    static let version = 1

    var journalID: UUID
    var tenantID: UUID

    enum Decoded: Equatable {
        case valid(JournalIdentity)
        case futureVersion(Int)
        case damaged
    }

    func encoded() -> [UInt8] {
        let text = """
            scada-ingestion journal
            version \(Self.version)
            journal \(journalID.uuidString.lowercased())
            tenant \(tenantID.uuidString.lowercased())

            """
        return Array((text + "crc32c \(Self.checksum(text))\n").utf8)
    }

    static func decode(_ bytes: [UInt8]) -> Decoded {
        let text = String(decoding: bytes, as: UTF8.self)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { $0.split(separator: " ") }
        guard lines.count >= 2, lines[0] == ["scada-ingestion", "journal"], lines[1].count == 2,
            lines[1][0] == "version",
            let version = Int(lines[1][1])
        else { return .damaged }
        guard let mark = lines.firstIndex(where: { $0.first == "crc32c" }), lines[mark].count == 2,
            lines[mark][1] == checksum(lines[..<mark].map { $0.joined(separator: " ") + "\n" }.joined())
        else { return .damaged }
        if version > Self.version { return .futureVersion(version) }
        guard version == Self.version, lines.count >= 4, lines[2].count == 2, lines[2][0] == "journal",
            let journal = UUID(uuidString: String(lines[2][1])), lines[3].count == 2, lines[3][0] == "tenant",
            let tenant = UUID(uuidString: String(lines[3][1]))
        else { return .damaged }
        return .valid(JournalIdentity(journalID: journal, tenantID: tenant))
    }

    private static func checksum(_ text: String) -> String {
        String(Array(text.utf8).withUnsafeBytes { cchecksum_crc32c(0, $0.baseAddress, $0.count) }, radix: 16)
    }
}
