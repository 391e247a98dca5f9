import Testing

@testable import Journal

@Suite struct RowBufferTests {
    @Test(arguments: 1...8) func growsWithoutLosingAnything(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let buffer = RowBuffer(capacity: 0)
        var expected: [UInt8] = []
        var rows = 0
        for step in 0..<300 {
            let length = Int.random(in: 0...(step.isMultiple(of: 50) ? 5000 : 200), using: &random)
            let target = buffer.reserve(length)
            let bytes = (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &random) }
            bytes.withUnsafeBytes { if let base = $0.baseAddress { target.copyMemory(from: base, byteCount: length) } }
            // Every fifth row is given up half-written.
            if step.isMultiple(of: 5) { continue }
            buffer.advance(length, rows: step % 3)
            expected += bytes
            rows += step % 3
            #expect(buffer.count == expected.count && buffer.rowCount == rows, "seed \(seed), step \(step)")
            #expect(buffer.capacity >= buffer.count)
        }
        #expect(buffer.withUnsafeBytes { [UInt8]($0) } == expected, "seed \(seed)")
        #expect(buffer.record.count == expected.count + RowBuffer.headroom)
        let capacity = buffer.capacity
        buffer.removeAll()
        #expect(buffer.isEmpty && buffer.rowCount == 0 && buffer.capacity == capacity)
    }

    @Test func theHeadroomSurvivesGrowth() {
        let buffer = RowBuffer(capacity: 64)
        for index in 0..<RowBuffer.headroom { buffer.record[index] = UInt8(index) }
        _ = buffer.reserve(100_000)
        #expect(Array(buffer.record[..<RowBuffer.headroom]) == Array(0..<UInt8(RowBuffer.headroom)))
    }

    @Test func thePoolIsBoundedThreeTimes() {
        let pool = RowBufferPool(maximumCount: 2, minimumCapacity: 96, maximumCapacity: 1000)
        let buffers = (0..<3).map { _ in pool.take() }
        #expect(buffers.allSatisfy { $0.capacity == 96 })
        [1, 2, 3].withUnsafeBytes { buffers[0].append($0) }
        for buffer in buffers { pool.put(buffer) }
        #expect(pool.count == 2)
        #expect(pool.take().isEmpty && pool.take().isEmpty)
        #expect(pool.count == 0)
        pool.put(RowBuffer(capacity: 1001))
        #expect(pool.count == 0)
        pool.put(RowBuffer(capacity: 1000))
        #expect(pool.count == 1)

        let narrow = RowBufferPool(maximumBytes: 250, minimumCapacity: 96)
        for _ in 0..<3 { narrow.put(RowBuffer(capacity: 100)) }
        #expect(narrow.count == 2)
        #expect(narrow.take().capacity == 100)
        narrow.put(RowBuffer(capacity: 151))
        #expect(narrow.count == 1)
        narrow.put(RowBuffer(capacity: 150))
        #expect(narrow.count == 2)
    }

    @Test func thePoolGivesWhatIsLargeEnoughAndNotMuchLarger() {
        let pool = RowBufferPool(minimumCapacity: 64)
        let large = pool.take(capacity: 1000)
        #expect(large.capacity == 1024)
        pool.put(large)
        #expect(pool.take(capacity: 500).capacity == 512, "more than half of the other would be empty")
        #expect(pool.take(capacity: 1025).capacity == 1280)
        #expect(pool.count == 1)
        #expect(pool.take(capacity: 640) === large)
    }

    @Test(arguments: 1...4) func racksHoldWhatTheySay(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        for _ in 0..<10_000 {
            let capacity = Int.random(in: 4...(4 << Int.random(in: 0...30, using: &random)), using: &random)
            let rack = RowBufferPool.rack(holding: capacity)
            let isRight =
                RowBufferPool.capacity(of: rack) <= capacity && capacity < RowBufferPool.capacity(of: rack + 1)
            #expect(isRight, "seed \(seed), \(capacity) in \(rack)")
            let enough = RowBufferPool.capacity(of: RowBufferPool.rack(for: capacity))
            #expect(enough >= capacity && enough <= capacity + capacity / 4 + 1, "seed \(seed), \(capacity)")
        }
    }

    @Test func whatNobodyTookSinceTheLastTrimGoes() {
        let pool = RowBufferPool(minimumCapacity: 64)
        let buffers = (0..<4).map { _ in pool.take() }
        for buffer in buffers { pool.put(buffer) }
        pool.trim()
        #expect(pool.count == 4, "all were taken")
        let used = pool.take()
        pool.put(used)
        pool.trim()
        #expect(pool.count == 1)
        #expect(pool.take() === used)
        pool.put(used)
        pool.trim()
        pool.trim()
        #expect(pool.count == 0)
    }
}
