import Synchronization
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// What the journal thread does for one tenant in a cycle, in this order: ``writePending(isWaiting:)``, then, if
/// ``needsSync``, a sync followed by ``publishDurable()`` or ``rewriteUnsynced(after:)``, then ``settle()``.
extension TenantJournal {
    var needsSync: Bool { writer.isDirty }
    var syncCount: Int { writer.syncCount }
    var retryTime: UInt64? { retry.time }
    var hasWaiters: Bool { state.withLock { !$0.waiters.isEmpty } }
    var isClosed: Bool { state.withLock { $0.closeResult != nil } }

    // MARK: Writing

    /// - Parameter isWaiting: the last attempt failed and the next is not due.
    func writePending(isWaiting: Bool) {
        let (records, plan, isLastRound) = state.withLock { state -> ([PendingRecord], RotationPlan, Bool) in
            state.isScheduled = false
            state.isUrgent = false
            state.isLastRound = state.isClosing
            defer { state.pending.removeAll(keepingCapacity: state.pending.count <= 1024) }
            return (state.pending, rotationPlan(state), state.isLastRound)
        }
        writer.enqueue(records)
        // A journal that is being closed gets its last chance whatever the back-off says.
        guard !isWaiting || isLastRound else { return }
        if state.withLock({ $0.trouble?.code == .diskFull }) && directory.configuration.fullPolicy == .dropOldest {
            _ = dropOldestSegment()
        }
        if case .rotate(let base, let previousEnd) = plan, writer.written == writer.queue.count, writer.queue.isEmpty {
            if case .failed(let error) = apply(writer.openSegment(base: base, previousEnd: previousEnd)) {
                fail(error)
                return
            }
        }
        while true {
            let previousEnd = state.withLock { $0.ledger.segments.last?.end }
            switch apply(writer.writeNext(previousEnd: previousEnd)) {
            case .opened, .wrote: continue
            case .failed(let error): fail(error)
            case .nothingLeft: if !writer.isDirty { recover() }
            }
            return
        }
    }

    /// Brings the ledger up to date with what the writer did.
    private func apply(_ progress: SegmentWriter.Progress) -> SegmentWriter.Progress {
        switch progress {
        case .opened(let segment):
            state.withLock { state in
                state.ledger.open(segment)
                book(&state)
            }
        case .wrote(let records, let bytes):
            state.withLock { $0.ledger.wrote(bytes) }
            directory.thread.statistics.withLock { statistics in
                statistics.recordsWritten += records
                statistics.bytesWritten += bytes
            }
        case .failed:
            directory.thread.statistics.withLock { $0.writeFailures += 1 }
        case .nothingLeft:
            break
        }
        return progress
    }

    private enum RotationPlan {
        case none
        case rotate(base: Int64, previousEnd: Int64?)
    }

    /// Whether an empty segment should take over from one that stands in the way of freeing space.
    private func rotationPlan(_ state: borrowing State) -> RotationPlan {
        let minimum = state.isBlocked ? 0 : directory.configuration.forgottenSegmentBytes
        var rotates = state.ledger.lastSegmentIsSpent(minimum: minimum)
        if state.isBlocked, directory.configuration.fullPolicy == .dropOldest, state.ledger.segmentToDrop() == nil,
            state.ledger.pendingBytes == 0, let last = state.ledger.segments.last, last.end > last.base
        {
            rotates = true
        }
        guard rotates else { return .none }
        return .rotate(base: state.ledger.end, previousEnd: state.ledger.segments.last?.end)
    }

    // MARK: After the sync

    /// - Returns: bytes that became durable.
    func publishDurable() -> Int {
        var records = writer.takeDurable()
        let bytes = records.reduce(0) { $0 + $1.length }
        let end = records.last?.end
        compact(&records)
        state.withLock { state in
            state.ledger.synced(upTo: end, bytes: bytes)
            book(&state)
            keepRecent(&records, &state)
        }
        directory.memory.release(bytes, for: memoryAccount)
        recycle(&records)
        if writer.queue.isEmpty { recover() }
        if let end { events.onDurable(self, JournalPosition(rawValue: end)) }
        return bytes
    }

