/// Finds the tags of a connection that are quiet far longer than they have been before.
///
/// It looks at the tags' counts of readings from time to time, so the way of a reading costs nothing more. The time between
/// two looks is its unit, called a tick; the clock stands still while nobody looks, which is while the connection is away: a
/// tag is silent only when the connection would have brought its readings.
///
/// A tag's history is the longest interval between two of its readings in this period and the one before. Sixteen bytes a tag.
struct SilenceWatch {
    /// Quiet this many times longer than the longest interval of its history, a tag is silent. As an interval is a tick at
    /// least, this is also the least number of ticks.
    static let factor = 5
    /// Intervals a tag must have shown before anything is concluded from them.
    static let leastIntervals = 5

    struct Silent: Equatable {
        var handle: Int
        /// Ticks since the last reading, and the longest interval before.
        var quiet: Int
        var longest: Int
    }

    private struct Entry {
        /// The low half of the count at the last look.
        var count: UInt32 = 0
        /// The tick of the last reading; 0: none yet.
        var heardAt: UInt32 = 0
        /// The longest interval of this period and of the one before, ticks; the largest value stands for all beyond.
        var longest: UInt16 = 0
        var longestBefore: UInt16 = 0
        var intervals: UInt16 = 0
        var isSilent = false

        var history: Int { Int(max(longest, longestBefore)) }
    }

    private var entries: [Entry] = []
    private var tick: UInt32 = 0
    private let period: UInt32
    private(set) var silentCount = 0

    /// - Parameter period: ticks; an interval is remembered for one to two periods.
    init(period: Int) {
        self.period = UInt32(clamping: max(1, period))
    }

    /// Looks at all tags.
    /// - Parameters:
    ///   - counts: readings since the start, by handle.
    ///   - isJudged: false for handles that stand for no tag now, or for one the server refuses; missing ones too.
    mutating func look(_ counts: [UInt64], _ isJudged: [Bool]) {
        tick += 1
        let ends = tick.isMultiple(of: period)
        while entries.count < counts.count { entries.append(Entry(count: 0)) }
        silentCount = 0
        for handle in counts.indices {
            Self.update(&entries[handle], UInt32(truncatingIfNeeded: counts[handle]), at: tick)
            guard handle < isJudged.count, isJudged[handle] else {
                // It begins again when it is there again; what it used to do still holds.
                entries[handle].heardAt = 0
                entries[handle].isSilent = false
                continue
            }
            if entries[handle].isSilent { silentCount += 1 }
            if ends {
                entries[handle].longestBefore = entries[handle].longest
                entries[handle].longest = 0
            }
        }
    }

    /// Not of the value itself: called on it, it would have its entries, and changing one of them would copy all, for each tag.
    private static func update(_ entry: inout Entry, _ count: UInt32, at tick: UInt32) {
        if count != entry.count {
            if entry.heardAt > 0 {
                entry.longest = max(entry.longest, UInt16(clamping: tick - entry.heardAt))
                if entry.intervals < .max { entry.intervals += 1 }
            }
            entry.count = count
            entry.heardAt = tick
            entry.isSilent = false
            return
        }
        guard entry.heardAt > 0, entry.intervals >= leastIntervals, entry.history < Int(UInt16.max) else { return }
        entry.isSilent = Int(tick - entry.heardAt) >= factor * max(1, entry.history)
    }

    /// The silent tags, the first `limit` by handle.
    func silent(atMost limit: Int) -> [Silent] {
        var result: [Silent] = []
        guard silentCount > 0 else { return result }
        for (handle, entry) in entries.enumerated() where entry.isSilent && result.count < limit {
            result.append(Silent(handle: handle, quiet: Int(tick - entry.heardAt), longest: max(1, entry.history)))
        }
        return result
    }
}
