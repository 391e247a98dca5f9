import FoundationEssentials
import Journal
import OPCUACodec
import Testing

@testable import Ingestion

@Suite("Table of tags")
struct TagTableTests {
    private static func key(_ number: Int) -> TagKey {
        let byte = UInt8(truncatingIfNeeded: number)
        return TagKey(
            wellID: UUID(uuid: (byte, byte, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte)),
            // From nothing to more than a block of the store.
            nodeID: "ns=2;s=\(number)" + String(repeating: "x", count: number * number % 20_000)
        )
    }

    private static func state(_ number: Int) -> TagState {
        TagState(
            sourceMicroseconds: Int64(number),
            storedMicroseconds: Int64(number),
            form: .number,
            bits: UInt64(number)
        )
    }

    /// The hot path touches one line of the cache for a tag.
    @Test func aSlotIsACacheLine() {
        #expect(MemoryLayout<TagSlot>.stride == 64)
        #expect(Int(bitPattern: TagTable().slots).isMultiple(of: 64))
    }

    @Test func prefixesStayWhereTheyAre() throws {
        let table = TagTable()
        let count = 600
        var places: [UnsafeMutableRawPointer?] = []
        for number in 0..<count {
            let handle = Int(table.handle(for: Self.key(number)))
            places.append(table.slots[handle].prefix)
        }
        for number in 0..<count {
            let key = Self.key(number)
            let handle = try #require(table.existingHandle(for: key))
            let prefix = try #require(table.slots[Int(handle)].rowPrefix)
            #expect(prefix.baseAddress == UnsafeRawPointer(places[Int(handle)]))
            let expected = RowFormat.prefix(of: key)
            defer { expected.deallocate() }
            #expect(prefix.elementsEqual(expected), "tag \(number)")
        }
    }

    /// More tags than the list of what was changed has room for at first, each changed twice, and the table grows meanwhile.
    @Test func revertsToTheStateBefore() {
        let table = TagTable()
        for number in 0..<100 { _ = table.handle(for: Self.key(number)) }
        func change(_ handle: Int, to state: TagState) {
            table.willChange(table.slots + handle)
            table.slots[handle].now = state
            table.slots[handle].flags &= ~TagSlot.Flag.isUnknown
        }
        table.begin()
        for handle in 0..<60 { change(handle, to: Self.state(handle + 1)) }
        table.begin()
        for round in 1...2 {
            for handle in 0..<100 { change(handle, to: Self.state(handle + 1000 * round)) }
        }
        for number in 100..<500 { _ = table.handle(for: Self.key(number)) }
        table.revert()
        for handle in 0..<100 {
            #expect(table.state(of: UInt32(handle)) == (handle < 60 ? Self.state(handle + 1) : nil))
        }
        // Nothing is left to be taken back.
        change(3, to: Self.state(7))
        table.begin()
        table.revert()
        #expect(table.state(of: 3) == Self.state(7))
    }
}
