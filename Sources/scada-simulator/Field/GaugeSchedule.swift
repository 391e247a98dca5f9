/// When which hand-entered gauge is keyed in.
///
/// A pumper drives from well to well: a gauge is entered every 3 to 15 minutes, and one entry in five is of an earlier
/// stop, 1 to 40 minutes back, so that its source timestamp may be older than one already delivered.
struct GaugeSchedule: Equatable, Sendable {
    struct Reading: Equatable, Sendable {
        var tag: Int
        /// When the gauge was read, in nanoseconds since the start of the run; may be negative.
        var time: Int64
    }

    private struct Entry: Equatable {
        var due: Int64
        var tag: Int
    }

    /// Sorted by `due`, the next one last.
    private var entries: [Entry]

    private static let minute = 60e9

    init(tags: [Int], generator: inout SeededGenerator) {
        entries = []
        for tag in tags {
            entries.append(Entry(due: Int64(generator.within(0, 5) * Self.minute), tag: tag))
        }
        entries.sort { $0.due > $1.due }
    }

    /// The next entry due until `now`; nil when there is none.
    mutating func next(at now: Int64, _ generator: inout SeededGenerator) -> Reading? {
        guard let last = entries.last, last.due <= now else { return nil }
        entries.removeLast()
        let again = Entry(due: last.due + Int64(generator.within(3, 15) * Self.minute), tag: last.tag)
        entries.insert(again, at: insertionPoint(again.due))
        var time = last.due
        if generator.unit() < 0.2 { time -= Int64(generator.within(1, 40) * Self.minute) }
        return Reading(tag: last.tag, time: time)
    }

    private func insertionPoint(_ due: Int64) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].due > due { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
