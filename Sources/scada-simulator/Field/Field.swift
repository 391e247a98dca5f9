/// The state of a server's tags: computes their values in rounds, without a timer or an object per value.
///
/// A value without clock or I/O: the caller says how much time has passed. Automatic tags take turns so that updates
/// are spread evenly over time; each update carries the time at which it was due as source timestamp, so timestamps of
/// one tag rise strictly whatever the caller's rhythm. Hand-entered tags follow their own, slow schedule.
struct Field: Sendable {
    struct Update: Equatable, Sendable {
        var tag: Int
        var sample: Sample
    }

    let layout: FieldLayout
    /// Updates of automatic tags a second.
    let rate: Double
    /// OPC UA ticks of the wall clock at time 0 of the run.
    let epoch: Int64

    /// The newest sample of each tag; `count` 0 where there is none yet.
    private(set) var newest: [Sample]
    /// Updates of automatic tags since the start, including those skipped.
    private(set) var generated: UInt64 = 0
    /// Updates left out because the caller came more than a second late.
    private(set) var skipped: UInt64 = 0

    private var states: [TagState]
    private var upsets: [Float]
    private let models: [ProcessModel]
    private let automatic: [Int32]
    private var gauges: GaugeSchedule
    private var generator: SeededGenerator
    private let upsetChance: Double
    private let upsetMemory: Float
    /// Nanoseconds of the last call of `advance`.
    private var elapsed: Int64 = 0

    init(layout: FieldLayout, rate: Double, epoch: Int64) {
        self.layout = layout
        self.rate = rate
        self.epoch = epoch
        generator = SeededGenerator(seed: layout.seed &+ UInt64(layout.wells.lowerBound) &* 0x51_7CC1)
        let tags = 0..<layout.tagCount
        automatic = tags.filter { !layout.isHandEntered($0) }.map(Int32.init)
        let interval = rate > 0 && !automatic.isEmpty ? Double(automatic.count) / rate : 1
        let models = TagKind.allCases.map { ProcessModel($0, interval: interval) }
        self.models = models
        var draw = generator
        states = tags.map { models[$0 % FieldLayout.tagsPerWell].start(&draw) }
        upsets = Array(repeating: 0, count: layout.wellCount)
        upsetChance = interval / ProcessModel.upsetEvery
        upsetMemory = Float(1 - min(0.5, interval / ProcessModel.upsetDecay))
        newest = Array(repeating: .none, count: layout.tagCount)
        gauges = GaugeSchedule(tags: tags.filter { layout.isHandEntered($0) }, generator: &draw)
        generator = draw
        // Every tag has a value from the start: a client that subscribes gets it as the initial value.
        for tag in tags { newest[tag] = first(tag) }
    }

    /// Seconds between two updates of an automatic tag.
    var interval: Double { rate > 0 ? Double(automatic.count) / rate : .infinity }

    private mutating func first(_ tag: Int) -> Sample {
        let value = layout.counters ? 1 : models[tag % FieldLayout.tagsPerWell].step(&states[tag], upset: 0, &generator)
        return Sample(value: value, source: epoch, count: 1, status: 0)
    }

    /// Appends the updates that fell due until `now` to `updates`, at most `limit`; true when there are more.
    ///
    /// - Parameter now: nanoseconds since the start of the run.
    mutating func advance(to now: Int64, limit: Int = .max, into updates: inout [Update]) -> Bool {
        elapsed = max(elapsed, now)
        let due = UInt64(Double(elapsed) * 1e-9 * rate)
        guard due > generated, !automatic.isEmpty else {
            gauge(into: &updates)
            return false
        }
        // A process that was stopped for a while does not pour out what it missed.
        let most = UInt64(max(rate, 1))
        if due - generated > most {
            skipped += due - generated - most
            generated = due - most
        }
        let count = min(Int(due - generated), limit)
        let ticks = rate > 0 ? 1e7 / rate : 0
        updates.reserveCapacity(updates.count + count)
        let cycle = automatic.count
        var position = Int(generated % UInt64(cycle))
        for index in generated..<generated + UInt64(count) {
            let tag = Int(automatic[position])
            position += 1
            if position == cycle { position = 0 }
            let source = epoch + Int64(Double(index + 1) * ticks)
            updates.append(Update(tag: tag, sample: next(tag, source: source)))
        }
        generated += UInt64(count)
        if generated < due { return true }
        gauge(into: &updates)
        return false
    }

    @inline(__always)
    private mutating func next(_ tag: Int, source: Int64) -> Sample {
        let count = newest[tag].count &+ 1
        var sample = Sample(value: Double(count), source: source, count: count, status: 0)
        if !layout.counters {
            let well = tag / FieldLayout.tagsPerWell
            let kind = tag % FieldLayout.tagsPerWell
            if kind == 0 { moveUpset(well) }
            let upset = upsets[well]
            // An update that shows the same value is no change, and nothing would be published: the last digit of a live
            // instrument flickers, and the rate that was asked for is the rate that subscribers see.
            sample.value = models[kind].step(&states[tag], upset: upset, &generator)
            if sample.value == newest[tag].value { sample.value = models[kind].flicker(sample.value) }
            if upset > ProcessModel.distrustFrom { sample.status = Self.distrusted }
        }
        newest[tag] = sample
        return sample
    }

    /// UncertainSensorNotAccurate.
    static let distrusted: UInt32 = 0x4093_0000

    private mutating func moveUpset(_ well: Int) {
        if upsets[well] > 0.001 {
            upsets[well] *= upsetMemory
        } else if generator.unit() < upsetChance {
            upsets[well] = Float(generator.within(0.3, 1))
        }
    }

    private mutating func gauge(into updates: inout [Update]) {
        while let reading = gauges.next(at: elapsed, &generator) {
            let tag = reading.tag
            let model = models[tag % FieldLayout.tagsPerWell]
            let value = model.step(&states[tag], upset: 0, &generator)
            let span = model.high - model.low
            let rounded = (value / (span / 400)).rounded() * (span / 400)
            let sample = Sample(
                value: rounded,
                source: epoch + reading.time / 100,
                count: newest[tag].count &+ 1,
                status: 0
            )
            newest[tag] = sample
            updates.append(Update(tag: tag, sample: sample))
        }
    }
}
