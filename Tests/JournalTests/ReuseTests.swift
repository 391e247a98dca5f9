import FoundationEssentials
import SystemPackage
import Testing

@testable import Journal

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Segment files that are written over: see SegmentWriter+Reuse.swift.
@Suite struct ReuseTests {
    /// Small segments, whose files are kept early.
    private static func bench() throws -> Bench {
        var bench = try Bench()
        bench.configuration.segmentBytes = 4096
        bench.configuration.forgottenSegmentBytes = 1000
        return bench
    }

    /// A journal whose last segment stands in a file that was longer before, and what is in it; still open.
    private static func withReusedSegment(
        _ body: (Bench, JournalDirectory, TenantJournal, [Seen]) async throws -> Void
    ) async throws {
        let bench = try Self.bench()
        try await bench.run { directory, journal, _ in
            var next: UInt32 = 0
            while directory.statistics.segmentsReused == 0 {
                try #require(next < 100, "no file was written over")
                try journal.fill(next...next + 9, bytes: 100)
                next += 10
                await directory.syncNow()
                journal.forget(upTo: journal.durablePosition)
                await directory.syncNow()
            }
            let kept = try journal.fill(next...next + 2, bytes: 40)
            await directory.syncNow()
            try await body(bench, directory, journal, kept)
        }
    }

    @Test func theFileOfAForgottenSegmentIsWrittenOver() async throws {
        try await Self.withReusedSegment { bench, directory, journal, kept in
            #expect(directory.statistics.segmentsReused == 1)
            let name = try #require(try bench.segmentFiles.last)
            let size = try fileStatus(bench.folder.tenant(Bench.tenant) + "/" + name).size
            #expect(size > 1000, "there is something behind the records")
            #expect(try journal.readAll().records.suffix(3) == kept)
            #expect(journal.bytesOnDisk < size, "what is only reserved does not count")
        }
    }

    /// The process ends without a word: what lies in the file behind the mark is neither a record nor a loss.
    @Test func whatIsLeftBehindTheEndIsNoRecord() async throws {
        try await Self.withReusedSegment { bench, _, journal, kept in
            let again = try Bench()
            try again.folder.replace(Bench.tenant, by: try bench.folder.files(of: Bench.tenant))
            var records: [Seen] = []
            let directory = try again.open()
            let (opened, report) = try directory.openJournal(tenant: Bench.tenant) { header, payload in
                records.append(Seen(header))
                #expect(Sample.isGenuine(header, payload))
            }
            #expect(report.issues.isEmpty)
            #expect(records.suffix(3) == kept)
            #expect(opened.endPosition == journal.endPosition, "no position is skipped")
            try await directory.close()
            for name in try again.segmentFiles {
                let size = try fileStatus(again.folder.tenant(Bench.tenant) + "/" + name).size
                #expect(size < 1000, "the rest of the file is given back")
            }
            #expect(try listFolder(again.folder.tenant(Bench.tenant)).allSatisfy { !$0.hasSuffix(".spare") })
        }
    }

    /// Every byte of the records and the mark flipped: what comes out is a beginning of what went in, and damage is told.
    @Test func everyByteFlipped() async throws {
        try await Self.withReusedSegment { bench, _, _, kept in
            let files = try bench.folder.files(of: Bench.tenant)
            let name = try #require(files.keys.filter { $0.hasSuffix(SegmentName.suffix) }.max())
            let whole = try #require(files[name])
            let used = SegmentHeader.size + kept.reduce(0) { $0 + Int($1.end - $1.start) } + RecordFormat.headerSize
            let again = try Bench()
            for place in 0..<used {
                var damaged = files
                var bytes = whole
                bytes[place] ^= UInt8(1 << (place % 8))
                damaged[name] = bytes
                try again.folder.replace(Bench.tenant, by: damaged)
                var found: [Seen] = []
                let directory = try again.open()
                let (_, report) = try directory.openJournal(tenant: Bench.tenant) { header, payload in
                    found.append(Seen(header))
                    #expect(Sample.isGenuine(header, payload), "byte \(place)")
                }
                let here = found.filter { $0.start >= kept[0].start }
                #expect(here == Array(kept.prefix(here.count)), "byte \(place)")
                if place >= SegmentHeader.size { #expect(!report.issues.isEmpty, "byte \(place)") }
                try await directory.close()
            }
        }
    }

    /// A journal that is more than half full, or closes, keeps no files it does not need.
    @Test func sparesAreGivenBack() async throws {
        var bench = try Self.bench()
        bench.configuration.maximumBytesPerTenant = 40_000
        let folder = bench.folder.tenant(Bench.tenant)
        try await bench.run { directory, journal, _ in
            try journal.fill(0...60, bytes: 100)
            await directory.syncNow()
            journal.forget(upTo: journal.durablePosition)
            await directory.syncNow()
            #expect(try bench.spares > 0)
            try journal.fill(61...220, bytes: 100)
            await directory.syncNow()
            #expect(journal.bytesOnDisk > 20_000)
            #expect(try bench.spares == 0)
        }
        #expect(try listFolder(folder).allSatisfy { !$0.hasSuffix(SegmentName.spareSuffix) })
    }

    /// To wait for memory is no sign that the disk is short: the files that wait to be written over stay.
    @Test func waitingForMemoryLeavesTheSpares() async throws {
        var bench = try Self.bench()
        bench.configuration.maximumPendingBytesPerTenant = 2500
        try await bench.run { directory, journal, _ in
            for number in 0..<10 as Range<UInt32> {
                _ = try await journal.append(Sample.record(number, bytes: 1000))
                await directory.syncNow()
            }
            journal.forget(upTo: journal.durablePosition)
            await directory.syncNow()
            let before = try bench.spares
            #expect(before > 0)
            // Too little to hurry for, and so much that the next has to wait for it.
            _ = try await journal.append(Sample.record(10, bytes: 1000))
            let next = Sample.record(11, bytes: 2000)
            #expect(try journal.appendIfPossible(next) == nil)
            _ = try await journal.append(next)
            #expect(try bench.spares == before)
        }
    }

    /// Left behind by a process that was killed.
    @Test func sparesOfAnEarlierRunGo() async throws {
        let bench = try Bench()
        try await bench.run { directory, journal, _ in
            try journal.fill(0...3)
            await directory.syncNow()
        }
        let path = bench.folder.tenant(Bench.tenant) + "/7" + SegmentName.spareSuffix
        try Data([1, 2, 3]).write(to: URL(filePath: path))
        try await bench.run { _, journal, report in
            #expect(report.issues.isEmpty)
            let found = try journal.readAll().records
            #expect(found.count == 4)
        }
        #expect(access(path, F_OK) != 0)
    }
}

extension Bench {
    /// Files that wait to be written over.
    fileprivate var spares: Int {
        get throws { try listFolder(folder.tenant(Self.tenant)).count { $0.hasSuffix(SegmentName.spareSuffix) } }
    }
}
