import NIOCore
import NIOPosix

/// Reverse connect: the server dials the client (Part 6, 7.1.2.6 and 7.1.3), for plants into which nobody may dial.
///
/// One connection to each client waits for its Hello; once that came, the next is opened, so that the client can come back
/// whenever it wants.
extension ServerDriver {
    private static let firstDelay = TimeAmount.milliseconds(100)
    private static let longestDelay = TimeAmount.seconds(5)

    /// A client to dial; `delay` is how long to wait after the next failure.
    final class ReverseTarget {
        let host: String
        let port: Int
        var delay = ServerDriver.firstDelay

        init(host: String, port: Int) {
            self.host = host
            self.port = port
        }
    }

    func dial(_ target: ReverseTarget) {
        guard !isStopped else { return }
        let bound = NIOLoopBound(self, eventLoop: loop)
        let boundTarget = NIOLoopBound(target, eventLoop: loop)
        ClientBootstrap(group: loop)
            .connectTimeout(.seconds(5))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let driver = bound.value
                    try channel.pipeline.syncOperations.addHandler(BackPressureHandler())
                    try channel.pipeline.syncOperations.addHandler(
                        ServerConnection(server: driver.server, driver: driver, dialled: boundTarget.value)
                    )
                }
            }
            .connect(host: target.host, port: target.port)
            .whenFailure { _ in bound.value.dialAgain(boundTarget.value) }
    }

    /// The client has answered with Hello: the next connection is for when this one ends.
    func taken(_ target: ReverseTarget) {
        target.delay = Self.firstDelay
        dial(target)
    }

    /// The client is not there, or closed a connection without using it.
    func dialAgain(_ target: ReverseTarget) {
        let bound = NIOLoopBound(self, eventLoop: loop)
        let boundTarget = NIOLoopBound(target, eventLoop: loop)
        loop.scheduleTask(in: target.delay) { bound.value.dial(boundTarget.value) }
        target.delay = min(target.delay * 2, Self.longestDelay)
    }
}
