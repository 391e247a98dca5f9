/// What is remembered of a tag's last reading, so that a value a server sends again is recognised and two values with one
/// timestamp are told apart (guarantees 4 and 5).
///
/// Values are compared in the form in which they are stored, because after a restart the stored rows are what the state is
/// rebuilt from.
struct TagState: Equatable {
    /// Which of the value columns a reading fills.
    enum Form: UInt8 {
        /// Neither: a status without a value.
        case none = 0
        case number = 1
        case text = 2
        /// A number whose exact digits do not fit a double.
        case numberAndText = 3
    }

    /// Microseconds since 1970 as the server gave them.
    var sourceMicroseconds: Int64 = 0
    /// Microseconds since 1970 as stored: later than the source's where several values share its timestamp.
    var storedMicroseconds: Int64 = 0
    /// The digits below a microsecond, in 100 ns; -1 when unknown, because the state was rebuilt from stored rows.
    var subMicroseconds: Int8 = 0
    var form = Form.none
    /// The OPC UA status code.
    var status: UInt32 = 0
    /// Bits of the double, or the hash of the text.
    var bits: UInt64 = 0

    /// How far stored timestamps of values with one source timestamp may lie behind it: what a state rebuilt from stored
    /// rows, which do not tell the source's timestamp, has to allow for.
    static let largestShift: Int64 = 16

    /// Whether a value is this one, sent again.
    @inline(__always)
    func isSame(sourceMicroseconds: Int64, subMicroseconds: Int8, form: Form, bits: UInt64, status: UInt32) -> Bool {
        guard self.bits == bits, self.form == form, self.status == status else { return false }
        if self.subMicroseconds >= 0 {
            return self.sourceMicroseconds == sourceMicroseconds && self.subMicroseconds == subMicroseconds
        }
        let shift = storedMicroseconds &- sourceMicroseconds
        return shift >= 0 && shift <= Self.largestShift
    }

    /// The timestamp to store a new value with: the source's, or 1 µs after the last one's where that is the same.
    @inline(__always)
    func timestamp(for sourceMicroseconds: Int64) -> Int64 {
        let isShared =
            sourceMicroseconds == self.sourceMicroseconds
            || (sourceMicroseconds > self.sourceMicroseconds && sourceMicroseconds <= storedMicroseconds)
        return isShared ? storedMicroseconds &+ 1 : sourceMicroseconds
    }
}

extension TagState {
    /// A hash of a text value, the same in every run of the program (FNV-1a, 64 bits).
    static func hash(_ text: UnsafeRawBufferPointer) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in text { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return hash
    }

    /// The bits of a reading with both columns.
    static func bits(number: Double, text: UnsafeRawBufferPointer) -> UInt64 {
        number.bitPattern &* 31 ^ hash(text)
    }
}
