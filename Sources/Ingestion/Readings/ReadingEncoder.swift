package import Journal
package import OPCUACodec

/// Turns DataChangeNotifications into finished COPY rows, in place: no object, no allocation and no reference count per
/// value on the way of a number.
///
/// Belongs to the connection's event loop.
package struct ReadingEncoder {
    /// Figures of what went through; written on the event loop, copied out for others.
    struct Figures: Equatable {
        /// Rows made.
        var readings: UInt64 = 0
        var duplicates: UInt64 = 0
        /// Values left out by a deadband the server refused to apply.
        var filtered: UInt64 = 0
        var overflows: UInt64 = 0
        /// Values whose timestamp is the time they were received.
        var receiveTimestamps: UInt64 = 0
        /// Values of handles nobody knows any more.
        var unknownHandles: UInt64 = 0
    }

    /// Something about a single value that the connection has to take note of.
    enum Event {
        /// The overflow bit: values between the tag's last reading and this one were lost by the server's queue.
        case overflow(handle: UInt32, after: Int64?, until: Int64)
        /// The first value after a break; the state is what was known before it.
        case first(handle: UInt32, before: TagState, at: Int64)
    }

    let table: TagTable
    var figures = Figures()
    /// The smallest and largest timestamp of the rows since ``begin()``, microseconds since 1970.
    private(set) var earliest = Int64.max
    private(set) var latest = Int64.min
    /// Empty nearly always.
    private(set) var events: [Event] = []
    private var figuresBefore = Figures()
    /// Deadbands applied here because the server refused them.
    private var deadbands: [UInt32: Double] = [:]

    let structures = StructureText()

    package init(table: TagTable) { self.table = table }

    /// A new notification begins.
    package mutating func begin() {
        table.begin()
        figuresBefore = figures
        earliest = .max
        latest = .min
        if !events.isEmpty { events = [] }
    }

    /// Forgets what came since ``begin()``: states, figures and events. The rows are the caller's to drop.
    mutating func revert() {
        table.revert()
        figures = figuresBefore
        for event in events {
            guard case .first(let handle, _, _) = event else { continue }
            table.slots[Int(handle)].flags |= TagSlot.Flag.awaitsFirst
        }
        events = []
    }

    /// The server refuses to filter: this does it from here on. 0 ends it.
    mutating func filter(_ handle: UInt32, deadband: Double) {
        guard Int(handle) < table.count else { return }
        deadbands[handle] = deadband > 0 ? deadband : nil
        if deadband > 0 {
            table.slots[Int(handle)].flags |= TagSlot.Flag.filtersDeadband
        } else {
            table.slots[Int(handle)].flags &= ~TagSlot.Flag.filtersDeadband
        }
    }

    /// The next value of the tag is the first after a break.
    func expectFirst(_ handle: UInt32) {
        guard Int(handle) < table.count else { return }
        table.slots[Int(handle)].flags |= TagSlot.Flag.awaitsFirst
    }

    /// Appends the rows of one encoded DataChangeNotification (Part 4, 7.25.2) to `rows`.
    ///
    /// - Parameter receivedAt: microseconds since 1970; the timestamp of values that carry none.
    package mutating func encode(
        _ body: UnsafeRawBufferPointer,
        receivedAt: Int64,
        into rows: RowBuffer
    ) throws(DecodingError) {
        var decoder = BinaryDecoder(body, limits: DecodingLimits(repairsUTF8: true))
        // A handle and an encoding mask at least.
        let count = try decoder.arrayLength(minimumElementSize: 5)
        // The usual items move this alone; the decoder follows when an unusual one comes.
        var rest = decoder.rest
        // Nothing adds a tag meanwhile.
        let slots = UnsafeMutableBufferPointer(start: table.slots, count: table.count)
        for index in 0..<count {
            let consumed = usual(rest, rows)
            if consumed > 0, let start = rest.baseAddress {
                Self.lookAhead(rest, size: consumed, isFirst: index == 0, slots)
                rest = UnsafeRawBufferPointer(start: start + consumed, count: rest.count - consumed)
                continue
            }
            decoder.offset = body.count - rest.count
            let handle = try decoder.uint32()
            try value(handle, receivedAt, &decoder, rows)
            rest = decoder.rest
        }
    }

    /// What ``usual(_:_:)`` knows of the encoding (Part 6, 5.1.2, 5.2.2.5, 5.2.2.16 and 5.2.2.17). The same numbers have names in
    /// OPCUACodec; constants of another module are looked up at run time, for each value.
    private enum Usual {
        static let boolean: UInt8 = 1
        static let int16: UInt8 = 4
        static let uint16: UInt8 = 5
        static let int32: UInt8 = 6
        static let uint32: UInt8 = 7
        static let float: UInt8 = 10
        static let double: UInt8 = 11
        /// Value and source timestamp.
        static let required: UInt8 = 0x05
        static let serverTimestamp: UInt8 = 0x08
        /// From 1601 to 1970.
        static let unixEpochTicks: Int64 = 116_444_736_000_000_000
    }

    /// Nearly every MonitoredItemNotification: a good Double, Float, Int32, UInt32, Int16, UInt16 or Boolean with a source
    /// timestamp and no picoseconds, new, of a tag nothing else is to be noted of. What costs here costs every reading.
    /// - Returns: the bytes it took; 0 when it is another kind and nothing was done.
    @inline(__always)
    private mutating func usual(_ bytes: UnsafeRawBufferPointer, _ rows: RowBuffer) -> Int {
        // Handle, mask, type, eight bytes of value, both timestamps: checked once.
        guard bytes.count >= 4 + 1 + 1 + 8 + 8 + 8, let start = bytes.baseAddress else { return 0 }
        let mask = start.load(fromByteOffset: 4, as: UInt8.self)
        guard mask & ~Usual.serverTimestamp == Usual.required else { return 0 }
        let handle = Int(UInt32(littleEndian: start.loadUnaligned(as: UInt32.self)))
        guard handle < table.count else { return 0 }
        let slot = table.slots + handle
        guard slot.pointee.flags == 0, let prefix = slot.pointee.prefix else { return 0 }
        var cursor = start + 6
        let number: Double
        switch start.load(fromByteOffset: 5, as: UInt8.self) {
        case Usual.double:
            number = Double(bitPattern: UInt64(littleEndian: cursor.loadUnaligned(as: UInt64.self)))
            cursor += 8
        case Usual.float:
            number = Double(Float(bitPattern: UInt32(littleEndian: cursor.loadUnaligned(as: UInt32.self))))
            cursor += 4
        case Usual.int32:
            number = Double(Int32(littleEndian: cursor.loadUnaligned(as: Int32.self)))
            cursor += 4
        case Usual.uint32:
            number = Double(UInt32(littleEndian: cursor.loadUnaligned(as: UInt32.self)))
            cursor += 4
        case Usual.int16:
            number = Double(Int16(littleEndian: cursor.loadUnaligned(as: Int16.self)))
            cursor += 2
        case Usual.uint16:
            number = Double(UInt16(littleEndian: cursor.loadUnaligned(as: UInt16.self)))
            cursor += 2
        case Usual.boolean:
            number = cursor.load(as: UInt8.self) == 0 ? 0 : 1
            cursor += 1
        default: return 0
        }
        let ticks = Int64(littleEndian: cursor.loadUnaligned(as: Int64.self))
        cursor += mask & Usual.serverTimestamp != 0 ? 16 : 8
        // Earlier than 1970 are clocks that were never set, and what a subtraction could overflow with.
        guard ticks >= Usual.unixEpochTicks else { return 0 }
        let sinceEpoch = UInt64(bitPattern: ticks &- Usual.unixEpochTicks)
        let microseconds = Int64(bitPattern: sinceEpoch / 10)
        let below = Int8(truncatingIfNeeded: Int64(bitPattern: sinceEpoch) &- microseconds &* 10)
        guard
            !slot.pointee.now.isSame(
                sourceMicroseconds: microseconds,
                subMicroseconds: below,
                form: .number,
                bits: number.bitPattern,
                status: 0
            )
        else { return 0 }
        let stored = slot.pointee.now.timestamp(for: microseconds)
        table.willChange(slot)
        slot.pointee.now = TagState(
            sourceMicroseconds: microseconds,
            storedMicroseconds: stored,
            subMicroseconds: below,
            form: .number,
            status: 0,
            bits: number.bitPattern
        )
        slot.pointee.countReading()
        figures.readings &+= 1
        rows.appendGood(prefix, Int(slot.pointee.prefixLength), stored, number)
        if stored < earliest { earliest = stored }
        if stored > latest { latest = stored }
        return cursor - start
    }

    /// One DataValue (Part 6, 5.2.2.17).
    @inline(__always)
    private mutating func value(
        _ handle: UInt32,
        _ receivedAt: Int64,
        _ decoder: inout BinaryDecoder,
        _ rows: RowBuffer
    ) throws(DecodingError) {
        let mask = try decoder.uint8()
        var scalar = Scalar.none
        if mask & DataValue.Mask.value != 0 { scalar = try self.scalar(&decoder) }
        let status = mask & DataValue.Mask.status != 0 ? try decoder.uint32() : 0
        var ticks: Int64 = 0
        if mask & DataValue.Mask.sourceTimestamp != 0 { ticks = try decoder.int64() }
        if mask & (DataValue.Mask.serverTimestamp | DataValue.Mask.sourcePicoseconds | DataValue.Mask.serverPicoseconds)
            != 0
        {
            if mask & DataValue.Mask.sourcePicoseconds != 0 { _ = try decoder.uint16() }
            if mask & DataValue.Mask.serverTimestamp != 0 {
                let server = try decoder.int64()
                if ticks <= 0 { ticks = server }
            }
            if mask & DataValue.Mask.serverPicoseconds != 0 { _ = try decoder.uint16() }
        }
        var microseconds = receivedAt
        var below: Int8 = 0
        if ticks > 0 {
            let time = DateTime(ticks: ticks)
            microseconds = time.unixMicroseconds
            below = Int8(truncatingIfNeeded: (ticks &- DateTime.unixEpochTicks) &- microseconds &* 10)
        } else {
            figures.receiveTimestamps &+= 1
        }
        guard Int(handle) < table.count, table.slots[Int(handle)].prefix != nil else {
            figures.unknownHandles &+= 1
            return
        }
        switch scalar {
        case .none:
            emit(handle, microseconds, below, number: nil, status, text: nil, rows)
        case .number(let number):
            emit(handle, microseconds, below, number: number, status, text: nil, rows)
        case .other(let number, let text):
            var text = text
            text.withUTF8 { emit(handle, microseconds, below, number: number, status, text: .init($0), rows) }
        }
    }

    /// A value taken out of its Variant.
    private enum Scalar {
        case none
        case number(Double)
        /// The rarer kinds: text, and integers with more digits than a double holds.
        case other(Double?, String)
    }

    /// A Variant (Part 6, 5.2.2.16).
    @inline(__always)
    private func scalar(_ decoder: inout BinaryDecoder) throws(DecodingError) -> Scalar {
        let start = decoder.offset
        switch try decoder.uint8() {
        case 0: return .none
        case BuiltInType.double.rawValue: return .number(try decoder.double())
        case BuiltInType.float.rawValue: return .number(Double(try decoder.float()))
        case BuiltInType.boolean.rawValue: return .number(try decoder.boolean() ? 1 : 0)
        case BuiltInType.sbyte.rawValue: return .number(Double(try decoder.integer(Int8.self)))
        case BuiltInType.byte.rawValue: return .number(Double(try decoder.uint8()))
        case BuiltInType.int16.rawValue: return .number(Double(try decoder.integer(Int16.self)))
        case BuiltInType.uint16.rawValue: return .number(Double(try decoder.uint16()))
        case BuiltInType.int32.rawValue: return .number(Double(try decoder.int32()))
        case BuiltInType.uint32.rawValue: return .number(Double(try decoder.uint32()))
        case BuiltInType.int64.rawValue:
            let value = try decoder.int64()
            if value.magnitude <= 1 << 53 { return .number(Double(value)) }
            return .other(Double(value), String(value))
        case BuiltInType.uint64.rawValue:
            let value = try decoder.uint64()
            if value <= 1 << 53 { return .number(Double(value)) }
            return .other(Double(value), String(value))
        default:
            decoder.offset = start
            return try rare(&decoder)
        }
    }

    @inline(never)
    private func rare(_ decoder: inout BinaryDecoder) throws(DecodingError) -> Scalar {
        let stored = ValueText.stored(try Variant(from: &decoder), structures)
        guard let text = stored.text else { return stored.number.map { .number($0) } ?? .none }
        return .other(stored.number, text)
    }

    /// A value from elsewhere than a notification: history. The state of its tag and the bounds of the present notification
    /// are left alone.
    mutating func append(_ value: DataValue, handle: UInt32, microseconds: Int64, into rows: RowBuffer) {
        let stored = ValueText.stored(value.value, structures)
        guard Int(handle) < table.count, table.slots[Int(handle)].prefix != nil else { return }
        let (earliest, latest) = (self.earliest, self.latest)
        defer { (self.earliest, self.latest) = (earliest, latest) }
        if var text = stored.text {
            text.withUTF8 { write(handle, microseconds, stored.number, value.status.rawValue, .init($0), rows) }
        } else {
            write(handle, microseconds, stored.number, value.status.rawValue, nil, rows)
        }
    }

    @inline(__always)
    private mutating func emit(
        _ handle: UInt32,
        _ microseconds: Int64,
        _ below: Int8,
        number: Double?,
        _ status: UInt32,
        text: UnsafeRawBufferPointer?,
        _ rows: RowBuffer
    ) {
        let slot = table.slots + Int(handle)
        let form: TagState.Form
        let bits: UInt64
        if let text {
            form = number == nil ? .text : .numberAndText
            bits = number.map { TagState.bits(number: $0, text: text) } ?? TagState.hash(text)
        } else if let number {
            form = .number
            bits = number.bitPattern
        } else {
            form = .none
            bits = 0
        }
        var stored = microseconds
        if slot.pointee.flags & TagSlot.Flag.isUnknown == 0 {
            if slot.pointee.now.isSame(
                sourceMicroseconds: microseconds,
                subMicroseconds: below,
                form: form,
                bits: bits,
                status: status
            ) {
                figures.duplicates &+= 1
                if slot.pointee.flags != 0 { first(handle, microseconds) }
                return
            }
            stored = slot.pointee.now.timestamp(for: microseconds)
        }
        if slot.pointee.flags != 0 || status & 0x0480 != 0 {
            guard rareCase(handle, microseconds, number, status) else { return }
        }
        table.willChange(slot)
        slot.pointee.now = TagState(
            sourceMicroseconds: microseconds,
            storedMicroseconds: stored,
            subMicroseconds: below,
            form: form,
            status: status,
            bits: bits
        )
        slot.pointee.countReading()
        figures.readings &+= 1
        write(handle, stored, number, status, text, rows)
    }

    @inline(__always)
    private mutating func write(
        _ handle: UInt32,
        _ microseconds: Int64,
        _ number: Double?,
        _ status: UInt32,
        _ text: UnsafeRawBufferPointer?,
        _ rows: RowBuffer
    ) {
        let slot = table.slots + Int(handle)
        guard let prefix = slot.pointee.prefix else { return }
        let length = Int(slot.pointee.prefixLength)
        let target = rows.reserve(length + RowFormat.largestTail + (text?.count ?? 0))
        target.copyMemory(from: prefix, byteCount: length)
        let tail = RowFormat.writeTail(
            at: target + length,
            microseconds: microseconds,
            number: number,
            status: status,
            text: text
        )
        rows.advance(length + tail)
        if microseconds < earliest { earliest = microseconds }
        if microseconds > latest { latest = microseconds }
    }

    /// The first value after a break, the overflow bit, a tag's very first value, a deadband of ours.
    /// - Returns: whether the value is to be stored.
    @inline(never)
    private mutating func rareCase(_ handle: UInt32, _ microseconds: Int64, _ number: Double?, _ status: UInt32) -> Bool
    {
        let slot = table.slots + Int(handle)
        if StatusCode(rawValue: status).hasOverflow {
            figures.overflows &+= 1
            let isKnown = slot.pointee.flags & TagSlot.Flag.isUnknown == 0
            events.append(
                .overflow(
                    handle: handle,
                    after: isKnown ? slot.pointee.now.storedMicroseconds : nil,
                    until: microseconds
                )
            )
        }
        // Against what is stored, which a message that is taken back takes back too; a new status always passes.
        let now = slot.pointee.now
        if slot.pointee.flags & (TagSlot.Flag.filtersDeadband | TagSlot.Flag.isUnknown) == TagSlot.Flag.filtersDeadband,
            let deadband = deadbands[handle], let number, now.form == .number, now.status == status,
            StatusCode(rawValue: status).isGood,
            (number - Double(bitPattern: now.bits)).magnitude <= deadband, !StatusCode(rawValue: status).hasOverflow
        {
            figures.filtered &+= 1
            first(handle, microseconds)
            return false
        }
        first(handle, microseconds)
        slot.pointee.flags &= ~TagSlot.Flag.isUnknown
        return true
    }

    private mutating func first(_ handle: UInt32, _ microseconds: Int64) {
        let slot = table.slots + Int(handle)
        guard slot.pointee.flags & TagSlot.Flag.awaitsFirst != 0 else { return }
        slot.pointee.flags &= ~TagSlot.Flag.awaitsFirst
        guard slot.pointee.flags & TagSlot.Flag.isUnknown == 0 else { return }
        events.append(.first(handle: handle, before: slot.pointee.now, at: microseconds))
    }
}
