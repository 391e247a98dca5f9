import FoundationEssentials
import Journal
import Logging
import Metrics
import NIOCore
import TimescaleStore

/// From the journal into the table.
extension TenantWriter {
    /// One of the flushes made at the same time.
    private struct Flush: Sendable {
        var part: FlushPlan.Part
        var source: FlushSource
        var options: ReadingsWriter.Options
        /// Beside one before it.
        var isParallel: Bool
    }

    /// How long one COPY stream does the work when another one was not to be had or did not go well.
    private static var singlePause: TimeAmount { .seconds(5) }

    func flush(from committed: JournalPosition) async {
        let began = NIODeadline.now()
        guard await writeGaps() else { return }
        // Nothing is under way: what earlier flushes read may be given up where room is wanted.
        journal.makeReader().release()
        let flushes = prepare(from: committed)
        guard let first = flushes.first else { return schedule.succeeded(began: began, ended: .now()) }
        var results: [Int: Result<ReadingsWriter.Outcome, StoreError>] = [:]
        var settled = 0
        var isBroken = false
        let failures = schedule.failures
        await withTaskGroup(of: (Int, Result<ReadingsWriter.Outcome, StoreError>).self) { group in
            for (index, flush) in flushes.enumerated() {
                let (url, journalID, store) = (url, journal.journalID, store)
                group.addTask { (index, await Self.store(flush, with: store, in: url, journalID)) }
            }
            for await (index, result) in group {
                results[index] = result
                while !isBroken, case .success(let outcome) = results[settled] {
                    isBroken = !(await settle(outcome, flushes[settled]))
                    if !isBroken { settled += 1 }
                }
            }
        }
        // Recording what a restored database lacks failed: that is tried again in its time.
        if schedule.failures > failures { return }
        switch results[settled] {
        case .failure(let error) where settled == 0:
            await retry(first, after: error, leavesRest: flushes.count > 1)
        case .failure(let error):
            // Its rows are the first of the next flush; what is wrong shows then.
            logger.debug("a further COPY stream stored nothing", metadata: ["error": "\(error)"])
            if error.code == .outcomeUnknown { unknownEnds.insert(flushes[settled].source.end) }
            singleUntil = .now() + Self.singlePause
            fallthrough
        default:
            schedule.succeeded(began: first.source.began, ended: .now(), leavesRest: settled < flushes.count)
        }
    }

    /// A flush that failed and did not follow another one.
    private func retry(_ flush: Flush, after error: StoreError, leavesRest: Bool) async {
        var flush = flush
        flush.options.turn = nil
        do throws(StoreError) {
            guard error.code == .data else { throw error }
            logger.warning("the database refuses a row; storing the others", metadata: ["error": "\(error)"])
            let outcome = try await store.storeIsolating(
                in: url,
                journalID: journal.journalID,
                from: flush.part.from.rawValue,
                to: flush.source.end.rawValue,
                options: flush.options,
                connectionID: connectionOfTag,
                rows: { [source = flush.source] in try source.read($0) }
            )
            _ = await settle(outcome, flush)
            schedule.succeeded(began: flush.source.began, ended: .now(), leavesRest: leavesRest)
        } catch {
            journal.makeReader().release()
            // The leases ran out just now: the same again, checked.
            if error.code == .cancelled || error.code == .fenced { return }
            if error.code == .outcomeUnknown { unknownEnds.insert(flush.source.end) }
            failed(error)
        }
    }

    // MARK: Planning

    /// What is to be stored now, in order.
    private func prepare(from committed: JournalPosition) -> [Flush] {
        let waiting = journal.durableBacklogRows
        let journalEnd = journal.endPosition
        let sharing = checks.sharing(from: committed, journalEnd: journalEnd)
        let whole = min(waiting, settings.catchUpRows)
        // A columnstore takes one such stream at a time: the others would wait until it is committed.
        let isDirect = toldDirectCompress != false && wantsDirectCompress(rows: whole)
        let mayBeParallel = !isDirect && !sharing.isChecked && singleUntil.map { $0 <= .now() } ?? true
        let plan = FlushPlan(
            from: committed,
            rows: waiting,
            streams: mayBeParallel ? settings.copyStreams : 1,
            maximumRows: settings.catchUpRows
        ) { position, rows in
            let found = journal.flushBoundary(from: position, maximumRows: rows)
            return (found.end, found.rows)
        }
        let isBehind = schedule.isBehind(rowsLeft: waiting - plan.rows, of: plan.rows)
        var flushes: [Flush] = []
        for part in plan.parts {
            var options = ReadingsWriter.Options()
            options.rowCountHint = part.rows
            options.directCompress = wantsDirectCompress(rows: part.rows)
            options.sorted = wantsSorting(rows: part.rows, isBehind: isBehind)
            options.sharing = checks.sharing(from: part.from, journalEnd: journalEnd)
            if plan.parts.count > 1 {
                if options.sharing.isChecked { break }
                options.turn = FlushTurn(after: flushes.last?.options.turn)
            }
            let source = FlushSource(journal: journal, from: part.from, to: part.end)
            if plan.parts.count == 1, !options.sharing.isChecked {
                let room = settings.catchUpRows - part.rows
                options.lateEnd = { [checks, journal] in
                    source.extend(maximumRows: room) {
                        !checks.sharing(from: part.from, journalEnd: journal.endPosition).isChecked
                    }
                    return source.end.rawValue
                }
            }
            flushes.append(
                Flush(
                    part: part,
                    source: source,
                    options: options,
                    isParallel: !flushes.isEmpty
                )
            )
        }
        return flushes
    }

