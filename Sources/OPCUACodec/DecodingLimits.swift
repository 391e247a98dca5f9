/// What a decoder accepts from a peer before it gives up on the message.
///
/// Every length in a message is checked against the bytes that are left, so memory use follows the size of the message;
/// these limits bound what the bytes left do not: nesting and the number of elements that encode to nothing.
package struct DecodingLimits: Sendable, Equatable {
    /// Levels of Variant, DiagnosticInfo, DataValue or ExtensionObject inside each other (Part 6, 5.1.7 and 5.4.1.6
    /// ask decoders for at least 100).
    package var maximumNesting: Int
    /// Elements of one array; each takes at least one byte except where a structure is empty.
    package var maximumArrayLength: Int
    /// Replace what is not UTF-8 in strings by U+FFFD instead of refusing the message. For values of readings: one
    /// broken text in a notification must not cost its neighbours.
    package var repairsUTF8: Bool

    package init(maximumNesting: Int = 100, maximumArrayLength: Int = 16_777_216, repairsUTF8: Bool = false) {
        self.maximumNesting = maximumNesting
        self.maximumArrayLength = maximumArrayLength
        self.repairsUTF8 = repairsUTF8
    }
}

/// Bytes that are not what OPC UA Part 6 says they should be. Always the peer's fault: close the connection with
/// `Bad_DecodingError`, or refuse the one value.
package struct DecodingError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Code: String, Sendable {
        case truncated = "the message ends inside a field"
        case invalidLength = "a length is negative or larger than the bytes left"
        case invalidEncoding = "an encoding byte has no meaning"
        case nestingTooDeep = "values are nested deeper than the limit"
        case arrayTooLong = "an array has more elements than the limit"
        case invalidUTF8 = "a string is not valid UTF-8"
        case unexpectedType = "the message is of another type than the one expected"
    }

    package var code: Code
    /// Byte offset in the decoded region at which the decoder noticed.
    package var offset: Int

    package init(code: Code, offset: Int) {
        self.code = code
        self.offset = offset
    }

    package var description: String { "\(code.rawValue) (at byte \(offset))" }
}
