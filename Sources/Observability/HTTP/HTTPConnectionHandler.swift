import NIOCore
import NIOHTTP1

/// Serves the requests of one connection, one after the other; `HTTPServerPipelineHandler` before it holds back the next
/// request, and the reading of further ones, until a response is complete. On the connection's event loop only.
final class HTTPConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// Told to all connections when the server stops: end once the request in progress, if any, is answered.
    struct Drain: Sendable {}

    private struct Request {
        var head: HTTPRequestHead
        var bodyBytes = 0
    }

    private enum State {
        /// Between requests.
        case idle
        /// The head has come, the end has not.
        case receiving(Request)
        /// The response is being made.
        case answering
        /// The last response has been written; what comes is ignored.
        case closing
    }

    private let routes: HTTPRoutes
    private let options: HTTPServerOptions
    private let gate: EventLoopGate
    private var state = State.idle
    /// The peer sends no more, or the server stops: close after this response.
    private var isLast = false
    /// Responses written that the socket has not taken yet.
    private var unsent = 0
    private var deadline: Scheduled<Void>?

    /// How long a refused peer's further bytes are thrown away before the socket is closed under them: closing at once would
    /// reset the connection, and the reset could overtake the response.
    private static let linger = TimeAmount.seconds(1)

    init(routes: HTTPRoutes, options: HTTPServerOptions, gate: EventLoopGate) {
        self.routes = routes
        self.options = options
        self.gate = gate
    }

    func channelActive(context: ChannelHandlerContext) {
        restartDeadline(context)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        state = .closing
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), state) {
        case (.head(let head), .idle):
            receive(head, context)
        case (.body(let bytes), .receiving(var request)):
            request.bodyBytes += bytes.readableBytes
            state = .receiving(request)
            if request.bodyBytes > options.maxBodyBytes { refuse(.payloadTooLarge, context) }
        case (.end, .receiving(let request)):
            answer(request.head, context)
        default:
            // The rest of a request that has been refused.
            break
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is Drain, ChannelEvent.inputClosed:
            isLast = true
            closeIfDone(context)
        default:
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch (error, state) {
        case (HTTPParserError.headerOverflow, .idle), (HTTPParserError.headerOverflow, .receiving):
            refuse(.requestHeaderFieldsTooLarge, context)
        case (is HTTPParserError, .idle), (is HTTPParserError, .receiving):
            refuse(.badRequest, context)
        case (_, .closing) where context.channel.isActive:
            break
        default:
            context.close(promise: nil)
        }
    }

    // MARK: - Requests

    private func receive(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        state = .receiving(Request(head: head))
        restartDeadline(context)
        if head.uri.utf8.count > options.maxTargetBytes {
            refuse(.uriTooLong, context)
        } else if let length = head.headers.first(name: "Content-Length").flatMap({ Int($0) }),
            length > options.maxBodyBytes
        {
            refuse(.payloadTooLarge, context)
        }
    }

    private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        state = .answering
        let accept = AcceptHeader(head.headers[canonicalForm: "Accept"].joined(separator: ","))
        switch routes.answer(head.method, head.uri, accept: accept) {
        case .now(let content):
            send(content, to: head, context)
        case .later(let make):
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            let eventLoop = context.eventLoop
            let gate = gate
            Task {
                let content = await make()
                gate.execute(on: eventLoop) {
                    let (handler, context) = bound.value
                    guard case .answering = handler.state else { return }
                    handler.send(content, to: head, context)
                }
            }
        }
    }

    private func send(_ content: HTTPContent, to request: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let keepAlive = request.isKeepAlive && !isLast
        restartDeadline(context)
        write(content, version: request.version, keepAlive: keepAlive, isHead: request.method == .HEAD, context)
    }

    /// Answers with an error and closes: what follows on the connection cannot be trusted.
    private func refuse(_ status: HTTPResponseStatus, _ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        let content = HTTPContent(status, status.reasonPhrase.lowercased() + "\n")
        write(content, version: .http1_1, keepAlive: false, isHead: false, context)
    }

    private func write(
        _ content: HTTPContent,
        version: HTTPVersion,
        keepAlive: Bool,
        isHead: Bool,
        _ context: ChannelHandlerContext
    ) {
        // Answered in the client's own minor version, but never as something beyond 1.1.
        let version = version == .http1_0 ? HTTPVersion.http1_0 : .http1_1
        context.write(wrapOutboundOut(.head(content.head(version: version, keepAlive: keepAlive))), promise: nil)
        if !isHead, !content.body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: content.body)))), promise: nil)
        }
        // Before the end is written: from within that write the pipeline handler may hand over the next request.
        state = keepAlive ? .idle : .closing
        unsent += 1
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { result in
            let (handler, context) = bound.value
            handler.responseLeft(result, context)
        }
    }

    private func responseLeft(_ result: Result<Void, any Error>, _ context: ChannelHandlerContext) {
        unsent -= 1
        guard case .success = result else { return context.close(promise: nil) }
        switch state {
        case .idle:
            restartDeadline(context)
            if isLast { closeIfDone(context) }
        case .closing where isLast:
            closeIfDone(context)
        case .closing where unsent == 0:
            context.close(mode: .output, promise: nil)
            restartDeadline(context, in: Self.linger)
        case .closing, .receiving, .answering:
            break
        }
    }

    /// Closes unless a response is being made or sent.
    private func closeIfDone(_ context: ChannelHandlerContext) {
        if case .answering = state { return }
        if unsent == 0 { context.close(promise: nil) }
    }

    // MARK: - Time

    private func restartDeadline(_ context: ChannelHandlerContext, in time: TimeAmount? = nil) {
        deadline?.cancel()
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        deadline = context.eventLoop.scheduleTask(in: time ?? TimeAmount(options.idleTimeout)) {
            bound.value.close(promise: nil)
        }
    }
}
