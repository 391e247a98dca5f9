import TimescaleStore

extension CheckRun {
    /// Who holds what, where replicas share the connections.
    mutating func checkReplicas(_ pool: ConnectionPool, patience: Duration) async {
        let subject = "replicas"
        let master = configuration.databaseURL
        let holdings: [LeaseStore.Holding]
        let replicas: [LeaseStore.Presence]
        do throws(StoreError) {
            replicas = try await LeaseStore.replicas(in: master, pool, timeout: patience)
            holdings = try await LeaseStore.holdings(of: nil, in: master, pool, patience)
        } catch {
            // Without the tables there are no replicas; migrations are told of elsewhere.
            guard configuration.replica.isShared else { return }
            add(
                .fail(
                    subject,
                    "the leases cannot be read: \(error)",
                    cure: "run scada-ingestion migrate --master-only",
                    .service
                )
            )
            return
        }
        for finding in Self.replicaFindings(replicas, holdings, configuration.replica) { add(finding) }
    }

    static func replicaFindings(
        _ replicas: [LeaseStore.Presence],
        _ holdings: [LeaseStore.Holding],
        _ settings: Settings.Replica
    ) -> [Finding] {
        let subject = "replicas"
        let live = replicas.filter(\.isLive)
        guard settings.isShared else {
            guard !live.isEmpty else { return [] }
            return [
                .fail(
                    subject,
                    "\(live.map(\.replicaID).joined(separator: ", ")) share the connections, and REPLICA_ID is not set: this "
                        + "daemon would run all of them a second time",
                    cure: "set REPLICA_ID, or end the others",
                    .configuration
                )
            ]
        }
        var findings: [Finding] = []
        let owned = Dictionary(grouping: holdings.filter(\.isLive), by: \.owner)
        for replica in live {
            let connections = owned[replica.replicaID] ?? []
            let tags = connections.reduce(0) { $0 + $1.report.tags }
            findings.append(
                .ok(
                    subject,
                    "\(replica.replicaID) holds \(connections.count.counted("connection")) with \(tags.counted("tag"))"
                )
            )
        }
        let free = holdings.count { !$0.isLive }
        if free > 0 {
            findings.append(
                .warn(
                    subject,
                    "\(free.counted("connection")) \(free == 1 ? "has" : "have") no replica now",
                    cure: live.isEmpty ? "start a replica" : "look again after LEASE_MS"
                )
            )
        }
        if live.isEmpty { findings.append(.ok(subject, "none is running; this one would be \(settings.identity)")) }
        return findings
    }
}
