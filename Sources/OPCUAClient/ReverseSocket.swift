import NIOCore
import OPCUACodec

/// Reads the ReverseHello of a server that dialled in, then guards the socket until somebody takes it; then it lets
/// everything pass.
///
/// Confined to the listener's event loop.
final class ReverseSocket: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let id: ReverseConnectBook.SocketID
    private let listener: ReverseListener
    private var bytes = ByteBuffer()
    private var isIdentified = false
    var isTaken = false

    init(id: ReverseConnectBook.SocketID, listener: ReverseListener) {
        self.id = id
        self.listener = listener
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isTaken { return context.fireChannelRead(data) }
        var more = unwrapInboundIn(data)
        let id = id
        do throws(ReverseRefusal) {
            // Part 6, 7.1.2.6: after ReverseHello it is the client's turn.
            if isIdentified { throw ReverseRefusal(.badTcpMessageTypeInvalid, "it spoke before it was asked") }
            bytes.writeBuffer(&more)
            guard let hello = try hello() else { return }
            isIdentified = true
            bytes = ByteBuffer()
            listener.assumeIsolated { $0.received(hello, on: id) }
        } catch {
            let refusal = error
            listener.assumeIsolated { $0.refused(refusal, on: id) }
        }
    }

    /// nil while it has not come wholly.
    private func hello() throws(ReverseRefusal) -> ReverseHello? {
        guard let type = bytes.getInteger(at: 0, endianness: .little, as: UInt32.self),
            let announced = bytes.getInteger(at: 4, endianness: .little, as: UInt32.self)
        else { return nil }
        let size = try ReverseHello.size(type: type, announced: announced)
        guard bytes.readableBytes >= size else { return nil }
        guard bytes.readableBytes == size else {
            throw ReverseRefusal(.badTcpMessageTypeInvalid, "it spoke before it was asked")
        }
        return try ReverseHello(message: Array(buffer: bytes))
    }

    func channelInactive(context: ChannelHandlerContext) {
        let id = id
        if !isTaken { listener.assumeIsolated { $0.closed(id) } }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if isTaken { return context.fireErrorCaught(error) }
        context.close(promise: nil)
    }

    /// Sends an Error message (Part 6, 7.1.2.5) and closes.
    static func refuse(_ channel: any Channel, _ status: StatusCode) {
        var message = channel.allocator.buffer(capacity: 16)
        message.writeStaticString("ERRF")
        message.writeInteger(UInt32(16), endianness: .little)
        message.writeInteger(status.rawValue, endianness: .little)
        message.writeInteger(Int32(-1), endianness: .little)
        channel.writeAndFlush(message).whenComplete { _ in channel.close(promise: nil) }
    }
}