    /// The sync failed: see ``SegmentWriter/discardUnsynced(durable:)``.
    func rewriteUnsynced(after error: JournalError) {
        let (durable, useless) = state.withLock { ($0.ledger.durable, $0.ledger.loseUnsynced()) }
        writer.discardUnsynced(durable: durable)
        for segment in useless { removeFile(segment) }
        for segment in state.withLock({ $0.ledger.segments.suffix(2) }) {
            let bytes = cutUnsynced(segment)
            state.withLock { $0.ledger.setFileBytes(bytes, of: segment.index) }
        }
        state.withLock { book(&$0) }
        fail(error)
    }

    /// Cuts off what is not durable, so that a recovery in this process, or in one that comes after it, does not take pages
    /// for durable which the kernel still shows but failed to write.
    /// - Returns: the file's size.
    private func cutUnsynced(_ segment: SegmentEntry) -> Int {
        let path = folder + "/" + segment.name
        let length = SegmentHeader.size + Int(segment.end - segment.base)
        guard let size = try? fileStatus(path).size else { return segment.fileBytes }
        guard size > length, !segment.isDamaged else { return Int(size) }
        do throws(Errno) {
            let file = try openFile(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW)
            defer { closeQuietly(file) }
            try directory.configuration.fileSystem.truncate(file, to: Int64(length))
            return length
        } catch {
            directory.configuration.observer.onError(.system("cut what is not durable off the segment", path, error))
            return Int(size)
        }
    }

    private func fail(_ error: JournalError) {
        retry.failed()
        let isNew = state.withLock { state in
            defer { state.trouble = error }
            return state.trouble?.code != error.code
        }
        if isNew { directory.configuration.observer.onError(error) }
    }

    private func recover() {
        retry.succeeded()
        state.withLock { $0.trouble = nil }
    }

    /// Frees what can be freed, lets waiting appends in, and reports.
    func settle() {
        if isTight {
            writer.removeSpares()
            writer.trimActive()
        }
        for segment in state.withLock({ $0.ledger.takeRemovable() }) where removeFile(segment) {
            state.withLock { state in
                state.ledger.remove(segment.index)
                book(&state)
            }
            retry.hurry()
        }
        while true {
            admitWaiters()
            guard state.withLock({ $0.isBlocked }), directory.configuration.fullPolicy == .dropOldest, retry.time == nil
            else { break }
            if dropOldestSegment() { continue }
            // Only the segment being written is left to give up: the next cycle seals it.
            state.withLock { state in
                if case .rotate = rotationPlan(state) { schedule(&state, urgent: true) }
            }
            break
        }
        // A spent segment is replaced in the next cycle, once everything pending is durable.
        state.withLock { state in
            if case .rotate = rotationPlan(state), retry.time == nil { schedule(&state, urgent: false) }
        }
        finishClosing()
        publishState()
    }

    private func publishState() {
        let change = state.withLock { state -> JournalState? in
            let current = Self.describe(state)
            guard current != state.publishedState else { return nil }
            state.publishedState = current
            return current
        }
        if let change { events.onStateChange(self, change) }
    }

    private func finishClosing() {
        let isLastRound = state.withLock { $0.isLastRound && $0.closeResult == nil }
        guard isLastRound else { return }
        writer.sealActive()
        _ = writer.dirtyFiles.map { closeQuietly($0.file) }
        let (result, waiters) = state.withLock { state in
            let left = state.ledger.pendingBytes
            var result: Result<Void, JournalError> = .success(())
            if left > 0 {
                result = .failure(
                    state.trouble
                        ?? JournalError(.inputOutput, "closed with \(left) bytes that are not durable", path: folder)
                )
            }
            state.closeResult = result
            state.ledger.sealLast()
            state.recent = RecentRecords()
            defer { state.closeWaiters.removeAll() }
            return (result, state.closeWaiters)
        }
        retry.succeeded()
        directory.memory.close(memoryAccount)
        directory.disk.close(diskAccount)
        directory.recent.close(recentAccount)
        directory.forget(self)
        for waiter in waiters { waiter.resume(returning: result) }
    }

