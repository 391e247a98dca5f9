import FoundationEssentials
import Journal
import OPCUAClient

extension RecordKind {
    /// A break of a connection whose end has not been seen: ``OpenGapRecord``.
    static let openGap = RecordKind(rawValue: 6)
}

/// A break after which first values are awaited, in the journal: it stands before the subscriptions that were made after the
/// break, so that a process that ends before the first values have come does not take these over as if nothing had happened.
struct OpenGapRecord: Equatable {
    /// The id that the gap will have in `scada_gaps`.
    var id: UUID
    var cause: IntakeGap.Cause
    /// Microseconds since 1970.
    var startedAt: Int64
    /// The first notification after the break.
    var firstAt: Int64?
    /// Tags whose first value has not come, with their last reading before.
    var awaited: [TagKey: Int64]
    /// The holes of the others.
    var holes: [TagHole]

    /// The first reading of a tag after the break was found in the journal.
    mutating func take(_ key: TagKey, at microseconds: Int64) {
        guard let after = awaited.removeValue(forKey: key) else { return }
        if microseconds > after { holes.append(TagHole(key: key, after: after, until: microseconds)) }
    }

    func encoded() -> RowBuffer {
        var writer = FieldWriter()
        writer.put(id)
        writer.put(UInt8(1))
        writer.put(cause.rawValue)
        writer.put(startedAt)
        writer.put(optional: firstAt)
        writer.put(UInt32(awaited.count))
        for (key, after) in awaited {
            writer.put(key.wellID)
            writer.put(key.nodeID)
            writer.put(after)
        }
        writer.put(UInt32(holes.count))
        for hole in holes {
            writer.put(hole.key.wellID)
            writer.put(hole.key.nodeID)
            writer.put(hole.after)
            writer.put(hole.until)
        }
        return writer.buffer
    }

    /// The break turned out to be none.
    static func closed(_ id: UUID) -> RowBuffer {
        var writer = FieldWriter()
        writer.put(id)
        writer.put(UInt8(0))
        return writer.buffer
    }

    /// - Returns: `.some(nil)` for a break that is closed, nil for what is no such record.
    static func decoded(_ bytes: UnsafeRawBufferPointer) -> OpenGapRecord?? {
        var reader = FieldReader(bytes)
        guard let id = reader.uuid(), let isOpen = reader.get(UInt8.self) else { return nil }
        if isOpen == 0 { return .some(nil) }
        guard let cause = reader.text().flatMap({ IntakeGap.Cause(rawValue: $0) }),
            let started = reader.get(Int64.self),
            let first = reader.optional(Int64.self), let tags = reader.get(UInt32.self)
        else { return nil }
        var record = OpenGapRecord(id: id, cause: cause, startedAt: started, firstAt: first, awaited: [:], holes: [])
        for _ in 0..<tags {
            guard let well = reader.uuid(), let node = reader.text(), let after = reader.get(Int64.self) else {
                return nil
            }
            record.awaited[TagKey(wellID: well, nodeID: node)] = after
        }
        guard let holes = reader.get(UInt32.self) else { return nil }
        for _ in 0..<holes {
            guard let well = reader.uuid(), let node = reader.text(), let after = reader.get(Int64.self),
                let until = reader.get(Int64.self)
            else { return nil }
            record.holes.append(TagHole(key: TagKey(wellID: well, nodeID: node), after: after, until: until))
        }
        return record
    }
}
