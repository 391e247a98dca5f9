/// A name qualified by a namespace (Part 3, 8.3).
package struct QualifiedName: BinaryCodable, Hashable, CustomStringConvertible {
    package var namespaceIndex: UInt16
    package var name: String?

    package init(namespaceIndex: UInt16 = 0, name: String?) {
        self.namespaceIndex = namespaceIndex
        self.name = name
    }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        namespaceIndex = try decoder.uint16()
        name = try decoder.string()
    }

    package func encode(to encoder: inout BinaryEncoder) {
        encoder.integer(namespaceIndex)
        encoder.string(name)
    }

    package var description: String { (namespaceIndex == 0 ? "" : "\(namespaceIndex):") + (name ?? "") }
}

/// Human readable text with an optional locale (Part 3, 8.5; Part 6, 5.2.2.14).
package struct LocalizedText: BinaryCodable, Hashable, CustomStringConvertible {
    package var locale: String?
    package var text: String?

    package init(_ text: String? = nil, locale: String? = nil) {
        self.locale = locale
        self.text = text
    }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        let mask = try decoder.uint8()
        locale = mask & 1 != 0 ? try decoder.string() : nil
        text = mask & 2 != 0 ? try decoder.string() : nil
    }

    package func encode(to encoder: inout BinaryEncoder) {
        encoder.uint8((locale == nil ? 0 : 1) | (text == nil ? 0 : 2))
        if let locale { encoder.string(locale) }
        if let text { encoder.string(text) }
    }

    package var description: String { text ?? "" }
}

/// Diagnostics of a service or operation (Part 4, 7.12; Part 6, 5.2.2.12). We never ask for any, but servers may send it.
package struct DiagnosticInfo: BinaryCodable, Hashable {
    package var symbolicId: Int32?
    package var namespaceUri: Int32?
    package var locale: Int32?
    package var localizedText: Int32?
    package var additionalInfo: String?
    package var innerStatusCode: StatusCode?
    /// Zero or one element: an array because a structure cannot contain itself.
    package var innerDiagnosticInfo: [DiagnosticInfo]

    package init() { innerDiagnosticInfo = [] }

    package init(from decoder: inout BinaryDecoder) throws(DecodingError) {
        let mask = try decoder.uint8()
        symbolicId = mask & 0x01 != 0 ? try decoder.int32() : nil
        namespaceUri = mask & 0x02 != 0 ? try decoder.int32() : nil
        locale = mask & 0x08 != 0 ? try decoder.int32() : nil
        localizedText = mask & 0x04 != 0 ? try decoder.int32() : nil
        additionalInfo = mask & 0x10 != 0 ? try decoder.string() : nil
        innerStatusCode = mask & 0x20 != 0 ? try StatusCode(from: &decoder) : nil
        innerDiagnosticInfo = []
        if mask & 0x40 != 0 {
            innerDiagnosticInfo = [
                try decoder.nested { inner throws(DecodingError) in try DiagnosticInfo(from: &inner) }
            ]
        }
    }

    package func encode(to encoder: inout BinaryEncoder) {
        var mask: UInt8 = 0
        if symbolicId != nil { mask |= 0x01 }
        if namespaceUri != nil { mask |= 0x02 }
        if localizedText != nil { mask |= 0x04 }
        if locale != nil { mask |= 0x08 }
        if additionalInfo != nil { mask |= 0x10 }
        if innerStatusCode != nil { mask |= 0x20 }
        if !innerDiagnosticInfo.isEmpty { mask |= 0x40 }
        encoder.uint8(mask)
        if let symbolicId { encoder.integer(symbolicId) }
        if let namespaceUri { encoder.integer(namespaceUri) }
        if let locale { encoder.integer(locale) }
        if let localizedText { encoder.integer(localizedText) }
        if let additionalInfo { encoder.string(additionalInfo) }
        innerStatusCode?.encode(to: &encoder)
        innerDiagnosticInfo.first?.encode(to: &encoder)
    }
}
