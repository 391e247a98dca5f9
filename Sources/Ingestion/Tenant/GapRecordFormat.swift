import Journal
import TimescaleStore

/// A gap in the journal, durable before it can reach the database.
enum GapRecordFormat {
    static func encoded(_ gap: GapRecord) -> RowBuffer {
        var writer = FieldWriter()
        write(gap, &writer)
        return writer.buffer
    }

    static func decoded(_ bytes: UnsafeRawBufferPointer) -> GapRecord? {
        var reader = FieldReader(bytes)
        return read(&reader)
    }

    static func write(_ gap: GapRecord, _ writer: inout FieldWriter) {
        writer.put(gap.id)
        writer.put(gap.connectionID)
        writer.put(optional: gap.tagNodeID)
        writer.put(gap.startedAtMicros)
        writer.put(optional: gap.endedAtMicros)
        writer.put(gap.cause)
        writer.put(optional: gap.readingsLost)
        writer.put(optional: gap.healedAtMicros)
        writer.put(optional: gap.readingsRecovered)
    }

    static func read(_ reader: inout FieldReader) -> GapRecord? {
        guard let id = reader.uuid(), let connection = reader.uuid(), let tag = reader.optionalText(),
            let started = reader.get(Int64.self), let ended = reader.optional(Int64.self), let cause = reader.text(),
            let lost = reader.optional(Int64.self), let healed = reader.optional(Int64.self),
            let recovered = reader.optional(Int64.self)
        else { return nil }
        return GapRecord(
            id: id,
            connectionID: connection,
            tagNodeID: tag,
            startedAtMicros: started,
            endedAtMicros: ended,
            cause: cause,
            readingsLost: lost,
            healedAtMicros: healed,
            readingsRecovered: recovered
        )
    }
}
