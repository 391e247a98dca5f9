import NIOCore

/// What every TCP connection to a server is set to.
enum SocketOptions {
    /// Call on the channel's event loop, before it is active or soon after.
    static func set(_ channel: any Channel) throws {
        guard let options = channel.syncOptions else { return }
        try options.setOption(.socketOption(.so_keepalive), value: 1)
        try options.setOption(.tcpOption(.tcp_nodelay), value: 1)
        // Small to begin with: a thousand quiet connections must not hold a thousand large buffers.
        try options.setOption(
            .recvAllocator,
            value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 2048, maximum: 65_536)
        )
        #if os(Linux)
        // TCP_USER_TIMEOUT: bytes not acknowledged for so long break the connection, whatever the kernel's patience.
        try options.setOption(
            ChannelOptions.Types.SocketOption(level: .tcp, name: .init(rawValue: 18)),
            value: 20_000
        )
        #endif
    }
}
