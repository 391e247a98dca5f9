#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif
import OPCUACodec

/// The wall clock, for what is written into messages and records; never for intervals.
enum WallClock {
    static func unixMicroseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
    }

    static func dateTime() -> DateTime { DateTime(unixMicroseconds: unixMicroseconds()) }
}
