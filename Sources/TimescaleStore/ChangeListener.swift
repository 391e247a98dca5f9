internal import CLibPQ
internal import Glibc
internal import Synchronization

/// Tells at once when a tenant's connections or tags change: LISTEN on the channel to which the triggers of the migrations
/// send (see Migrations/tenant/001_configuration.sql).
///
/// Has a connection and a thread of its own for as long as it lives, so there should be few; whoever has none polls. Where
/// the triggers could not be installed, or behind PgBouncer in transaction mode, it never hears anything and does no harm.
package final class ChangeListener: Sendable {
    package static let channel = "scada_config_changed"

    private static let connectTimeout: Duration = .seconds(10)
    private static let longestBackOff: Duration = .seconds(60)

    private let url: DatabaseURL
    private let applicationName: String
    private let wake: Wake
    private let isStopped = Atomic(false)
    private let onChange: @Sendable () -> Void

    /// Connects in the background, for ever again.
    /// - Parameter onChange: called on the listener's thread for every change, and after every reconnect, because changes
    ///   may have been missed. Must not block.
    package init(
        _ url: DatabaseURL,
        applicationName: String = "scada-ingestion listener",
        onChange: @escaping @Sendable () -> Void
    ) throws(StoreError) {
        self.url = url
        self.applicationName = applicationName
        self.onChange = onChange
        wake = try Wake()
        _ = try DatabaseThread(name: "pg-listen") { self.run() }
    }

    /// Ends the thread and its connection soon.
    package func stop() {
        isStopped.store(true, ordering: .releasing)
        wake.ring()
    }

    private func run() {
        var delay = Duration.seconds(1)
        while !isStopped.load(ordering: .acquiring) {
            do throws(StoreError) {
                let connection = try PGConnection(
                    to: url,
                    wake: wake,
                    applicationName: applicationName,
                    deadline: .now + Self.connectTimeout
                )
                try connection.execute("LISTEN \(Self.channel)")
                delay = .seconds(1)
                onChange()
                while !isStopped.load(ordering: .acquiring) {
                    if try connection.waitForNotification(until: .now + .seconds(60)) { onChange() }
                }
            } catch {
                // The writer and the configuration reader of the same database say what is wrong with it.
                let until = ContinuousClock.now + delay
                while !isStopped.load(ordering: .acquiring), .now < until { wake.wait(until: until) }
                delay = min(delay * 2, Self.longestBackOff)
            }
        }
    }
}

extension PGConnection {
    /// Waits for a NOTIFY on a channel listened to, a ring of the doorbell, or the deadline.
    /// - Returns: whether there was a notification; all that had come are consumed.
    func waitForNotification(until deadline: ContinuousClock.Instant) throws(StoreError) -> Bool {
        try withHandle { handle throws(StoreError) in
            if Self.drainNotifications(handle) { return true }
            pollSocket(Int16(POLLIN), until: deadline)
            guard PQconsumeInput(handle) == 1 else { throw brokenError() }
            return Self.drainNotifications(handle)
        }
    }

    private static func drainNotifications(_ handle: OpaquePointer) -> Bool {
        var any = false
        while let notification = PQnotifies(handle) {
            any = true
            PQfreemem(notification)
        }
        return any
    }
}
