/// What this build is.
enum BuildInformation {
    static let version = "1.0.0"

    #if DEBUG
    static let configuration = "debug"
    #else
    static let configuration = "release"
    #endif

    /// For `--version` and `version`.
    static var line: String { "scada-ingestion \(version) (\(configuration) build, \(architecture))" }

    /// The compiler this was built with.
    static var compiler: String {
        #if compiler(>=6.4)
        "6.4 or later"
        #elseif compiler(>=6.3)
        "6.3"
        #else
        "6.2"
        #endif
    }

    private static var architecture: String {
        #if arch(x86_64)
        "x86_64"
        #elseif arch(arm64)
        "arm64"
        #else
        "unknown architecture"
        #endif
    }
}
