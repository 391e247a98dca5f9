import OPCUAClient
import ServiceLifecycle

/// Ends the listener that servers dial after the connections that use it.
struct ReverseConnectService: Service {
    let listener: ReverseListener

    func run() async {
        try? await gracefulShutdown()
        await listener.stop()
    }
}
