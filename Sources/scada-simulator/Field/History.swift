/// The newest samples of every tag, in the order of their source timestamps: what HistoryRead reads.
///
/// Memory grows with what has been recorded up to `capacity` samples a tag; then the oldest go.
struct History: Sendable {
    private var rings: [Ring]
    let capacity: Int

    /// All servers of a process together keep no more: 24 bytes each.
    static let maximumSamples = 20_000_000

    init(tags: Int, capacity: Int) {
        rings = Array(repeating: Ring(), count: tags)
        self.capacity = max(1, capacity)
    }

    mutating func append(_ sample: Sample, tag: Int) { rings[tag].append(sample, capacity: capacity) }

    /// Positions count a tag's samples from the first ever; those from `lowerBound` on are kept.
    func positions(ofTag tag: Int) -> Range<Int> { rings[tag].positions }

    /// - Precondition: `position` is one of ``positions(ofTag:)``.
    func sample(ofTag tag: Int, at position: Int) -> Sample { rings[tag][position] }

    /// The first position whose sample is not before `time`.
    func position(ofTag tag: Int, notBefore time: Int64) -> Int {
        var low = rings[tag].positions.lowerBound
        var high = rings[tag].positions.upperBound
        while low < high {
            let middle = (low + high) / 2
            if rings[tag][middle].source < time { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private struct Ring: Sendable {
        private var samples: [Sample] = []
        private var total = 0

        var positions: Range<Int> { total - samples.count..<total }

        subscript(position: Int) -> Sample {
            get { samples[position % samples.count] }
            set { samples[position % samples.count] = newValue }
        }

        mutating func append(_ sample: Sample, capacity: Int) {
            if samples.count < capacity {
                // As long as nothing was dropped, positions are indexes.
                samples.append(sample)
            } else {
                samples[total % capacity] = sample
            }
            total += 1
            // An entry keyed in late goes where its time belongs.
            var position = total - 1
            while position > positions.lowerBound, self[position - 1].source > self[position].source {
                let later = self[position - 1]
                self[position - 1] = self[position]
                self[position] = later
                position -= 1
            }
        }
    }
}
