#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif
import NIOCore
import OPCUACodec

/// The time of a run: monotonic from its start, and the wall clock at that moment.
///
/// Source timestamps come from both together, so that a clock set back cannot bring a tag's values out of order.
struct RunClock: Sendable {
    private let start: NIODeadline
    /// OPC UA ticks of the wall clock at the start.
    let epoch: Int64

    init() {
        start = .now()
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        epoch = DateTime(unixMicroseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000).ticks
    }

    /// Since the start.
    var nanoseconds: Int64 { (NIODeadline.now() - start).nanoseconds }
}
