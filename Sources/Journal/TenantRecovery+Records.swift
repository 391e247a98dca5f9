import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

extension TenantRecovery {
    /// Checks the segments' records, in order, and takes what is whole into the ledger.
    /// - Parameter candidates: in the order of their indexes.
    /// - Returns: a position that no record found, whole or not, lies behind.
    mutating func recover(
        _ candidates: [Candidate],
        _ identity: JournalIdentity,
        _ ledger: inout JournalLedger,
        _ visit: Visitor
    ) throws(Errno) -> Int64 {
        let seed = RecordFormat.seed(journal: identity.journalID)
        // After a failed sync a later segment begins where the durable part of an earlier one ended, and counts.
        var limits: [Int64] = []
        var lowest = Int64.max
        for candidate in candidates.reversed() {
            limits.append(lowest)
            lowest = min(lowest, candidate.header.base)
        }
        limits.reverse()
        var end: Int64 = 0
        for (place, candidate) in candidates.enumerated() {
            let header = candidate.header
            let fileEnd = header.base + candidate.size - Int64(SegmentHeader.size)
            // One that a later segment supersedes from its very beginning tells nothing about what was durable.
            if place > 0, limits[place] > header.base {
                noteGap(before: candidate, after: candidates[place - 1].header.index, ledger.segments.last?.end)
            }
            let (entry, isOrderly) = try scan(
                candidate,
                seed,
                limit: min(fileEnd, max(limits[place], header.base)),
                isLast: place == candidates.count - 1,
                &ledger,
                visit
            )
            // Bytes behind an orderly end are no records, and were no positions.
            end = max(end, isOrderly ? entry.end : fileEnd)
            ledger.recovered(entry)
        }
        return min(end, JournalPosition.highest.rawValue)
    }

    /// Reports segments that ought to be between two that were found.
    private mutating func noteGap(before candidate: Candidate, after previousIndex: UInt64, _ previousEnd: Int64?) {
        let header = candidate.header
        guard let previousEnd, header.previousEnd > previousEnd else { return }
        // What is lacking at the end of the previous segment was reported when that was scanned, unless it is simply gone.
        let lost = JournalPosition(rawValue: previousEnd)..<JournalPosition(rawValue: header.previousEnd)
        if report.issues.contains(where: {
            $0.lost?.lowerBound == lost.lowerBound && $0.lost?.upperBound == lost.upperBound
        }) {
            return
        }
        let missing = header.index - previousIndex - 1
        report.issues.append(
            JournalIssue(
                kind: .missingSegments,
                file: candidate.name,
                bytes: header.previousEnd - previousEnd,
                lost: lost,
                message: missing > 0
                    ? "\(missing) segment\(missing == 1 ? "" : "s") before this one missing"
                    : "the end of the segment before this one is missing"
            )
        )
    }

    private mutating func scan(
        _ candidate: Candidate,
        _ seed: UInt32,
        limit: Int64,
        isLast: Bool,
        _ ledger: inout JournalLedger,
        _ visit: Visitor
    ) throws(Errno) -> (SegmentEntry, isOrderly: Bool) {
        let header = candidate.header
        let start = Int64(SegmentHeader.size)
        var entry = SegmentEntry(
            index: header.index,
            base: header.base,
            end: header.base,
            fileBytes: Int(candidate.size),
            isSealed: true,
            isDurable: true
        )
        let file = try openFile(folder + "/" + candidate.name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        defer { closeQuietly(file) }
        let scanner = SegmentScanner(file: file, seed: seed, base: header.base, buffer: buffer)
        var records = 0
        var rows = 0
        let (offset, ending) = scanner.scan(from: start, limit: start + limit - header.base) { record, payload in
            records += 1
            rows += Int(record.rowCount)
            ledger.recovered(record)
            visit(record, payload)
            return true
        }
        report.records += records
        report.rows += rows
        entry.end = scanner.position(at: offset)
        switch ending {
        case .end: return (entry, entry.end == header.base + candidate.size - start)
        case .endMark:
            // An orderly end; what follows is left from an earlier use of the file.
            if (try? cut(candidate, to: offset)) != nil { entry.fileBytes = Int(offset) }
            return (entry, true)
        case .corrupt, .unreadable: break
        }

        var issue = JournalIssue(
            kind: isLast ? .tornTail : .corruptRecords,
            file: candidate.name,
            offset: offset,
            bytes: candidate.size - offset,
            message: ""
        )
        if entry.end < limit { issue.lost = JournalPosition(rawValue: entry.end)..<JournalPosition(rawValue: limit) }
        switch ending {
        case .corrupt(let reason):
            issue.message = "\(reason) at offset \(offset): cut off after the last whole record"
            if let name = cutOff(candidate, at: offset, file) {
                issue.setAsideAs = name
                entry.fileBytes = Int(offset)
            } else {
                issue.message += "; it could not be moved to a file of its own and stays where it is"
                entry.isDamaged = true
            }
        case .unreadable(let errno):
            issue.message = "unreadable from offset \(offset) on (\(errno)); what follows stays where it is"
            entry.isDamaged = true
        case .end, .endMark:
            break
        }
        report.issues.append(issue)
        return (entry, false)
    }

    private func cut(_ candidate: Candidate, to length: Int64) throws(Errno) {
        let segment = try openFile(folder + "/" + candidate.name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
        defer { closeQuietly(segment) }
        try configuration.fileSystem.truncate(segment, to: length)
    }

    /// Moves what is behind `offset` to a file of its own. The segment is cut only once that file is on the disk.
    /// - Returns: the file's name; nil when it could not be made.
    private func cutOff(_ candidate: Candidate, at offset: Int64, _ source: FileDescriptor) -> String? {
        var name = candidate.name + ".\(offset)" + SegmentName.damagedSuffix
        while (try? fileStatus(folder + "/" + name)) != nil {
            name = candidate.name + ".x\(name.utf8.count).\(offset)" + SegmentName.damagedSuffix
        }
        let path = folder + "/" + name
        do throws(Errno) {
            let target = try configuration.fileSystem.create(path)
            defer { closeQuietly(target) }
            do throws(Errno) {
                try copy(source, from: offset, to: target)
                try configuration.fileSystem.sync(target)
                let segment = try openFile(folder + "/" + candidate.name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
                defer { closeQuietly(segment) }
                let folder = try openFolder(folder)
                defer { closeQuietly(folder) }
                try configuration.fileSystem.syncFolder(folder)
                try configuration.fileSystem.truncate(segment, to: offset)
                try configuration.fileSystem.sync(segment)
                return name
            } catch {
                try? configuration.fileSystem.unlink(path)
                throw error
            }
        } catch {
            return nil
        }
    }

    private func copy(_ source: FileDescriptor, from start: Int64, to target: FileDescriptor) throws(Errno) {
        var offset = start
        while true {
            let count: Int
            switch readFully(source, buffer.bytes, offset) {
            case .failure(let errno): throw errno
            case .success(let read): count = read
            }
            if count == 0 { return }
            var done = 0
            while done < count {
                let piece = iovec(iov_base: buffer.bytes.baseAddress.map { $0 + done }, iov_len: count - done)
                let result: Result<Int, Errno> = withUnsafePointer(to: piece) { piece in
                    do throws(Errno) {
                        return .success(
                            try configuration.fileSystem.write(
                                target,
                                UnsafeBufferPointer(start: piece, count: 1),
                                at: offset - start + Int64(done)
                            )
                        )
                    } catch {
                        return .failure(error)
                    }
                }
                let written = try result.get()
                if written == 0 { throw .noSpace }
                done += written
            }
            offset += Int64(count)
        }
    }
}
