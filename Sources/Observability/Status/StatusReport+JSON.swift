extension StatusReport {
    /// UTF-8 JSON; times end in `_micros`, microseconds since 1970; null = never, unknown or not at all.
    package func json(history: StatusHistory = StatusHistory()) -> [UInt8] {
        var json = JSONWriter()
        json.object { json in
            json.field("version", version)
            json.field("replica", replica)
            if let sharing {
                json.list("replicas", sharing.replicas) { $0.string($1) }
                json.field("leases_held", sharing.held)
                json.field("leases_trouble", sharing.trouble)
            }
            json.field("started_at_micros", startedAt)
            json.field("generated_at_micros", generatedAt)
            json.field("ready", notReadyReasons.isEmpty)
            json.list("not_ready_reasons", notReadyReasons) { $0.string($1) }
            json.list("problems", problems) { $1.write(to: &$0) }
            json.field("readings_received", readingsReceived)
            json.field("readings_stored", readingsStored)
            json.list("tenants", tenants) { $1.write(to: &$0) }
            json.list("connections", connections) { $1.write(to: &$0) }
            json.field("bad_tags_total", badTagsTotal)
            json.list("bad_tags", badTags) { $1.write(to: &$0) }
            json.field("silent_tags_total", silentTagsTotal)
            json.list("silent_tags", silentTags) { $1.write(to: &$0) }
            json.list("gaps", gaps) { $1.write(to: &$0) }
            json.list("certificates", certificates) { $1.write(to: &$0) }
            json.key("history")
            history.write(to: &json)
        }
        return json.bytes
    }
}

extension JSONWriter {
    mutating func field(_ name: String, _ value: String) {
        key(name)
        string(value)
    }

    mutating func field(_ name: String, _ value: some BinaryInteger) {
        key(name)
        number(value)
    }

    mutating func field(_ name: String, _ value: Bool) {
        key(name)
        bool(value)
    }

    mutating func field(_ name: String, _ value: String?) {
        key(name)
        if let value { string(value) } else { null() }
    }

    mutating func field(_ name: String, _ value: Int64?) {
        key(name)
        if let value { number(value) } else { null() }
    }

    mutating func field(_ name: String, _ value: Double?) {
        key(name)
        if let value { number(value) } else { null() }
    }

    mutating func list<Element>(
        _ name: String,
        _ elements: [Element],
        _ write: (inout JSONWriter, Element) -> Void
    ) {
        key(name)
        array { json in
            for element in elements { write(&json, element) }
        }
    }
}

extension StatusProblem {
    fileprivate func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("severity", severity.rawValue)
            json.field("subject", subject)
            json.field("message", message)
            json.field("advice", advice)
            json.field("since_micros", since)
        }
    }
}

extension StatusReport.Trouble {
    fileprivate func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("message", message)
            json.field("advice", advice)
            json.field("since_micros", since)
        }
    }
}

extension StatusReport.Tenant {
    fileprivate func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("name", name)
            json.field("database_reachable", isDatabaseReachable)
            json.field("database", database)
            json.key("trouble")
            if let trouble { trouble.write(to: &json) } else { json.null() }
            json.field("connections_total", connectionsTotal)
            json.field("connections_active", connectionsActive)
            json.field("tags_total", tagsTotal)
            json.field("tags_bad", tagsBad)
            json.field("buffer_readings", bufferReadings)
            json.field("backlog_readings", backlogReadings)
            json.field("oldest_unstored_at_micros", oldestUnstoredAt)
            json.field("journal_bytes", journalBytes)
            json.field("journal_limit_bytes", journalLimitBytes)
            json.field("intake_stopped", isIntakeStopped)
            json.field("last_stored_at_micros", lastStoredAt)
            json.field("readings_stored", readingsStored)
            json.field("readings_rejected", readingsRejected)
        }
    }
}

extension StatusReport.Connection {
    fileprivate func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("id", id)
            json.field("tenant", tenant)
            json.field("name", name)
            json.field("endpoint_url", endpointURL)
            json.field("security", security)
            json.field("state", state.rawValue)
            json.field("state_since_micros", stateSince)
            json.key("last_error")
            if let lastError { lastError.write(to: &json) } else { json.null() }
            json.field("tags_total", tagsTotal)
            json.field("tags_bad", tagsBad)
            json.field("tags_silent", tagsSilent)
            json.field("readings_received", readingsReceived)
            json.field("last_reading_at_micros", lastReadingAt)
            json.field("reconnects", reconnects)
        }
    }
}

extension StatusReport.BadTag {
    fileprivate func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("tenant", tenant)
            json.field("connection", connection)
            json.field("node_id", nodeID)
            json.field("reason", reason)
            json.field("since_micros", since)
        }
    }
}

extension StatusReport.SilentTag {
    fileprivate func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("tenant", tenant)
            json.field("connection", connection)
            json.field("node_id", nodeID)
            json.field("quiet_micros", quietMicroseconds)
            json.field("longest_quiet_before_micros", longestBeforeMicroseconds)
        }
    }
}

extension StatusReport.Gap {
    fileprivate func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("tenant", tenant)
            json.field("connection", connection)
            json.field("node_id", nodeID)
            json.field("started_at_micros", startedAt)
            json.field("ended_at_micros", endedAt)
            json.field("cause", cause)
            json.field("readings_lost", readingsLost)
            json.field("healed_at_micros", healedAt)
        }
    }
}

extension StatusReport.Certificate {
    fileprivate func write(to json: inout JSONWriter) {
        json.object { json in
            json.field("role", role)
            json.field("subject", subject)
            json.field("expires_at_micros", expiresAt)
        }
    }
}
