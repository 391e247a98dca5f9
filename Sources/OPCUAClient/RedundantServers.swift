import NIOCore

/// Which server of a redundant set to use (Part 4, 6.6.2.4): the first in order of preference that can be reached and
/// feels well, as its ServiceLevel says.
struct RedundantServers: Sendable {
    private struct Server: Sendable {
        var level: UInt8?
        var toldAt = NIODeadline.uptimeNanoseconds(0)
        var failedAt: NIODeadline?
    }

    /// Part 4, 6.6.2.4.2: from here on a server is healthy; below it has less to offer than another may have.
    static let healthy: UInt8 = 200
    /// What another server once told is believed for so long. Also how often at most a set of ailing servers is gone
    /// through.
    static let believed = TimeAmount.minutes(10)

    private var servers: [Server]
    /// Index of the one to use.
    private(set) var current = 0

    init(count: Int) { servers = Array(repeating: Server(), count: max(1, count)) }

    var isSingle: Bool { servers.count == 1 }

    /// The current server could not be used. Another one becomes the current.
    /// - Returns: whether that one has not failed since it worked last: it may be tried at once.
    mutating func failed(now: NIODeadline) -> Bool {
        servers[current].failedAt = now
        if isSingle { return false }
        let previous = current
        // Those that have not failed, the healthiest first; else the one whose failure is the longest ago.
        let fresh = servers.indices.filter { servers[$0].failedAt == nil }
        if let best = fresh.max(by: { level($0, now) < level($1, now) }) {
            current = best
            return true
        }
        current =
            servers.indices.filter { $0 != previous }
            .min { (servers[$0].failedAt ?? now) < (servers[$1].failedAt ?? now) } ?? previous
        return false
    }

    /// The current server works.
    mutating func succeeded() { servers[current].failedAt = nil }

    /// The current server told its ServiceLevel.
    /// - Returns: true when another one is worth trying; it has become the current.
    mutating func told(_ level: UInt8, now: NIODeadline) -> Bool {
        servers[current].level = level
        servers[current].toldAt = now
        if level >= Self.healthy || isSingle { return false }
        let others = servers.indices.filter {
            $0 != current && servers[$0].failedAt.map { now - $0 > Self.believed } ?? true
        }
        guard let best = others.max(by: { self.level($0, now) < self.level($1, now) }), self.level(best, now) > level
        else { return false }
        current = best
        return true
    }

    /// What a server is believed to have to offer; the unknown is taken for healthy.
    private func level(_ index: Int, _ now: NIODeadline) -> UInt8 {
        guard let level = servers[index].level, now - servers[index].toldAt <= Self.believed else {
            return Self.healthy
        }
        return level
    }
}
