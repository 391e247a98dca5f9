import Glibc

/// This machine's name.
enum HostName {
    /// The kernel's host name, "localhost" where there is none.
    static var current: String {
        var names = utsname()
        guard uname(&names) == 0 else { return "localhost" }
        let name = withUnsafeBytes(of: &names.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        return name.isEmpty ? "localhost" : name
    }
}
