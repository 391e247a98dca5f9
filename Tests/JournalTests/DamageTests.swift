import FoundationEssentials
import SystemPackage
import Testing

@testable import Journal

/// What a damaged folder gives. One small journal is written once; each case opens a damaged copy of it.
@Suite struct DamageTests {
    struct Original {
        let bench: Bench
        let files: [String: [UInt8]]
        let appended: [Seen]
        let journalID: UUID

        var segments: [String] { files.keys.filter { $0.hasSuffix(SegmentName.suffix) }.sorted() }
    }

    /// Three segments of three records of different lengths.
    private static func makeOriginal() async throws -> Original {
        let bench = try Bench()
        var appended: [Seen] = []
        var journalID = UUID()
        for segment in 0..<3 as Range<UInt32> {
            try await bench.run { directory, journal, _ in
                journalID = journal.journalID
                for number in segment * 3..<segment * 3 + 3 {
                    appended += try journal.fill(number...number, bytes: Int(number) * 5)
                }
                await directory.syncNow()
            }
        }
        let files = try bench.folder.files(of: Bench.tenant)
        return Original(bench: bench, files: files, appended: appended, journalID: journalID)
    }

    struct Opened {
        var records: [Seen] = []
        var genuine = true
        var report = RecoveryReport()
        var end: Int64 = 0
        var journalID = UUID()
    }

    /// Opens a folder that holds `files`, checks what must hold whatever the damage is, and that a second opening finds the
    /// same with nothing more to complain about.
    private static func open(
        _ original: Original,
        _ files: [String: [UInt8]],
        _ what: String,
        twice: Bool = true
    ) async throws -> Opened {
        let bench = original.bench
        try bench.folder.replace(Bench.tenant, by: files)
        let first = try await open(bench)
        #expect(first.genuine, "\(what): a record that was never appended")
        let known = Set(original.appended.map(\.description))
        #expect(first.records.allSatisfy { known.contains($0.description) }, "\(what)")
        let starts = first.records.map(\.start)
        #expect(zip(starts, starts.dropFirst()).allSatisfy { $0 < $1 }, "\(what): out of order")
        #expect(first.end >= first.records.last?.end ?? 0, "\(what)")

        // Nothing is deleted: each byte that was there is there, in its place or set aside. Only a segment of which nothing
        // but the header was left may be gone.
        let after = try bench.folder.files(of: Bench.tenant)
        for (name, bytes) in files {
            let pieces = after.keys.filter { $0 == name || $0.hasPrefix(name + ".") }.sorted()
            let kept =
                pieces.contains { after[$0] == bytes } || pieces.flatMap { after[$0] ?? [] } == bytes
                || after["\(name).\(SegmentHeader.size).damaged"] == Array(bytes.dropFirst(SegmentHeader.size))
            #expect(kept, "\(what): \(name) became \(pieces)")
        }

        guard twice else { return first }
        let second = try await open(bench)
        #expect(second.records == first.records && second.genuine, "\(what): a second opening finds other records")
        #expect(second.report.issues.allSatisfy { $0.kind == .missingSegments }, "\(what): \(second.report.issues)")
        #expect(second.end >= first.end, "\(what): positions went back")
        #expect(second.journalID == first.journalID, "\(what)")
        return first
    }

    private static func open(_ bench: Bench) async throws -> Opened {
        var opened = Opened()
        let directory = try bench.open()
        let (journal, report) = try directory.openJournal(tenant: Bench.tenant) { header, payload in
            opened.records.append(Seen(header))
            opened.genuine = opened.genuine && Sample.isGenuine(header, payload)
        }
        opened.report = report
        opened.end = journal.endPosition.rawValue
        opened.journalID = journal.journalID
        let read = journal.recoverAll()
        #expect(read == opened.records, "reading finds what opening found")
        // What is appended now lies behind everything that was.
        let next = try journal.fill(100...100)
        #expect(next[0].start >= opened.end)
        // …and is taken back, so that cases do not differ: not synced, and the folder is replaced anyway.
        try await directory.close()
        let segments = try bench.segmentFiles
        if let last = segments.last {
            try FileManager.default.removeItem(atPath: bench.folder.tenant(Bench.tenant) + "/" + last)
        }
        return opened
    }

