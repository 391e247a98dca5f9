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

    @Test func givesBackWhatWasPut() {
        let pool = MessagePool()
        pool.put(Self.message(100_000))
        #expect(pool.count == 1)
        let again = pool.take(capacity: 16)
        #expect(again.readableBytes == 0)
        #expect(again.storageCapacity >= 100_000)
        #expect(pool.count == 0)
        #expect(pool.take(capacity: 16).storageCapacity < 100_000)
    }

    @Test func isBounded() {
        let pool = MessagePool(maximumCount: 3, maximumBytes: 300_000, capacities: 1_000...200_000)
        pool.put(Self.message(300_000))
        pool.put(Self.message(500))
        #expect(pool.count == 0)
        for _ in 0..<5 { pool.put(Self.message(1_000)) }
        #expect(pool.count == 3)
        for _ in 0..<3 { _ = pool.take(capacity: 16) }
        for _ in 0..<3 { pool.put(Self.message(120_000)) }
        #expect(pool.count == 2)
    }

    /// Memory that somebody still reads must not be written to.
    @Test func leavesSharedMemoryAlone() {
        let pool = MessagePool()
        let message = Self.message(200_000)
        let slice = message
        pool.put(message)
        var next = pool.take(capacity: 16)
        next.writeRepeatingByte(2, count: 200_000)
        #expect(slice.readableBytesView.allSatisfy { $0 == 1 })
    }
}
