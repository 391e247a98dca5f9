import Testing

@testable import scada_simulator

@Suite struct FieldTests {
    private func field(wells: Int = 10, rate: Double = 1_000, counters: Bool = false, seed: UInt64 = 42) -> Field {
        Field(layout: FieldLayout(seed: seed, wells: 0..<wells, counters: counters), rate: rate, epoch: 1_000_000)
    }

    private func updates(_ field: inout Field, milliseconds: [Int64]) -> [Field.Update] {
        var all: [Field.Update] = []
        for time in milliseconds { _ = field.advance(to: time * 1_000_000, into: &all) }
        return all
    }

    @Test func `counters have no hole and start behind the initial value`() {
        var field = field(counters: true)
        #expect(field.newest.allSatisfy { $0.value == 1 && $0.count == 1 })
        let all = updates(&field, milliseconds: [50, 100, 173, 400, 1_000])
        #expect(all.count == 1_000)
        for tag in 0..<100 {
            let values = all.filter { $0.tag == tag }.map(\.sample.value)
            #expect(values == (2...11).map(Double.init))
        }
    }

    @Test func `the rate is spread evenly, and each update carries the moment it was due`() {
        var field = field(counters: true)
        for step in 1...20 {
            var batch: [Field.Update] = []
            _ = field.advance(to: Int64(step) * 50_000_000, into: &batch)
            #expect(batch.count == 50)
            // A millisecond apart, in ticks of 100 ns.
            let expected = (1...50).map { 1_000_000 + Int64((step - 1) * 50 + $0) * 10_000 }
            #expect(batch.map(\.sample.source) == expected)
        }
    }

    @Test func `limited batches come to the same as one`() {
        var whole = field()
        var parts = field()
        var expected: [Field.Update] = []
        var found: [Field.Update] = []
        #expect(!whole.advance(to: 500_000_000, into: &expected))
        while parts.advance(to: 500_000_000, limit: 33, into: &found) {}
        #expect(found == expected)
        #expect(expected.count == 500)
    }

    @Test func `a field that was stopped does not pour out what it missed`() {
        var field = field(counters: true)
        let all = updates(&field, milliseconds: [10_000])
        #expect(all.count == 1_000)
        #expect(field.skipped == 9_000)
        let values = all.filter { $0.tag == 7 }.map(\.sample.value)
        #expect(values == (2...11).map(Double.init))
    }

    @Test func `the same seed gives the same values, another seed others`() {
        var first = field()
        var second = field()
        var other = field(seed: 43)
        let times: [Int64] = [100, 200, 300]
        let values = updates(&first, milliseconds: times)
        #expect(values == updates(&second, milliseconds: times))
        #expect(values != updates(&other, milliseconds: times))
    }

    @Test(arguments: TagKind.allCases)
    func `values stay in the instrument's range and move like a process`(kind: TagKind) {
        var generator = SeededGenerator(seed: 5)
        let model = ProcessModel(kind, interval: 1)
        var state = model.start(&generator)
        var previous = model.step(&state, upset: 0, &generator)
        var changes = 0
        var jumps = 0
        let span = kind.range.upperBound - kind.range.lowerBound
        for step in 0..<100_000 {
            let value = model.step(&state, upset: step % 1_000 == 999 ? 1 : 0, &generator)
            #expect(kind.range.contains(value))
            if value != previous { changes += 1 }
            if abs(value - previous) > span / 5 { jumps += 1 }
            previous = value
        }
        #expect(changes > 20_000, "\(kind) hardly moves")
        // In and out of the upsets above, and a tank that is hauled now and then.
        #expect(jumps <= 220, "\(kind) jumps about")
    }

