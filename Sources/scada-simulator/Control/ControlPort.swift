import NIOCore
import NIOPosix

/// Listens on loopback for control commands. Several clients may come; each one's commands are carried out in order.
struct ControlPort: Sendable {
    /// Carries out the command of one line and returns the line to answer.
    typealias Executor = @Sendable (String) async -> String

    static func start(port: Int, group: any EventLoopGroup, execute: @escaping Executor) async throws -> any Channel {
        try await ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ControlHandler(execute: execute))
                }
            }
            .bind(host: "127.0.0.1", port: port)
            .get()
    }
}

/// Cuts the bytes of one control connection into lines. Confined to its event loop.
private final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private static let longestLine = 8_192

    private let execute: ControlPort.Executor
    private var input: [UInt8] = []
    private var isBusy = false
    private var inputEnded = false

    init(execute: @escaping ControlPort.Executor) { self.execute = execute }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        input += buffer.readBytes(length: buffer.readableBytes) ?? []
        next(context)
    }

    private func next(_ context: ChannelHandlerContext) {
        guard !isBusy else { return }
        guard let end = input.firstIndex(of: 0x0A) else {
            if input.count > Self.longestLine || inputEnded { context.close(promise: nil) }
            return
        }
        let line = String(decoding: input[..<end], as: UTF8.self)
        input.removeSubrange(...end)
        isBusy = true
        // Back pressure: nothing is read while a command is carried out.
        context.channel.setOption(.autoRead, value: false).whenFailure { _ in }
        let execute = execute
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.makeFutureWithTask { await execute(line) }.whenSuccess { answer in
            let (handler, context) = bound.value
            handler.answer(answer, context)
        }
    }

    private func answer(_ text: String, _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(context.channel.allocator.buffer(string: text + "\n")), promise: nil)
        isBusy = false
        context.channel.setOption(.autoRead, value: true).whenFailure { _ in }
        next(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        inputEnded = true
        input = []
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
