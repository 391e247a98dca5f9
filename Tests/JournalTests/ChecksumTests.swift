import CChecksum
import Testing

private func crc(_ bytes: [UInt8], from start: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { cchecksum_crc32c(start, $0.baseAddress, $0.count) }
}

private func softwareCRC(_ bytes: [UInt8], from start: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { cchecksum_crc32c_software(start, $0.baseAddress, $0.count) }
}

@Suite struct ChecksumTests {
    /// RFC 3720, B.4, and the check value of the catalogue of CRCs.
    @Test(
        arguments: [
            (Array("123456789".utf8), 0xE306_9283),
            ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
            ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
            (Array(0...31), 0x46DD_794E),
            (Array((0...31).reversed()), 0x113F_DB5C),
            ([], 0),
        ] as [([UInt8], UInt32)]
    )
    func knownVectors(_ bytes: [UInt8], _ expected: UInt32) {
        #expect(crc(bytes) == expected)
        #expect(softwareCRC(bytes) == expected)
    }

    @Test func anEmptyPieceMayBeNull() {
        #expect(cchecksum_crc32c(0x1234_5678, nil, 0) == 0x1234_5678)
        #expect(cchecksum_crc32c_software(0x1234_5678, nil, 0) == 0x1234_5678)
    }

    /// What this processor does and what the tables do, on all alignments, with any start and in any pieces.
    @Test(arguments: 1...4) func hardwareAndTableAgree(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let bytes = (0..<9000).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        for round in 0..<500 {
            let length = Int.random(in: 0...(round.isMultiple(of: 10) ? 8000 : 70), using: &random)
            let offset = Int.random(in: 0...64, using: &random)
            let start = UInt32.random(in: .min ... .max, using: &random)
            let cut = Int.random(in: 0...length, using: &random)
            bytes.withUnsafeBytes { whole in
                guard let base = whole.baseAddress else { return }
                let hardware = cchecksum_crc32c(start, base + offset, length)
                let table = cchecksum_crc32c_software(start, base + offset, length)
                let first = cchecksum_crc32c(start, base + offset, cut)
                let pieces = cchecksum_crc32c(first, base + offset + cut, length - cut)
                #expect(hardware == table, "seed \(seed), offset \(offset), length \(length)")
                #expect(hardware == pieces, "seed \(seed), offset \(offset), length \(length), cut \(cut)")
            }
        }
    }

    @Test func namesItsImplementation() {
        let name = String(cString: cchecksum_crc32c_implementation())
        #expect(["sse4.2", "armv8-crc", "table"].contains(name))
    }
}
