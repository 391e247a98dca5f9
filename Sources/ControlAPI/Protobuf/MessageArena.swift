import CProtobufC
import FoundationEssentials
import Glibc

/// Memory of one answer while it is encoded: the protoc-c structs and the strings they point to, freed together.
/// A page of 10,000 readings takes about 2 MB here for some milliseconds.
///
/// Used by one task between two suspension points; no pointer outlives it.
final class MessageArena {
    private static let chunkBytes = 65_536
    private var chunks: [UnsafeMutableRawPointer] = []
    private var next: UnsafeMutableRawPointer?
    private var left = 0
    /// Readings of one page are mostly of one well and of few tags, whose texts come again and again.
    private var lastUUID: (value: UUID, text: UnsafeMutablePointer<CChar>)?
    private var lastText: (byteCount: Int, text: UnsafeMutablePointer<CChar>)?

    deinit {
        for chunk in chunks { chunk.deallocate() }
    }

    private func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer {
        let rounded = (byteCount + 15) & ~15
        if rounded > Self.chunkBytes / 4 {
            let own = allocateChunk(rounded)
            chunks.append(own)
            return own
        }
        if left < rounded || next == nil {
            let chunk = allocateChunk(Self.chunkBytes)
            chunks.append(chunk)
            next = chunk
            left = Self.chunkBytes
        }
        guard let place = next else { return allocateChunk(rounded) }
        next = place + rounded
        left -= rounded
        return place
    }

    private func allocateChunk(_ byteCount: Int) -> UnsafeMutableRawPointer {
        // Aligned to 16, and never nil: like all of Swift we do not go on without memory.
        UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 16)
    }

    /// A message with protoc-c's defaults, then filled by `fill`.
    func message<Message: ProtobufMessage>(
        _ type: Message.Type,
        _ fill: (inout Message) -> Void
    ) -> UnsafeMutablePointer<Message> {
        let pointer = allocate(MemoryLayout<Message>.size).bindMemory(to: Message.self, capacity: 1)
        pointer.initialize(to: Message())
        Message.initialize(pointer)
        fill(&pointer.pointee)
        return pointer
    }

    /// A C string. A NUL inside, which C strings cannot hold, becomes "?".
    func string(_ text: String) -> UnsafeMutablePointer<CChar> {
        var text = text
        return text.withUTF8 { utf8 in
            // Bytes are compared, not strings: two strings may be equal to Swift and have different bytes.
            if let lastText, lastText.byteCount == utf8.count, let start = utf8.baseAddress,
                memcmp(lastText.text, start, utf8.count) == 0
            {
                return lastText.text
            }
            let pointer = allocate(utf8.count + 1).bindMemory(to: CChar.self, capacity: utf8.count + 1)
            for index in 0..<utf8.count { pointer[index] = CChar(bitPattern: utf8[index] == 0 ? 0x3F : utf8[index]) }
            pointer[utf8.count] = 0
            lastText = (utf8.count, pointer)
            return pointer
        }
    }

    /// A UUID in lower case.
    func string(_ uuid: UUID) -> UnsafeMutablePointer<CChar> {
        if let lastUUID, lastUUID.value == uuid { return lastUUID.text }
        let pointer = allocate(37).bindMemory(to: CChar.self, capacity: 37)
        withUnsafeBytes(of: uuid.uuid) { bytes in
            var place = 0
            for (index, byte) in bytes.enumerated() {
                if index == 4 || index == 6 || index == 8 || index == 10 {
                    pointer[place] = 0x2D
                    place += 1
                }
                pointer[place] = Self.digit(byte >> 4)
                pointer[place + 1] = Self.digit(byte & 15)
                place += 2
            }
            pointer[place] = 0
        }
        lastUUID = (uuid, pointer)
        return pointer
    }

    private static func digit(_ value: UInt8) -> CChar {
        CChar(value < 10 ? 0x30 + value : 0x57 + value)
    }

    /// The pointer list of a repeated field.
    func list<Element>(
        _ count: Int,
        _ element: (Int) -> UnsafeMutablePointer<Element>
    ) -> UnsafeMutablePointer<UnsafeMutablePointer<Element>?> {
        typealias Pointer = UnsafeMutablePointer<Element>?
        let list = allocate(max(1, count) * MemoryLayout<Pointer>.stride).bindMemory(
            to: Pointer.self,
            capacity: max(1, count)
        )
        for index in 0..<count { (list + index).initialize(to: element(index)) }
        return list
    }

    /// The elements of a repeated bytes field.
    func array<Element>(_ elements: [Element]) -> UnsafeMutablePointer<Element> {
        let count = max(1, elements.count)
        let array = allocate(count * MemoryLayout<Element>.stride).bindMemory(to: Element.self, capacity: count)
        for index in elements.indices { (array + index).initialize(to: elements[index]) }
        return array
    }

    /// Memory for bytes fields.
    func bytes(_ content: [UInt8]) -> ProtobufCBinaryData {
        let pointer = allocate(max(1, content.count)).bindMemory(to: UInt8.self, capacity: max(1, content.count))
        for (index, byte) in content.enumerated() { pointer[index] = byte }
        return ProtobufCBinaryData(len: content.count, data: pointer)
    }

    /// The message in wire format.
    func serialize<Message: ProtobufMessage>(_ message: UnsafeMutablePointer<Message>) -> GRPCMessage {
        let base = UnsafeMutableRawPointer(message).assumingMemoryBound(to: ProtobufCMessage.self)
        let byteCount = protobuf_c_message_get_packed_size(base)
        return GRPCMessage(byteCount: byteCount) { memory in
            if byteCount > 0 {
                protobuf_c_message_pack(base, memory.baseAddress?.assumingMemoryBound(to: UInt8.self))
            }
        }
    }
}