    @Test func theLastRecordCutAtEveryByte() async throws {
        let original = try await Self.makeOriginal()
        let name = try #require(original.segments.last)
        let whole = try #require(original.files[name])
        let last = try #require(original.appended.last)
        let base = try #require(SegmentName(name)).base
        let start = SegmentHeader.size + Int(last.start - base)
        for length in start..<whole.count {
            var files = original.files
            files[name] = Array(whole[..<length])
            let opened = try await Self.open(original, files, "cut at \(length)")
            #expect(opened.records == Array(original.appended.dropLast()), "cut at \(length)")
            #expect(opened.end >= last.start)
            let issues = opened.report.issues
            if length == start {
                #expect(issues.isEmpty, "a file that ends with a record is whole")
            } else {
                #expect(issues.map(\.kind) == [.tornTail], "cut at \(length)")
                #expect(issues.first?.bytes == Int64(length - start) && issues.first?.offset == Int64(start))
                #expect(issues.first?.setAsideAs != nil)
            }
        }
    }

    /// The same for the first bytes of the file: a header that power loss cut.
    @Test func theLastSegmentCutAtEveryByteOfItsHeader() async throws {
        let original = try await Self.makeOriginal()
        let name = try #require(original.segments.last)
        let whole = try #require(original.files[name])
        for length in stride(from: 0, to: SegmentHeader.size, by: 5) {
            var files = original.files
            files[name] = Array(whole[..<length])
            let opened = try await Self.open(original, files, "cut at \(length)")
            #expect(opened.records == Array(original.appended.dropLast(3)), "cut at \(length)")
            #expect(opened.report.issues.map(\.kind) == [.damagedHeader], "cut at \(length)")
            #expect(opened.end >= original.appended[5].end)
        }
    }

    @Test func everyByteOfEveryFileFlipped() async throws {
        let original = try await Self.makeOriginal()
        var random = SeededGenerator(seed: 5)
        for (name, bytes) in original.files.sorted(by: { $0.key < $1.key }) {
            for place in bytes.indices {
                let mask = Bool.random(using: &random) ? 1 << (place % 8) : UInt8.random(in: 1...255, using: &random)
                let what = "\(name), byte \(place) ^ \(mask)"
                var files = original.files
                files[name]?[place] ^= mask
                let opened = try await Self.open(original, files, what, twice: place.isMultiple(of: 7))
                #expect(opened.journalID == original.journalID, "\(what): the segments know it too")
                guard let segment = SegmentName(name), place >= SegmentHeader.size else {
                    // A header stands there twice, and the id in every segment.
                    #expect(opened.records == original.appended, "\(what)")
                    continue
                }
                // The record hit, and those behind it in its segment, are lost; nothing else is.
                let position = segment.base + Int64(place - SegmentHeader.size)
                let rest = original.appended.filter {
                    $0.end <= position || $0.start >= segment.base + Int64(bytes.count - SegmentHeader.size)
                }
                #expect(opened.records == rest, "\(what)")
                let issue = try #require(opened.report.issues.first)
                #expect(opened.report.issues.count == 1, "\(what): \(opened.report.issues)")
                #expect(issue.kind == (name == original.segments.last ? .tornTail : .corruptRecords), "\(what)")
                let lost = try #require(issue.lost)
                #expect(lost.lowerBound.rawValue == rest.last { $0.end <= position }?.end ?? 0, "\(what)")
                #expect(lost.upperBound.rawValue == segment.base + Int64(bytes.count - SegmentHeader.size), "\(what)")
            }
        }
    }

