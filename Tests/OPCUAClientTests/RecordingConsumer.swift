import NIOCore
import OPCUACodec
import Synchronization

@testable import OPCUAClient

/// Remembers what a connection delivers.
final class RecordingConsumer: NotificationConsumer {
    struct Record {
        var values: [Double] = []
        var contexts: [NotificationContext] = []
        var events: [ContinuityEvent] = []
        /// How many values were there before each of the events.
        var valuesBefore: [Int] = []
        var statuses: [ConnectionStatus] = []
        var items: [UInt32: StatusCode] = [:]
        var aborted = 0
        var subscriptions: [[RestoredSubscription]] = []
        /// Encoding ids in values that came.
        var unknownStructures: Set<NodeId> = []
        var structures: [StructureTypes] = []
        var deadbandsRefused: [UInt32] = []
        /// With each of them.
        var ranges: [Double?] = []
        var errors: [OPCUAClientError.Code] = []
        /// Sequence numbers of notifications that cannot be completed without waiting.
        var reluctant: Set<UInt32> = []
        /// How many were completed at once.
        var atOnce = 0
        /// How often publishing was paused for them, or about to end.
        var acknowledgementsAsked = 0
    }

    let record = Mutex(Record())

    func dataChange(_ body: UnsafeRawBufferPointer, _ context: NotificationContext) throws(DecodingError) {
        var decoder = BinaryDecoder(body)
        let change = try DataChangeNotification(from: &decoder)
        record.withLock { record in
            for item in change.monitoredItems {
                if case .double(let value) = item.value.value { record.values.append(value) }
                guard case .extensionObject(let object) = item.value.value else { continue }
                let known = record.structures.last
                if known?.encodings[object.typeId] == nil, known?.undescribed.contains(object.typeId) != true {
                    record.unknownStructures.insert(object.typeId)
                }
            }
        }
    }

    func completeAtOnce(_ context: NotificationContext) throws -> Bool {
        record.withLock { record in
            guard !record.reluctant.contains(context.sequenceNumber) else { return false }
            record.atOnce += 1
            record.contexts.append(context)
            return true
        }
    }

    nonisolated(nonsending) func notificationComplete(_ context: NotificationContext) async throws {
        record.withLock { $0.contexts.append(context) }
    }

    func acknowledgeDurable() { record.withLock { $0.acknowledgementsAsked += 1 } }

    func notificationAborted(_ context: NotificationContext) { record.withLock { $0.aborted += 1 } }

    func statusChanged(_ status: ConnectionStatus) {
        record.withLock { record in
            record.statuses.append(status)
            if let error = status.lastError, record.errors.last != error.code { record.errors.append(error.code) }
        }
    }

    func itemStatus(handle: UInt32, _ status: StatusCode) { record.withLock { $0.items[handle] = status } }
    func deadbandRefused(handle: UInt32, range: Double?) {
        record.withLock { record in
            record.deadbandsRefused.append(handle)
            record.ranges.append(range)
        }
    }

    func takeUnknownStructures() -> [NodeId] {
        record.withLock { record in
            defer { record.unknownStructures = [] }
            return Array(record.unknownStructures)
        }
    }

    func structuresDescribed(_ types: StructureTypes) { record.withLock { $0.structures.append(types) } }

    func subscriptionsCreated(_ subscriptions: [RestoredSubscription]) {
        record.withLock { $0.subscriptions.append(subscriptions) }
    }

    nonisolated(nonsending) func continuity(_ event: ContinuityEvent) async {
        record.withLock { record in
            record.events.append(event)
            record.valuesBefore.append(record.values.count)
        }
    }

    /// Waits until the record is as wanted.
    /// - Returns: false after a minute, which is forever here, on a busy machine too.
    func wait(until condition: @Sendable (Record) -> Bool) async -> Bool {
        for _ in 0..<6000 {
            if record.withLock({ condition($0) }) { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }
}
