import Synchronization

extension TenantJournal {
    /// Appends `record` and returns where it ends, as soon as it is queued; it is durable when ``JournalEvents/onDurable``
    /// or ``durablePosition`` says so. Records of one caller keep their order.
    ///
    /// Waits, first come first served, while this tenant's or all tenants' pending bytes are at their bound, and, when the
    /// tenant's journal, all journals or the disk are full, until ``forget(upTo:)`` frees space (or, with
    /// ``JournalFullPolicy/dropOldest``, the oldest segment was given up). That is the back pressure which ends at the
    /// OPC UA server's queue.
    ///
    /// Runs on the caller's executor: no hop when nothing has to be waited for. The payload is not copied; its buffer belongs
    /// to the journal when this returns and goes to the directory's ``JournalDirectory/buffers`` pool once it is durable, or,
    /// where there is memory for it, once it is stored. When it throws, the buffer is still the caller's.
    ///
    /// - Throws: ``JournalError/Code/closed``, ``JournalError/Code/recordTooLarge``, or ``JournalError/Code/cancelled`` when
    ///   the task was cancelled while it waited.
    nonisolated(nonsending) package func append(
        _ record: JournalRecord,
        priority: Priority = .normal
    ) async throws(JournalError) -> JournalPosition {
        if let position = try appendIfPossible(record, priority: priority) { return position }
        let id = state.withLock { state in
            defer { state.nextWaiterID += 1 }
            return state.nextWaiterID
        }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                enqueue(
                    Waiter(
                        id: id,
                        record: record,
                        priority: priority,
                        obstacle: .memory,
                        continuation: continuation
                    )
                )
            }
        } onCancel: {
            cancelWaiter(id)
        }
        return try result.get()
    }

    /// Like ``append(_:priority:)``, but returns nil where that would wait; then the buffer is still the caller's.
    package func appendIfPossible(
        _ record: JournalRecord,
        priority: Priority = .normal
    ) throws(JournalError) -> JournalPosition? {
        try checkSize(record)
        let result = state.withLock { state -> Result<JournalPosition?, JournalError> in
            if state.isClosing { return .failure(Self.closedError) }
            guard state.waiters.isEmpty || priority == .reserve else { return .success(nil) }
            guard case .success(let position) = admit(record, priority, &state) else { return .success(nil) }
            schedule(&state, urgent: isMuch(state))
            return .success(position)
        }
        return try result.get()
    }

    private func checkSize(_ record: JournalRecord) throws(JournalError) {
        let length = record.encodedLength
        let limit = min(
            RecordFormat.maximumLength,
            directory.configuration.maximumBytesPerTenant - 2 * SegmentHeader.size
        )
        guard length <= limit else {
            throw JournalError(
                .recordTooLarge,
                "a record of \(length) bytes can never fit: at most \(limit) do; raise JOURNAL_MAX_BYTES"
                    + " or append less at a time",
                path: folder
            )
        }
    }

    /// Enough that the thread should not wait for its interval.
    private func isMuch(_ state: borrowing State) -> Bool {
        state.ledger.pendingBytes >= directory.configuration.maximumPendingBytesPerTenant / 2
            || directory.memory.total >= directory.configuration.maximumPendingBytes / 8
    }

    /// Takes the record if there is room for it now.
    private func admit(
        _ record: JournalRecord,
        _ priority: Priority,
        _ state: inout State
    ) -> Result<JournalPosition, ObstacleError> {
        let configuration = directory.configuration
        let length = record.encodedLength
        let used = state.ledger.bytesOnDisk + state.ledger.unwrittenBytes
        let bound =
            configuration.maximumBytesPerTenant + (priority == .reserve ? configuration.reserveBytesPerTenant : 0)
        guard used + length + SegmentHeader.size <= bound else { return .failure(ObstacleError(.tenantLimit)) }
        let pending = state.ledger.pendingBytes
        guard pending == 0 || pending + length <= configuration.maximumPendingBytesPerTenant else {
            return .failure(ObstacleError(.memory))
        }
        if priority == .reserve {
            directory.disk.force(length, for: diskAccount)
        } else if !directory.disk.reserve(length, for: diskAccount) {
            return .failure(ObstacleError(.directoryLimit))
        }
        guard directory.memory.reserve(length, for: memoryAccount, whenEmpty: true) else {
            directory.disk.release(length, for: diskAccount)
            return .failure(ObstacleError(.memory))
        }
        state.bookedBytes += length
        let position = state.ledger.append(
            length: length,
            rows: record.header.rowCount,
            receivedAt: record.header.receivedAtMicroseconds
        )
        RecordFormat.encode(record.header, into: record.rows.record)
        state.pending.append(PendingRecord(position: position, buffer: record.rows, length: length))
        return .success(JournalPosition(rawValue: position + Int64(length)))
    }

    private struct ObstacleError: Error {
        var obstacle: Obstacle

        init(_ obstacle: Obstacle) {
            self.obstacle = obstacle
        }
    }

    // MARK: Waiting

    /// The journal's state may have changed since the first attempt, so tries again before the waiter joins the queue.
    private func enqueue(_ waiter: Waiter) {
        var waiter = waiter
        let result = state.withLock { state -> Result<JournalPosition, JournalError>? in
            if state.isClosing { return .failure(Self.closedError) }
            if Task.isCancelled { return .failure(Self.cancelledError) }
            if state.waiters.isEmpty || waiter.priority == .reserve {
                switch admit(waiter.record, waiter.priority, &state) {
                case .success(let position):
                    schedule(&state, urgent: isMuch(state))
                    return .success(position)
                case .failure(let error):
                    waiter.obstacle = error.obstacle
                }
            } else {
                waiter.obstacle = state.waiters[0].obstacle
            }
            if waiter.priority == .reserve {
                let place = state.waiters.firstIndex { $0.priority != .reserve } ?? state.waiters.endIndex
                state.waiters.insert(waiter, at: place)
            } else {
                state.waiters.append(waiter)
            }
            schedule(&state, urgent: true)
            return nil
        }
        if let result { waiter.continuation.resume(returning: result) }
    }

    private func cancelWaiter(_ id: UInt64) {
        let waiter = state.withLock { state -> Waiter? in
            guard let place = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
            let waiter = state.waiters.remove(at: place)
            // Whoever stood behind may fit.
            if place == 0 && !state.waiters.isEmpty { schedule(&state, urgent: true) }
            return waiter
        }
        waiter?.continuation.resume(returning: .failure(Self.cancelledError))
    }

    private static var cancelledError: JournalError {
        JournalError(.cancelled, "the append was cancelled while it waited for room")
    }

    /// Lets in whoever stands first and fits, until somebody does not. On the journal thread.
    func admitWaiters() {
        let admitted = state.withLock { state -> [(Waiter, JournalPosition)] in
            var admitted: [(Waiter, JournalPosition)] = []
            while let first = state.waiters.first {
                switch admit(first.record, first.priority, &state) {
                case .success(let position):
                    admitted.append((state.waiters.removeFirst(), position))
                    continue
                case .failure(let error):
                    state.waiters[0].obstacle = error.obstacle
                }
                break
            }
            if !admitted.isEmpty { schedule(&state, urgent: isMuch(state)) }
            return admitted
        }
        for (waiter, position) in admitted { waiter.continuation.resume(returning: .success(position)) }
    }
}