    // MARK: Removing

    /// Whether files should rather be removed than kept to be written over. To wait for memory is no reason: that happens
    /// when much comes at once, which is when writing over saves most.
    private var isTight: Bool {
        state.withLock { state in
            state.trouble != nil || state.isClosing || state.isBlocked
                || state.ledger.bytesOnDisk > directory.configuration.maximumBytesPerTenant / 2
        }
    }

    /// Removes a segment's file, or sets it aside if it is damaged.
    @discardableResult
    private func removeFile(_ segment: SegmentEntry, keepsDamaged: Bool = true) -> Bool {
        let path = folder + "/" + segment.name
        do throws(Errno) {
            if segment.isDamaged && keepsDamaged {
                try directory.configuration.fileSystem.rename(path, to: path + SegmentName.damagedSuffix)
            } else if segment.isDamaged || isTight || !writer.keep(path, bytes: segment.fileBytes) {
                try directory.configuration.fileSystem.unlink(path)
            }
        } catch {
            guard error == .noSuchFileOrDirectory else {
                directory.configuration.observer.onError(.system("remove the segment", path, error))
                return false
            }
        }
        directory.thread.statistics.withLock { $0.segmentsRemoved += 1 }
        return true
    }

    /// Gives up the oldest segment that can be given up, and reports what was in it.
    /// - Returns: whether there was one.
    private func dropOldestSegment() -> Bool {
        var recent: [PendingRecord] = []
        let found = state.withLock { state -> (SegmentEntry, Int64)? in
            guard let segment = state.ledger.giveUpOldest() else { return nil }
            recent = dropRecent(upTo: segment.end, &state)
            return (segment, state.ledger.forgotten)
        }
        recycle(&recent)
        guard let (segment, forgotten) = found else { return false }
        // Not when the file could not be removed the last time: then its records are reported already.
        if segment.end > forgotten && !segment.isGivenUp { reportAbandoned(segment, from: forgotten) }
        // Damaged or not: what the policy gives up must free its space.
        guard removeFile(segment, keepsDamaged: false) else { return false }
        state.withLock { state in
            state.ledger.remove(segment.index)
            book(&state)
        }
        return true
    }

    private func reportAbandoned(_ segment: SegmentEntry, from forgotten: Int64) {
        let path = folder + "/" + segment.name
        var headers: [RecordHeader] = []
        do throws(Errno) {
            let file = try openFile(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
            defer { closeQuietly(file) }
            let buffer = directory.takeReadBuffer()
            defer { directory.putReadBuffer(buffer) }
            let scanner = SegmentScanner(file: file, seed: seed, base: segment.base, buffer: buffer)
            let limit = Int64(SegmentHeader.size) + segment.end - segment.base
            let (offset, ending) = scanner.scan(from: Int64(SegmentHeader.size), limit: limit) { header, _ in
                guard header.endPosition.rawValue > forgotten else { return true }
                headers.append(header)
                if headers.count == 1024 {
                    events.onAbandoned(self, headers)
                    headers.removeAll(keepingCapacity: true)
                }
                return true
            }
            if !headers.isEmpty { events.onAbandoned(self, headers) }
            if ending != .end {
                directory.configuration.observer.onError(
                    JournalError(
                        .corruptRecord,
                        "the records from position \(scanner.position(at: offset)) to \(segment.end) are given up unread",
                        path: path,
                        resumePosition: JournalPosition(rawValue: segment.end)
                    )
                )
            }
        } catch {
            directory.configuration.observer.onError(.system("read the segment that is given up", path, error))
        }
    }
}