    /// Sorting pays only where the database is what everything waits for, and a run has many rows of each tag: see
    /// ``ReadingsWriter/Options/sorted``.
    private func wantsSorting(rows: Int, isBehind: Bool) -> Bool {
        isBehind && rows >= 20_000 && min(rows, RowSorter.usualIndexRunRows) / max(1, tagCount()) >= 10
    }

    private func wantsDirectCompress(rows: Int) -> Bool {
        switch settings.directCompress {
        case .on: true
        case .off: false
        // Hundreds of rows a tag fill a compressed segment; fewer cost more than they save.
        case .automatic: rows >= 100_000 && rows / max(1, tagCount()) >= 100
        }
    }

    // MARK: Storing

    private static func store(
        _ flush: Flush,
        with store: ReadingsWriter,
        in url: DatabaseURL,
        _ journalID: UUID
    ) async -> Result<ReadingsWriter.Outcome, StoreError> {
        do throws(StoreError) {
            let outcome = try await store.store(
                in: url,
                journalID: journalID,
                from: flush.part.from.rawValue,
                to: flush.part.end.rawValue,
                options: flush.options,
                rows: { [source = flush.source] in try source.read($0) }
            )
            return .success(outcome)
        } catch {
            return .failure(error)
        }
    }

    /// - Returns: whether the rows are in the database, so that what follows them may be settled too.
    private func settle(_ outcome: ReadingsWriter.Outcome, _ flush: Flush) async -> Bool {
        var isStored = true
        let end = flush.source.end
        switch outcome {
        case .outOfTurn:
            return false
        case .stored(let stored):
            self.committed = end
            journal.forget(upTo: end)
            let duration = Duration.nanoseconds((NIODeadline.now() - flush.source.began).nanoseconds)
            metrics.stored(
                stored,
                isChecked: flush.options.sharing.isChecked,
                isParallel: flush.isParallel,
                duration: duration,
                delays: flush.source.delays(at: WallTime.microseconds())
            )
            if flush.options.directCompress { tellDirectCompress(stored) }
            for (reason, count) in Dictionary(grouping: stored.rejected, by: \.reason).mapValues(\.count) {
                logger.error(
                    "readings rejected by the database; they are in scada_rejected_readings",
                    metadata: ["reason": "\(reason)", "count": "\(count)"]
                )
            }
            logger.debug(
                "stored",
                metadata: ["count": "\(stored.rows)", "duration_ms": "\(duration.milliseconds)"]
            )
        case .alreadyStored(let position):
            logger.info("an earlier attempt had stored these rows", metadata: ["position": "\(position)"])
            self.committed = JournalPosition(rawValue: max(position, end.rawValue))
            journal.forget(upTo: end)
        case .checkpointDiffers(let found?) where unknownEnds.contains(JournalPosition(rawValue: found)):
            // This flush took more than the one whose COMMIT was not answered.
            logger.info("an earlier attempt had stored some of these rows", metadata: ["position": "\(found)"])
            self.committed = JournalPosition(rawValue: found)
            journal.forget(upTo: JournalPosition(rawValue: found))
            isStored = false
        case .checkpointDiffers(let found):
            await recover(found: found, expected: flush.part.from)
            isStored = false
        }
        unknownEnds = []
        for damage in flush.source.damage { note(damage) }
        succeeded()
        return isStored
    }

    /// Once for each change: every flush of a backlog would say the same.
    private func tellDirectCompress(_ stored: ReadingsWriter.Stored) {
        guard stored.rejectedCount == 0, toldDirectCompress != stored.directCompress else { return }
        toldDirectCompress = stored.directCompress
        if stored.directCompress {
            logger.info(
                "large batches go straight to the columnstore (STORAGE_DIRECT_COMPRESS)",
                metadata: ["mode": "\(settings.directCompress.rawValue)", "count": "\(stored.rows)"]
            )
        } else {
            logger.log(
                level: settings.directCompress == .on ? .warning : .info,
                "the server has no direct compress; readings are stored the usual way (STORAGE_DIRECT_COMPRESS)",
                metadata: ["mode": "\(settings.directCompress.rawValue)"]
            )
        }
    }

    /// Gaps go first: a crash in between then writes them again, under the same id.
    private func writeGaps() async -> Bool {
        let taken = gaps.take()
        guard !taken.isEmpty else { return true }
        do throws(StoreError) {
            try await ledger.record(taken.map(\.gap), in: url)
            return true
        } catch {
            gaps.putBack(taken)
            if error.code != .cancelled { failed(error) }
            return false
        }
    }
}
