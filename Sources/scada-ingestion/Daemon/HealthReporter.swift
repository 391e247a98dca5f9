import ControlAPI
import Ingestion
import ServiceLifecycle

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
