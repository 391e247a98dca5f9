import OPCUACodec
import OPCUASecurity

/// A pair of policy and mode that clients may open channels with.
struct SecurityOffer: Hashable, Sendable {
    var policy: SecurityPolicy
    var mode: MessageSecurityMode

    static let none = SecurityOffer(policy: .none, mode: .none)

    static func all(_ policies: [SecurityPolicy]) -> [SecurityOffer] {
        policies.flatMap { policy -> [SecurityOffer] in
            if policy == .none { return [.none] }
            return [.sign, .signAndEncrypt].map { SecurityOffer(policy: policy, mode: $0) }
        }
    }

    /// What one word of `--security` stands for: `none`, `all`, `deprecated`, a policy's name, or `POLICY:MODE`.
    /// - Returns: nil when it is none of these.
    static func parse(_ word: String) -> [SecurityOffer]? {
        switch word.lowercased() {
        case "none": return [.none]
        case "all": return all(SecurityPolicy.allCases.filter { !$0.isDeprecated })
        case "deprecated": return all(SecurityPolicy.allCases.filter(\.isDeprecated))
        default: break
        }
        let parts = word.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard let name = parts.first,
            let policy = SecurityPolicy.allCases.first(where: { $0.name.lowercased() == name.lowercased() }),
            policy != .none
        else { return nil }
        guard parts.count == 2 else { return all([policy]) }
        switch parts[1].lowercased() {
        case "sign": return [SecurityOffer(policy: policy, mode: .sign)]
        case "signandencrypt": return [SecurityOffer(policy: policy, mode: .signAndEncrypt)]
        default: return nil
        }
    }

    /// Part 4, 7.14: the higher, the better a client should like the endpoint.
    var level: UInt8 {
        let order = SecurityPolicy.allCases.firstIndex(of: policy) ?? 0
        return UInt8(order * 2 + (mode == .signAndEncrypt ? 1 : 0))
    }
}