    @Test func `every update of an instrument is a change, so that the rate asked for is the rate published`() {
        var field = Field(layout: FieldLayout(seed: 1, wells: 0..<50, counters: false), rate: 500, epoch: 0)
        var values = field.newest.map(\.value)
        var all: [Field.Update] = []
        _ = field.advance(to: 1_000_000_000, into: &all)
        for second in 2...60 as ClosedRange<Int64> { _ = field.advance(to: second * 1_000_000_000, into: &all) }
        let automatic = all.filter { !field.layout.isHandEntered($0.tag) }
        #expect(automatic.count == 500 * 60)
        for update in automatic {
            #expect(update.sample.value != values[update.tag])
            values[update.tag] = update.sample.value
        }
    }

    @Test func `an upset moves the tags of its well together and is over after a while`() {
        let pressure = ProcessModel(.casingPressure, interval: 1)
        let flow = ProcessModel(.flowRate, interval: 1)
        var generator = SeededGenerator(seed: 9)
        var one = TagState(setPoint: pressure.bandLow, deviation: 0)
        var two = TagState(setPoint: flow.bandHigh, deviation: 0)
        #expect(pressure.step(&one, upset: 1, &generator) > pressure.bandLow + 1_000)
        #expect(flow.step(&two, upset: 1, &generator) < flow.bandHigh - 400)
    }

    @Test func `some gauges are entered by hand: rarely, rounded, sometimes for an earlier time`() {
        let layout = FieldLayout(seed: 3, wells: 0..<200, counters: false)
        let manual = (0..<layout.tagCount).filter(layout.isHandEntered)
        #expect((60...180).contains(manual.count))
        #expect(manual.allSatisfy { layout.kind(ofTag: $0).canBeHandEntered })
        var field = Field(layout: layout, rate: 0, epoch: 500_000_000_000)
        var all: [Field.Update] = []
        let hour: Int64 = 3_600_000_000_000
        _ = field.advance(to: 2 * hour, into: &all)
        #expect(Set(all.map(\.tag)) == Set(manual))
        // 3 to 15 minutes apart.
        #expect(all.count > 8 * manual.count && all.count < 40 * manual.count)
        var older = 0
        for tag in manual {
            let samples = all.filter { $0.tag == tag }.map(\.sample)
            older += zip(samples, samples.dropFirst()).filter { $1.source < $0.source }.count
            let span = layout.kind(ofTag: tag).range.upperBound
            #expect(samples.allSatisfy { abs(($0.value / (span / 400)).rounded() - $0.value / (span / 400)) < 1e-6 })
        }
        #expect(older > 10)
    }

    @Test func `counters have no hand-entered tags`() {
        let layout = FieldLayout(seed: 3, wells: 0..<200, counters: true)
        #expect(!(0..<layout.tagCount).contains(where: layout.isHandEntered))
    }
}

@Suite struct FieldLayoutTests {
    @Test(arguments: [(10, 3), (1, 1), (1_000, 7), (5, 5)])
    func `wells are split without gap or overlap`(wells: Int, servers: Int) {
        let parts = FieldLayout.split(wells: wells, servers: servers, seed: 1, counters: false)
        #expect(parts.count == servers)
        #expect(parts.flatMap { Array($0.wells) } == Array(0..<wells))
        #expect(parts.allSatisfy { !$0.wells.isEmpty })
    }

    @Test func `names lead back to their wells, other texts nowhere`() {
        let layout = FieldLayout(seed: 1, wells: 99_990..<100_010, counters: false)
        for well in 0..<layout.wellCount { #expect(layout.well(named: layout.name(ofWell: well)) == well) }
        #expect(layout.name(ofWell: 0) == "Well-99991")
        for text in ["Well-", "Well-1", "Well-+9999", "Well-099991", "Well-99990", "well-99991", ""] {
            #expect(layout.well(named: text) == nil)
        }
    }

    @Test func `wells lie in the Permian Basin`() {
        let layout = FieldLayout(seed: 1, wells: 0..<500, counters: false)
        for well in 0..<500 {
            let position = layout.position(ofWell: well)
            #expect((30.8...33.2).contains(position.latitude) && (-104.2 ... -101.2).contains(position.longitude))
        }
    }
}
