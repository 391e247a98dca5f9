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
