import Metrics

@testable import Observability

/// Reports to draw, from nothing to a bad night.
enum SampleReports {
    static let now: Int64 = 1_795_824_000_000_000
    static let second: Int64 = 1_000_000

    static var empty: StatusReport {
        var report = StatusReport(startedAt: now - 5 * second, generatedAt: now)
        report.version = "1.0.0"
        return report
    }

    static func names(_ number: Int) -> String {
        let places = ["Nordfeld", "Eldfisk", "Sletta", "Karmøy", "Hammer", "Åsgard", "Brage", "Veslefrikk"]
        return "\(places[number % places.count]) \(number / places.count + 1)"
    }

    /// All is well.
    static func healthy(tenants: Int) -> StatusReport {
        var report = empty
        report.startedAt = now - 273_600 * second
        report.replica = "ingest-1"
        report.readingsReceived = 123_456_789
        report.readingsStored = 123_450_000
        for number in 0..<tenants {
            var tenant = StatusReport.Tenant(name: names(number))
            tenant.database = "TimescaleDB 2.28.3 on PostgreSQL 17.2"
            tenant.connectionsTotal = 2
            tenant.connectionsActive = 2
            tenant.tagsTotal = 400
            tenant.backlogReadings = Int64(number * 37 % 900)
            tenant.oldestUnstoredAt = now - 3 * second
            tenant.journalBytes = Int64(number + 1) * 300_000
            tenant.journalLimitBytes = 1 << 30
            tenant.lastStoredAt = now - 2 * second
            tenant.readingsStored = 1_234_500
            report.tenants.append(tenant)
            for pump in 1...2 {
                var connection = StatusReport.Connection(
                    id: "6f1a2f10-0000-4000-8000-\(100_000_000_000 + number * 10 + pump)",
                    tenant: tenant.name
                )
                connection.name = "Pump station \(pump)"
                connection.endpointURL = "opc.tcp://10.20.\(number).\(pump):4840/UA/Server"
                connection.security = "SignAndEncrypt, Basic256Sha256"
                connection.state = .connected
                connection.stateSince = now - 90_000 * second
                connection.tagsTotal = 200
                connection.readingsReceived = 617_250
                connection.lastReadingAt = now - 400_000
                connection.reconnects = UInt64(pump)
                report.connections.append(connection)
            }
        }
        report.certificates = [
            .init(role: "own, OPC UA client", subject: "CN=scada-ingestion", expiresAt: now + 1_600 * 86_400 * second),
            .init(role: "gRPC server", subject: "CN=ingest-1.example", expiresAt: now + 76 * 86_400 * second),
        ]
        return report
    }

    /// Much at once, with long texts and hostile names.
    static func trouble(tenants: Int) -> StatusReport {
        var report = healthy(tenants: tenants)
        report.notReadyReasons = []
        report.tenants[3].trouble = .init(
            "cannot connect to its database: connection to server at \"db-3.example\" (10.9.8.7), port 5432 failed: "
                + "FATAL: password authentication failed for user \"ingest\"",
            advice: "Correct the user or password in the tenants row's database_url; it is tried again by itself",
            since: now - 4_300 * second
        )
        report.tenants[3].isDatabaseReachable = false
        report.tenants[3].backlogReadings = 4_812_345
        report.tenants[3].oldestUnstoredAt = now - 4_300 * second
        report.tenants[3].journalBytes = 700 << 20
        report.tenants[5].backlogReadings = 83_211
        report.tenants[5].oldestUnstoredAt = now - 95 * second
        report.tenants[6].readingsRejected = 12
        report.connections[4].state = .down
        report.connections[4].stateSince = now - 620 * second
        report.connections[4].lastReadingAt = now - 700 * second
        report.connections[4].lastError = .init(
            "the server's certificate is not trusted: CN=PLC-7, thumbprint 3A5F…9C",
            advice: "If this is your server: scada-ingestion trust 3a5f009c",
            since: now - 12 * second
        )
        report.connections[11].name = "<script>alert(1)</script> & \"Söhne\" \u{202E}gnp.exe"
        report.connections[11].state = .backingOff
        report.connections[11].stateSince = now - 90 * second
        report.connections[11].lastError = .init(
            String(repeating: "a very long error text that a server sent ", count: 40),
            advice: "Look at the server's own log",
            since: now - 30 * second
        )
        report.connections[12].tagsBad = 3
        report.badTagsTotal = 3
        for number in 0..<3 {
            var tag = StatusReport.BadTag(
                tenant: names(6),
                connection: "Pump station 1",
                nodeID: "nsu=http://example.com/field;s=Well\(number).TubingPressure",
                reason: "BadNodeIdUnknown: the node id refers to a node that does not exist in the server address space"
            )
            tag.since = now - 86_400 * second
            report.badTags.append(tag)
        }
        var gap = StatusReport.Gap(
            tenant: names(1),
            connection: "Pump station 2",
            startedAt: now - 7_500 * second,
            cause: "server_restart"
        )
        gap.endedAt = gap.startedAt + 41 * second
        gap.healedAt = gap.endedAt
        gap.readingsLost = 0
        var open = StatusReport.Gap(
            tenant: names(2),
            connection: "Pump station 1",
            startedAt: now - 620 * second,
            cause: "connection_lost"
        )
        var hole = gap
        hole.healedAt = nil
        hole.nodeID = "ns=2;s=Field.Well7.Flow"
        hole.cause = "queue_overflow"
        hole.readingsLost = nil
        open.readingsLost = nil
        report.gaps = [open, hole, gap]
        report.certificates.append(
            .init(role: "trusted server", subject: "CN=PLC-2", expiresAt: now - 3 * 86_400 * second)
        )
        report.certificates.append(.init(role: "issuer", subject: "CN=Field CA", expiresAt: now + 12 * 86_400 * second))
        return report
    }

    /// Ten minutes of a load that swings, with a stop in the middle.
    static var history: StatusHistory {
        var history = StatusHistory()
        let delay = Histogram(bounds: [0.1, 0.25, 0.5, 1, 2, 5, 10])
        var (received, stored) = (UInt64(0), UInt64(0))
        for step in 0...300 {
            let isStopped = (120..<150).contains(step)
            received += UInt64(20_000 + 3_000 * (step % 20))
            if !isStopped {
                let batch = step == 150 ? received - stored : UInt64(20_000 + 3_000 * (step % 20))
                stored += batch
                delay.observe(step == 150 ? 9 : 0.3 + 0.02 * Double(step % 17), times: Int(batch))
            }
            let totals = StatusTotals(
                received: received,
                stored: stored,
                backlog: Int64(received - stored),
                delay: delay.snapshot,
                delayBounds: delay.bounds
            )
            history.add(totals, at: now - Int64(300 - step) * 2 * second, monotonic: .seconds(step * 2))
        }
        return history
    }
}
