import FoundationEssentials
import Testing

@testable import TimescaleStore

@Suite struct RowSorterTests {
    private struct Row: Equatable {
        var well: String
        var tag: String
        var timestamp: Int64
        var bytes: [UInt8]

        static func isInOrder(_ left: Row, _ right: Row) -> Bool {
            if left.well != right.well { return left.well < right.well }
            if left.tag != right.tag { return Array(left.tag.utf8).lexicographicallyPrecedes(Array(right.tag.utf8)) }
            return left.timestamp <= right.timestamp
        }
    }

    private func rows(in bytes: [UInt8]) throws -> [Row] {
        var rows: [Row] = []
        try bytes.withUnsafeBytes { all in
            var start = 0
            while start < all.count {
                let row = try #require(try CopyRow(prefixOf: UnsafeRawBufferPointer(rebasing: all[start...])))
                rows.append(
                    Row(
                        well: row.wellID?.uuidString ?? "",
                        tag: row.tagNodeID,
                        timestamp: row.timestampMicrosecondsSince2000 ?? 0,
                        bytes: Array(row.bytes)
                    )
                )
                start += row.bytes.count
            }
        }
        return rows
    }

    /// Hands `bytes` over in pieces of random length. Returns what came out.
    private func sort(
        _ bytes: [UInt8],
        for purpose: RowSorter.Purpose = .index,
        runBytes: Int,
        _ chance: inout Seeded
    ) throws -> [UInt8] {
        var sorter = RowSorter(for: purpose, runBytes: runBytes)
        var output: [UInt8] = []
        try bytes.withUnsafeBytes { all in
            var start = 0
            while start < all.count {
                let end = min(all.count, start + Int.random(in: 1...700, using: &chance))
                try sorter.add(UnsafeRawBufferPointer(rebasing: all[start..<end])) { output += $0 }
                start = end
            }
        }
        try sorter.finish { output += $0 }
        return output
    }

    private func batch(_ count: Int, _ chance: inout Seeded) -> RowMaker {
        var rows = RowMaker()
        let tags = ["ns=2;s=B", "ns=2;s=A", "i=1", "ns=2;s=AA"]
        for index in 0..<count {
            rows.add(
                well: well(UInt8.random(in: 1...3, using: &chance)),
                tag: tags.randomElement(using: &chance) ?? "",
                // Few different ones: equal timestamps keep their order, which the value tells.
                micros: march + Int64.random(in: 0..<50, using: &chance),
                value: Double(index)
            )
        }
        return rows
    }

    @Test(arguments: [1, 7, 2_026] as [UInt64])
    func oneRunIsSortedAndEqualTimesKeepTheirOrder(_ seed: UInt64) throws {
        var chance = Seeded(state: seed)
        let made = batch(2_000, &chance)
        let given = try rows(in: made.bytes)
        let sorted = try rows(in: sort(made.bytes, runBytes: 1 << 20, &chance))
        let expected = given.enumerated()
            .sorted { left, right in
                let isForward = Row.isInOrder(left.element, right.element)
                let isBackward = Row.isInOrder(right.element, left.element)
                return isForward && isBackward ? left.offset < right.offset : isForward
            }
            .map(\.element)
        #expect(sorted == expected, "seed \(seed)")
    }

    /// The order of `compress_orderby`.
    @Test(arguments: [1, 7, 2_026] as [UInt64])
    func forTheColumnstoreATagsNewestRowsComeFirst(_ seed: UInt64) throws {
        var chance = Seeded(state: seed)
        var made = batch(2_000, &chance)
        // One whose rows come in order of time, as usual.
        for second in 0..<50 { made.add(well: well(9), tag: "i=9", micros: march + Int64(second), value: 0) }
        let forward = try rows(in: sort(made.bytes, runBytes: 1 << 20, &chance))
        let newestFirst = try rows(in: sort(made.bytes, for: .columnstore, runBytes: 1 << 20, &chance))
        func groups(_ rows: [Row]) -> [[Row]] {
            rows.reduce(into: []) { groups, row in
                if let last = groups.last?.last, last.well == row.well, last.tag == row.tag {
                    groups[groups.count - 1].append(row)
                } else {
                    groups.append([row])
                }
            }
        }
        #expect(groups(newestFirst) == groups(forward).map { $0.reversed() }, "seed \(seed)")
    }

    /// More tags than a table of them has room for at first; in turn, as they report, and in no order.
    @Test(arguments: [true, false])
    func manyTagsAreToldApart(_ isInTurn: Bool) throws {
        var chance = Seeded(state: 17)
        var made = RowMaker()
        for index in 0..<6_000 {
            let number = isInTurn ? index % 900 : Int.random(in: 0..<900, using: &chance)
            let tag = "ns=2;s=" + String(repeating: "x", count: number % 13) + "\(number / 3)"
            made.add(well: well(UInt8(number % 3)), tag: tag, micros: march + Int64(index), value: Double(index))
        }
        let given = try rows(in: made.bytes)
        let sorted = try rows(in: sort(made.bytes, runBytes: 8 << 20, &chance))
        #expect(Set(sorted.map(\.bytes)) == Set(given.map(\.bytes)))
        #expect(zip(sorted, sorted.dropFirst()).allSatisfy(Row.isInOrder))
        let changes = zip(sorted, sorted.dropFirst()).count { $0.well != $1.well || $0.tag != $1.tag }
        #expect(changes == Set(given.map { $0.well + $0.tag }).count - 1)
    }

    @Test func runsAreBoundedAndNothingIsLost() throws {
        var chance = Seeded(state: 11)
        let made = batch(3_000, &chance)
        let sorted = try rows(in: sort(made.bytes, runBytes: 20_000, &chance))
        let given = try rows(in: made.bytes)
        #expect(sorted.count == given.count)
        #expect(Set(sorted.map(\.bytes)) == Set(given.map(\.bytes)))
        let descents = zip(sorted, sorted.dropFirst()).count { !Row.isInOrder($0, $1) }
        // As many runs as the bytes make, and each of them in order.
        #expect(descents > 0)
        #expect(descents <= made.bytes.count / (20_000 - 1_000))
    }

    @Test func aRowLargerThanARunPasses() throws {
        var made = RowMaker()
        made.add(well: well(2), tag: Array("i=1".utf8), micros: march, text: Array(repeating: 0x61, count: 5_000))
        made.add(well: well(1), tag: "i=1", micros: march, value: 1)
        var chance = Seeded(state: 3)
        let output = try sort(made.bytes, runBytes: 1_000, &chance)
        #expect(output.count == made.bytes.count)
        #expect(try rows(in: output).count == 2)
    }

    @Test func nothingIsFine() throws {
        var chance = Seeded(state: 1)
        #expect(try sort([], runBytes: 1_000, &chance).isEmpty)
    }

    @Test func bytesThatAreNoRowsAreAnError() throws {
        var chance = Seeded(state: 5)
        let made = batch(3, &chance)
        #expect(throws: StoreError.self) { try sort(Array(made.bytes.dropLast()), runBytes: 1_000, &chance) }
        // A null well id: such a row cannot be, and must not be read beyond.
        var broken = made.bytes
        broken.replaceSubrange(2..<22, with: [0xFF, 0xFF, 0xFF, 0xFF])
        #expect(throws: StoreError.self) { try sort(broken, runBytes: 100_000, &chance) }
        #expect(throws: StoreError.self) { try sort([0, 8, 0, 0], runBytes: 1_000, &chance) }
    }
}

/// SplitMix64: the same numbers for the same seed.
private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
