#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The process_* metrics every Prometheus client library has, from /proc.
package enum ProcessMetrics {
    package static func register(in registry: Registry) {
        registry.collector(
            MetricName("process_cpu_seconds_total", "User and system CPU time the process has used."),
            .counter
        ) { writer in
            var usage = rusage()
            guard getrusage(RUSAGE_SELF.rawValue, &usage) == 0 else { return }
            writer.sample([], seconds(usage.ru_utime) + seconds(usage.ru_stime))
        }
        registry.collector(
            MetricName("process_resident_memory_bytes", "Memory the process has in RAM."),
            .gauge
        ) { writer in
            if let pages = memory(1) { writer.sample([], Double(pages * sysconf(Int32(_SC_PAGESIZE)))) }
        }
        registry.collector(
            MetricName("process_virtual_memory_bytes", "Address space the process has mapped."),
            .gauge
        ) { writer in
            if let pages = memory(0) { writer.sample([], Double(pages * sysconf(Int32(_SC_PAGESIZE)))) }
        }
        registry.collector(
            MetricName("process_open_fds", "File descriptors the process has open."),
            .gauge
        ) { writer in
            if let count = openDescriptors() { writer.sample([], Double(count)) }
        }
        registry.collector(
            MetricName("process_max_fds", "File descriptors the process may have open."),
            .gauge
        ) { writer in
            var limit = rlimit()
            if getrlimit(__rlimit_resource_t(7), &limit) == 0 { writer.sample([], Double(limit.rlim_cur)) }
        }
        let started = startTime()
        registry.collector(
            MetricName("process_start_time_seconds", "When the process started, seconds since 1970."),
            .gauge
        ) { writer in
            if let started { writer.sample([], started) }
        }
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }

    /// Bytes of a small file of /proc.
    private static func read(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
    }

    /// A field of /proc/self/statm, in pages.
    private static func memory(_ field: Int) -> Int? {
        read("/proc/self/statm")?.split(separator: " ").dropFirst(field).first.flatMap { Int($0) }
    }

    private static func openDescriptors() -> Int? {
        guard let folder = opendir("/proc/self/fd") else { return nil }
        defer { closedir(folder) }
        var count = 0
        while readdir(folder) != nil { count += 1 }
        // Not ".", ".." and the descriptor of the folder itself.
        return max(0, count - 3)
    }

    /// Field 22 of /proc/self/stat is in clock ticks since boot; the command's name in brackets may hold spaces.
    private static func startTime() -> Double? {
        guard let stat = read("/proc/self/stat"), let end = stat.lastIndex(of: ")"),
            let ticks = stat[stat.index(after: end)...].split(separator: " ").dropFirst(19).first.flatMap({ Double($0) }
            ),
            let boot = bootTime()
        else { return nil }
        return boot + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private static func bootTime() -> Double? {
        var now = timespec()
        var up = timespec()
        guard clock_gettime(CLOCK_REALTIME, &now) == 0, clock_gettime(CLOCK_BOOTTIME, &up) == 0 else { return nil }
        return Double(now.tv_sec - up.tv_sec)
    }
}
