import FoundationEssentials

/// Whether a certificate is valid now, and for how long.
enum Validity {
    /// Days before the end from which on it is worth a word.
    static let warningDays = 30

    /// - Parameters: times in seconds since 1970.
    static func finding(
        _ subject: String,
        _ name: String,
        notBefore: Int64,
        notAfter: Int64,
        now: Int64,
        cure: String
    ) -> Finding {
        if now < notBefore {
            return .fail(subject, "\(name) is not valid before \(date(notBefore))", cure: cure, .configuration)
        }
        if now >= notAfter { return .fail(subject, "\(name) expired on \(date(notAfter))", cure: cure, .configuration) }
        let days = (notAfter - now) / 86_400
        if days < warningDays {
            return .warn(subject, "\(name) expires in \(Int(days).counted("day")), on \(date(notAfter))", cure: cure)
        }
        return .ok(subject, "\(name) is valid until \(date(notAfter))")
    }

    /// The UTC date of a time, as 2031-11-27.
    static func date(_ seconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(seconds)).formatted(Date.ISO8601FormatStyle().year().month().day())
    }

    /// A time in UTC, as 2031-11-27T08:00:00Z.
    static func time(_ seconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(seconds)).formatted(Date.ISO8601FormatStyle())
    }

    /// Seconds since 1970.
    static var now: Int64 { Int64(Date().timeIntervalSince1970) }
}
