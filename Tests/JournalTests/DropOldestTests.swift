import FoundationEssentials
import SystemPackage
import Testing

@testable import Journal

@Suite(.timeLimit(.minutes(5))) struct DropOldestTests {
    private static func bench(_ fileSystem: FaultyFileSystem? = nil) throws -> Bench {
        var bench = try Bench(fileSystem: fileSystem)
        bench.configuration.fullPolicy = .dropOldest
        bench.configuration.maximumBytesPerTenant = 20_000
        return bench
    }

    /// Whatever is appended, stored, read or given up: each record ends up in exactly one place.
    @Test(arguments: 1...12) func everyRecordIsStoredOrReportedOnce(_ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        var bench = try Self.bench()
        // In half of the runs, part of what is read is in memory.
        if seed.isMultiple(of: 2) { bench.configuration.maximumRecentBytes = 6000 }
        var appended: [UInt32] = []
        var stored: [UInt32] = []
        var kept: [UInt32] = []
        try await bench.run { directory, journal, _ in
            let reader = journal.makeReader()
            var position = JournalPosition.start
            for number in 0..<400 as Range<UInt32> {
                let bytes = Int.random(in: 0...900, using: &random)
                _ = try await journal.append(Sample.record(number, bytes: bytes))
                appended.append(number)
                if Int.random(in: 0..<9, using: &random) == 0 { await directory.syncNow() }
                guard Int.random(in: 0..<25, using: &random) == 0 else { continue }
                // A transaction: its COMMIT fails, or works and the records are forgotten.
                var batch: [UInt32] = []
                let next = try reader.read(from: position, maximumBytes: 3000) { header, payload in
                    #expect(Sample.isGenuine(header, payload))
                    batch.append(header.sequenceNumber)
                }
                // The appends that come before the COMMIT must not take away what it holds.
                for extra in 0..<UInt32.random(in: 0...20, using: &random) {
                    let number = 1000 + number * 100 + extra
                    _ = try await journal.append(Sample.record(number, bytes: 200))
                    appended.append(number)
                }
                if Bool.random(using: &random) {
                    stored += batch
                    position = next
                    journal.forget(upTo: next)
                } else {
                    reader.release()
                }
            }
            await directory.syncNow()
            kept = try journal.readAll(from: journal.committedPosition).records.map(\.number)
            #expect(journal.bytesOnDisk <= 20_000 + 8 * SegmentHeader.size)
            #expect(journal.backlogRows == kept.count * 3, "seed \(seed)")
        }
        let abandoned = bench.probe.abandoned.map(\.number)
        #expect(!abandoned.isEmpty && !stored.isEmpty, "seed \(seed): the test tests nothing")
        #expect((stored + abandoned + kept).sorted() == appended.sorted(), "seed \(seed)")
    }

    /// The reader was told where the oldest segment is, then the segment went: it is not read, nor reported twice.
    @Test func aFileThatCannotBeRemovedIsReportedOnceAndNotRead() async throws {
        let fileSystem = FaultyFileSystem()
        let bench = try Self.bench(fileSystem)
        try await bench.run { directory, journal, _ in
            for number in 0..<36 as Range<UInt32> { _ = try await journal.append(Sample.record(number, bytes: 436)) }
            await directory.syncNow()
            fileSystem.fail(.unlink, .notPermitted)
            let more = Task { () async throws -> JournalPosition in
                try await journal.append(Sample.record(100, bytes: 4000))
            }
            try await eventually("the oldest is given up") { !bench.probe.abandoned.isEmpty }
            for _ in 0..<3 { await directory.syncNow() }
            let abandoned = bench.probe.abandoned
            #expect(Set(abandoned.map(\.number)).count == abandoned.count, "each reported once")
            let left = try journal.readAll().records
            #expect(left.first?.start == abandoned.last?.end)
            #expect(journal.oldestPosition.rawValue == abandoned.last?.end)
            #expect(journal.backlogRows == left.count * 3)
            #expect(bench.probe.errors.contains { $0.cause == .notPermitted })
            fileSystem.heal()
            await directory.syncNow()
            _ = try await more.value
        }
        let abandoned = bench.probe.abandoned.map(\.number)
        #expect(Set(abandoned).count == abandoned.count)
    }

    @Test(arguments: [0, 1 << 20]) func whatATransactionHoldsIsNotGivenUp(_ recentBytes: Int) async throws {
        var bench = try Self.bench()
        bench.configuration.maximumRecentBytes = recentBytes
        try await bench.run { directory, journal, _ in
            for number in 0..<36 as Range<UInt32> { _ = try await journal.append(Sample.record(number, bytes: 436)) }
            await directory.syncNow()
            let reader = journal.makeReader()
            var held: [UInt32] = []
            let end = try reader.read(from: .start, maximumBytes: 436 * 3) { header, _ in
                held.append(header.sequenceNumber)
            }
            #expect(held == [0, 1, 2])
            for number in 36..<80 as Range<UInt32> { _ = try await journal.append(Sample.record(number, bytes: 436)) }
            await directory.syncNow()
            #expect(bench.probe.abandoned.allSatisfy { $0.start >= end.rawValue })
            #expect(!bench.probe.abandoned.isEmpty)
            #expect(try journal.readAll(maximumBytes: 436 * 3).records.map(\.number) == held)
            reader.release()
            for number in 80..<90 as Range<UInt32> { _ = try await journal.append(Sample.record(number, bytes: 436)) }
            #expect(bench.probe.abandoned.contains { $0.number == 0 })
        }
    }

    /// Without the policy nothing is given up, on a full disk neither.
    @Test func aFullDiskGivesUpTheOldest() async throws {
        let fileSystem = FaultyFileSystem()
        var bench = try Self.bench(fileSystem)
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, journal, _ in
            for number in 0..<30 as Range<UInt32> { _ = try await journal.append(Sample.record(number, bytes: 436)) }
            await directory.syncNow()
            fileSystem.fail(.write, .noSpace)
            _ = try await journal.append(Sample.record(100))
            await directory.syncNow()
            #expect(journal.currentState == .full(.disk))
            #expect(bench.probe.abandoned.isEmpty)
            await directory.syncNow()
            let first = bench.probe.abandoned
            #expect(!first.isEmpty)
            fileSystem.heal()
            await directory.syncNow()
            #expect(journal.currentState == .open)
            #expect(try journal.readAll().records.last?.number == 100)
        }
    }
}
