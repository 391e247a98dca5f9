import NIOCore
import Testing

@testable import OPCUAClient

@Suite("Memory of messages")
struct MessagePoolTests {
    static func message(_ bytes: Int) -> ByteBuffer {
        var message = ByteBufferAllocator().buffer(capacity: bytes)
        message.writeRepeatingByte(1, count: bytes)
        return message
    }

    static func put(_ bytes: Int, _ pool: MessagePool) {
        var message = message(bytes)
        pool.put(&message)
    }

    @Test func givesBackWhatWasPut() {
        let pool = MessagePool()
        Self.put(100_000, pool)
        #expect(pool.count == 1)
        let again = pool.take(capacity: 16)
        #expect(again.readableBytes == 0)
        #expect(again.storageCapacity >= 100_000)
        #expect(pool.count == 0)
        #expect(pool.take(capacity: 16).storageCapacity < 100_000)
    }

    @Test func isBounded() {
        let pool = MessagePool(maximumCount: 3, maximumBytes: 300_000, capacities: 1_000...200_000)
        Self.put(300_000, pool)
        Self.put(500, pool)
        #expect(pool.count == 0)
        for _ in 0..<5 { Self.put(1_000, pool) }
        #expect(pool.count == 3)
        for _ in 0..<3 { _ = pool.take(capacity: 16) }
        for _ in 0..<3 { Self.put(120_000, pool) }
        #expect(pool.count == 2)
    }

    /// Memory that somebody still reads must not be written to.
    @Test func leavesSharedMemoryAlone() {
        let pool = MessagePool()
        var message = Self.message(200_000)
        let slice = message
        pool.put(&message)
        var next = pool.take(capacity: 16)
        next.writeRepeatingByte(2, count: 200_000)
        #expect(slice.readableBytesView.allSatisfy { $0 == 1 })
    }
}