    /// Several bytes at once, and pieces of one file in another.
    @Test(arguments: 1...60) func randomDamage(_ seed: UInt64) async throws {
        let original = try await Self.makeOriginal()
        var random = SeededGenerator(seed: seed)
        var files = original.files
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            guard let name = files.keys.sorted().randomElement(using: &random), let bytes = files[name], !bytes.isEmpty
            else { continue }
            let place = Int.random(in: 0..<bytes.count, using: &random)
            let count = min(bytes.count - place, Int.random(in: 1...300, using: &random))
            switch Int.random(in: 0..<6, using: &random) {
            case 0: files[name] = nil
            case 1: files[name] = Array(bytes[..<place])
            case 2: for index in place..<place + count { files[name]?[index] = 0 }
            case 3:
                for index in place..<place + count { files[name]?[index] = .random(in: .min ... .max, using: &random) }
            case 4: files[name]?.insert(contentsOf: bytes[place..<place + count], at: place)
            default:
                guard let other = files.values.randomElement(using: &random), other.count >= place + count else {
                    continue
                }
                files[name]?.replaceSubrange(place..<place + count, with: other[place..<place + count])
            }
        }
        _ = try await Self.open(original, files, "seed \(seed)")
    }

    @Test func aMissingSegmentIsReported() async throws {
        let original = try await Self.makeOriginal()
        var files = original.files
        files[original.segments[1]] = nil
        let opened = try await Self.open(original, files, "one missing")
        #expect(opened.records == Array(original.appended[..<3] + original.appended[6...]))
        #expect(opened.report.issues.map(\.kind) == [.missingSegments])
        #expect(
            opened.report.issues.first?.lost
                == JournalPosition(
                    rawValue: original.appended[3].start
                )..<JournalPosition(rawValue: original.appended[5].end)
        )
    }

    @Test func foreignFilesAreSetAside() async throws {
        let original = try await Self.makeOriginal()
        let header = SegmentHeader(
            journalID: UUID(number: 200),
            tenantID: Bench.tenant,
            index: 50,
            base: 70_000,
            previousEnd: 70_000,
            createdAtMicroseconds: 0
        )
        var otherTenant = header
        otherTenant.tenantID = UUID(number: 201)
        otherTenant.index = 51
        var files = original.files
        files[SegmentName(index: 50, base: 70_000).fileName] = header.encoded()
        files[SegmentName(index: 51, base: 70_000).fileName] = otherTenant.encoded()
        files["shopping list.segment"] = Array("eggs".utf8)
        files[SegmentName(index: 52, base: 0).fileName] = Array("a text where a segment should be".utf8)
        files[SegmentName(index: 53, base: 9).fileName] = original.files[original.segments[0]]
        files["notes.txt"] = Array("left alone".utf8)
        let opened = try await Self.open(original, files, "foreign files")
        #expect(opened.records == original.appended)
        #expect(opened.report.issues.count == 5)
        #expect(
            opened.report.issues.allSatisfy { $0.kind == .foreignFile && $0.setAsideAs?.hasSuffix(".foreign") == true }
        )
    }

    @Test func aLaterVersionsSegmentIsSetAsideAndItsPositionsAreNotUsedAgain() async throws {
        let original = try await Self.makeOriginal()
        let name = try #require(original.segments.last)
        var files = original.files
        files[name]?[8] = 9
        files[name]?[SegmentHeader.copySize + 8] = 9
        let opened = try await Self.open(original, files, "later version")
        #expect(opened.records == Array(original.appended[..<6]))
        #expect(opened.report.issues.map(\.kind) == [.futureVersion])
        #expect(opened.report.issues.first?.setAsideAs == name + ".foreign")
        #expect(opened.end >= original.appended[8].end)
    }

    @Test func theIdentityComesBackFromTheSegments() async throws {
        let original = try await Self.makeOriginal()
        var files = original.files
        files[JournalIdentity.fileName] = nil
        let opened = try await Self.open(original, files, "no journal.id")
        #expect(opened.records == original.appended && opened.journalID == original.journalID)
        #expect(opened.report.issues.map(\.kind) == [.identity])

        files[JournalIdentity.fileName] = JournalIdentity(journalID: UUID(number: 9), tenantID: UUID(number: 8))
            .encoded()
        let other = try await Self.open(original, files, "another tenant's journal.id")
        #expect(other.records == original.appended && other.journalID == original.journalID)
    }

    /// A copy of a whole record at another place, or from another journal, is no record there.
    @Test func aMisplacedRecordIsNotBelieved() async throws {
        let original = try await Self.makeOriginal()
        let name = original.segments[0]
        let whole = try #require(original.files[name])
        let first = SegmentHeader.size..<SegmentHeader.size + Int(original.appended[0].end)
        var files = original.files
        files[name] = whole + whole[first]
        let opened = try await Self.open(original, files, "a record twice")
        #expect(opened.records == original.appended)
    }
}

extension TenantJournal {
    fileprivate func recoverAll() -> [Seen] {
        var records: [Seen] = []
        recover { header, _ in records.append(Seen(header)) }
        return records
    }
}
