import FoundationEssentials
import Synchronization
import SystemPackage
import Testing

@testable import Journal

/// A file system whose syncs can be made to fail, so that what is pending stays so.
private struct Gate {
    let fileSystem = FaultyFileSystem()

    func close() {
        fileSystem.set { [.sync, .syncFileSystem].contains($0) ? .fail(.ioError) : .pass }
    }

    func open() {
        fileSystem.heal()
    }
}

@Suite(.timeLimit(.minutes(5))) struct BackPressureTests {
    /// Starts an append that has to wait, and returns once it does.
    private func waitingAppend(
        _ journal: TenantJournal,
        _ number: UInt32,
        bytes: Int = 36,
        priority: TenantJournal.Priority = .normal
    ) async throws -> Task<JournalPosition, any Error> {
        let before = journal.state.withLock { $0.waiters.count }
        let task = Task { () async throws -> JournalPosition in
            try await journal.append(Sample.record(number, bytes: bytes), priority: priority)
        }
        try await eventually("append \(number) waits") { journal.state.withLock { $0.waiters.count } > before }
        return task
    }

    /// Lets the tenant's pending bytes reach their bound: the disk fails, so they stay.
    @Test func memoryOfOneTenantIsBounded() async throws {
        let gate = Gate()
        var bench = try Bench(fileSystem: gate.fileSystem)
        bench.configuration.maximumPendingBytesPerTenant = 1000
        try await bench.run { directory, journal, _ in
            gate.close()
            try journal.fill(1...10)
            #expect(try journal.appendIfPossible(Sample.record(11)) == nil)
            let first = try await waitingAppend(journal, 11)
            let second = try await waitingAppend(journal, 12)
            #expect(journal.pendingBytes == 1000)
            let other = try directory.openJournal(tenant: UUID(number: 2)).journal
            try other.fill(1...10)
            gate.open()
            await directory.syncNow()
            #expect(try await first.value.rawValue == 1100, "first come, first served")
            #expect(try await second.value.rawValue == 1200)
            await directory.syncNow()
            #expect(try journal.readAll().records.map(\.number) == Array(1...12))
        }
    }

    /// One tenant that is stuck cannot use up what the others need.
    @Test func memoryOfAllTenantsIsBoundedAndShared() async throws {
        let gate = Gate()
        var bench = try Bench(fileSystem: gate.fileSystem)
        bench.configuration.maximumPendingBytes = 4000
        bench.configuration.maximumPendingBytesPerTenant = 1 << 20
        try await bench.run { directory, journal, _ in
            let others = try (2...5 as ClosedRange<UInt8>)
                .map { try directory.openJournal(tenant: UUID(number: $0)).journal }
            gate.close()
            var count: UInt32 = 0
            while try journal.appendIfPossible(Sample.record(count)) != nil { count += 1 }
            // A fifth of one half, and the other half.
            #expect(count == 24)
            for other in others { try other.fill(1...4) }
            #expect(directory.pendingBytes == 4000)
            #expect(try others[0].appendIfPossible(Sample.record(9)) == nil)
            gate.open()
            await directory.syncNow()
            #expect(directory.pendingBytes == 0)
        }
    }

    @Test func aRecordLargerThanTheMemoryBoundPassesAlone() async throws {
        var bench = try Bench()
        bench.configuration.maximumPendingBytes = 1000
        bench.configuration.maximumPendingBytesPerTenant = 500
        try await bench.run { directory, journal, _ in
            _ = try await journal.append(Sample.record(1, bytes: 5000))
            _ = try await journal.append(Sample.record(2, bytes: 5000))
            await directory.syncNow()
            #expect(try journal.readAll().records.map(\.number) == [1, 2])
        }
    }

    @Test func aFullTenantWaitsUntilSomethingIsForgotten() async throws {
        var bench = try Bench()
        bench.configuration.maximumBytesPerTenant = 20_000
        bench.configuration.reserveBytesPerTenant = 4000
        try await bench.run { directory, journal, _ in
            let headers = 8 * SegmentHeader.size
            var count: UInt32 = 0
            while try journal.appendIfPossible(Sample.record(count, bytes: 436)) != nil { count += 1 }
            await directory.syncNow()
            while try journal.appendIfPossible(Sample.record(count, bytes: 436)) != nil { count += 1 }
            await directory.syncNow()
            #expect(journal.bytesOnDisk <= 20_000 + headers && journal.bytesOnDisk > 18_000)
            let waiting = try await waitingAppend(journal, count, bytes: 436)
            try await eventually("full") { journal.currentState == .full(.tenantLimit) }
            // Another tenant does not care.
            let other = try directory.openJournal(tenant: UUID(number: 2)).journal
            _ = try await other.append(Sample.record(1))

            // The reserve is for what helps to free space, and has an end too.
            let reserved = try #require(
                try journal.appendIfPossible(Sample.record(1000, bytes: 436), priority: .reserve)
            )
            var more = 0
            while try journal.appendIfPossible(Sample.record(1001, bytes: 436), priority: .reserve) != nil { more += 1 }
            #expect(more <= 7)
            await directory.syncNow()
            #expect(journal.durablePosition >= reserved)
            #expect(journal.bytesOnDisk <= 24_000 + headers)
            #expect(journal.currentState == .full(.tenantLimit))

            journal.forget(upTo: JournalPosition(rawValue: 12_000))
            let position = try await waiting.value
            await directory.syncNow()
            #expect(journal.durablePosition == position)
            #expect(journal.currentState == .open)
            #expect(bench.probe.states[Bench.tenant] == [.full(.tenantLimit), .open])
            #expect(journal.bytesOnDisk <= 20_000 + headers)
        }
    }

    @Test func aWaiterWithReserveGoesFirst() async throws {
        let gate = Gate()
        var bench = try Bench(fileSystem: gate.fileSystem)
        bench.configuration.maximumPendingBytesPerTenant = 100
        try await bench.run { directory, journal, _ in
            gate.close()
            try journal.fill(1...1)
            let normal = try await waitingAppend(journal, 2)
            let reserve = try await waitingAppend(journal, 3, priority: .reserve)
            gate.open()
            await directory.syncNow()
            #expect(try await reserve.value.rawValue == 200)
            await directory.syncNow()
            #expect(try await normal.value.rawValue == 300)
        }
    }

    /// All that was forgotten is in the segment that is being written: it must not stand in the way for ever.
    @Test func aFullTenantGetsRidOfItsLastSegment() async throws {
        var bench = try Bench()
        bench.configuration.maximumBytesPerTenant = 10_000
        try await bench.run { directory, journal, _ in
            let largest = 10_000 - 2 * SegmentHeader.size - RecordFormat.headerSize
            _ = try await journal.append(Sample.record(1, bytes: largest))
            let waiting = try await waitingAppend(journal, 2, bytes: largest)
            await directory.syncNow()
            journal.forget(upTo: journal.durablePosition)
            let position = try await waiting.value
            await directory.syncNow()
            #expect(try journal.readAll(from: journal.committedPosition).records.map(\.number) == [2])
            #expect(journal.durablePosition == position)
        }
    }

    /// What one tenant frees, another may be waiting for.
    @Test func theDirectorysBoundIsSharedAndItsRoomHandedOn() async throws {
        var bench = try Bench()
        bench.configuration.maximumBytes = 40_000
        bench.configuration.segmentBytes = 4096
        try await bench.run { directory, hog, _ in
            let waiter = try directory.openJournal(tenant: UUID(number: 2)).journal
            var count: UInt32 = 0
            while try hog.appendIfPossible(Sample.record(count, bytes: 936)) != nil { count += 1 }
            await directory.syncNow()
            #expect(count >= 27 && count <= 30, "its share of 10,000 and the common 20,000")
            // The other one's share is untouched.
            try waiter.fill(0...8, bytes: 936)
            await directory.syncNow()
            let waiting = try await waitingAppend(waiter, 9, bytes: 1936)
            try await eventually("full") { waiter.currentState == .full(.directoryLimit) }
            #expect(directory.bytesOnDisk <= 40_000 + 20 * SegmentHeader.size)

            hog.forget(upTo: hog.durablePosition)
            await directory.syncNow()
            try await eventually("the room is handed on") { waiter.endPosition.rawValue == 11_000 }
            _ = try await waiting.value
            await directory.syncNow()
            #expect(waiter.currentState == .open)
        }
    }

    @Test func aWaitingAppendCanBeCancelled() async throws {
        let gate = Gate()
        var bench = try Bench(fileSystem: gate.fileSystem)
        bench.configuration.maximumPendingBytesPerTenant = 300
        try await bench.run { directory, journal, _ in
            gate.close()
            try journal.fill(1...2)
            // The first is too large for the room there is, the second would fit.
            let first = try await waitingAppend(journal, 3, bytes: 236)
            let second = try await waitingAppend(journal, 4)
            first.cancel()
            let error = await #expect(throws: JournalError.self) { try await first.value }
            #expect(error?.code == .cancelled)
            #expect(try await second.value.rawValue == 300, "whoever stood behind moves up")
            gate.open()
            await directory.syncNow()
            #expect(try journal.readAll().records.map(\.number) == [1, 2, 4])
        }
    }

    @Test func anAppendOfACancelledTaskThatWouldWaitDoesNot() async throws {
        let gate = Gate()
        var bench = try Bench(fileSystem: gate.fileSystem)
        bench.configuration.maximumPendingBytesPerTenant = 100
        try await bench.run { _, journal, _ in
            gate.close()
            try journal.fill(1...1)
            let task = Task { () async throws -> JournalPosition in
                withUnsafeCurrentTask { $0?.cancel() }
                return try await journal.append(Sample.record(2))
            }
            let error = await #expect(throws: JournalError.self) { try await task.value }
            #expect(error?.code == .cancelled)
            #expect(!journal.hasWaiters)
            gate.open()
        }
    }

    @Test func closingRefusesThoseWhoWait() async throws {
        let gate = Gate()
        var bench = try Bench(fileSystem: gate.fileSystem)
        bench.configuration.maximumPendingBytesPerTenant = 100
        try await bench.run { _, journal, _ in
            gate.close()
            try journal.fill(1...1)
            let waiting = try await waitingAppend(journal, 2)
            gate.open()
            try await journal.close()
            let error = await #expect(throws: JournalError.self) { try await waiting.value }
            #expect(error?.code == .closed)
            #expect(try journal.readAll().records.map(\.number) == [1])
        }
    }
}
