import ControlAPI
import FoundationEssentials
import Ingestion
import OPCUAClient
import Observability
import ServiceLifecycle

/// What the HTTP endpoint tells of the daemon.
struct DaemonStatus: StatusSource {
    let router: TenantRouter

    func notReadyReasons() -> [String] { router.notReadyReasons }

    func statusJSON() async -> [UInt8] {
        var writer = JSONWriter()
        let reasons = router.notReadyReasons
        let tenants = router.tenantList.map { $0.snapshot() }
        writer.object { json in
            json.key("version")
            json.string(BuildInformation.version)
            json.key("ready")
            json.bool(reasons.isEmpty)
            json.key("reasons")
            json.array { json in for reason in reasons { json.string(reason) } }
            json.key("tenants")
            json.array { json in for tenant in tenants { Self.write(tenant, &json) } }
        }
        return writer.bytes
    }

    private static func write(_ tenant: TenantSnapshot, _ json: inout JSONWriter) {
        json.object { json in
            json.key("name")
            json.string(tenant.name)
            json.key("state")
            json.string(tenant.state.rawValue)
            json.key("reason")
            json.string(tenant.reason)
            json.key("backlog_readings")
            json.number(tenant.backlog)
            json.key("journal_bytes")
            json.number(tenant.journalBytes)
            json.key("oldest_unstored_seconds")
            json.number(tenant.oldestUnstoredAge.inSeconds)
            json.key("problems")
            json.array { json in for problem in tenant.problems { json.string(problem) } }
            json.key("connections")
            json.array { json in for connection in tenant.connections { Self.write(connection, &json) } }
        }
    }

    private static func write(_ connection: ConnectionSnapshot, _ json: inout JSONWriter) {
        json.object { json in
            json.key("id")
            json.string(connection.id.uuidString.lowercased())
            json.key("name")
            json.string(connection.name)
            json.key("endpoint")
            json.string(connection.endpointURL)
            json.key("state")
            json.string(connection.status.state.rawValue)
            json.key("last_error")
            json.string(connection.status.lastError?.description ?? "")
            json.key("tags")
            json.number(connection.tags)
            json.key("bad_tags")
            json.number(connection.badTags)
            json.key("readings")
            json.number(connection.readings)
        }
    }
}

/// Tells grpc.health.v1 what /readyz tells.
struct HealthReporter: Service {
    let router: TenantRouter
    let health: HealthState

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                health.set(router.notReadyReasons.isEmpty ? .serving : .notServing)
                try? await Task.sleep(for: .milliseconds(500))
            }
        }
    }
}
