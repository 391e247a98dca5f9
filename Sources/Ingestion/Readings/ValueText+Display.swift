package import OPCUACodec

extension Variant {
    /// The value as people read it; empty for none.
    package var displayText: String {
        let (number, text) = ValueText.stored(self)
        if let text { return text }
        guard let number else { return "" }
        switch self {
        case .double, .float: return "\(number)"
        default: return ValueText.json(self)
        }
    }
}
