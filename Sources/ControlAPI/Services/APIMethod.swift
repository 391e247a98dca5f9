/// Every method the server answers.
enum APIMethod: String, CaseIterable, Sendable {
    case queryReadings = "/scada.ScadaService/QueryReadings"
    case getAggregatorStats = "/scada.ScadaService/GetAggregatorStats"
    case addConnection = "/scada.ScadaService/AddConnection"
    case removeConnection = "/scada.ScadaService/RemoveConnection"
    case healthCheck = "/scada.ScadaService/HealthCheck"
    case listConnections = "/scada.ScadaService/ListConnections"
    case testConnection = "/scada.ScadaService/TestConnection"
    case browseNodes = "/scada.ScadaService/BrowseNodes"
    case listGaps = "/scada.ScadaService/ListGaps"
    case streamReadings = "/scada.ScadaService/StreamReadings"
    case healthServiceCheck = "/grpc.health.v1.Health/Check"
    case healthServiceWatch = "/grpc.health.v1.Health/Watch"
    case reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    case reflectionAlpha = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

    /// The full name of the service whose health is that of the daemon.
    static let scadaService = "scada.ScadaService"

    private static let byPath = Dictionary(uniqueKeysWithValues: allCases.map { ($0.rawValue, $0) })

    init?(path: String) {
        guard let method = Self.byPath[path] else { return nil }
        self = method
    }

    /// Health and reflection: they have a share of the calls of their own, and need no token. What they tell is public
    /// (serving or not, and the proto files), and orchestrators' probes and grpcurl work unconfigured.
    var isProbe: Bool {
        switch self {
        case .healthServiceCheck, .healthServiceWatch, .reflection, .reflectionAlpha: true
        default: false
        }
    }

    /// Whether every call of it is written to the audit log, whatever its result.
    var isAudited: Bool { self == .addConnection || self == .removeConnection }

    /// `QueryReadings`, `Health/Check`: for metrics and logs.
    var shortName: String {
        let parts = rawValue.split(separator: "/")
        guard parts.count == 2, let service = parts[0].split(separator: ".").last else { return rawValue }
        return isProbe ? "\(service)/\(parts[1])" : String(parts[1])
    }
}
