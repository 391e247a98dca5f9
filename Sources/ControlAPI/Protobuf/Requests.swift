import CProtobufC
import CScadaProto
import FoundationEssentials

// Requests: protoc-c structs into checked values. Nothing here keeps a pointer.

extension ReadingsQuery {
    /// `streamed`: StreamReadings' page sizes.
    init(_ message: Scada__QueryReadingsRequest, streamed: Bool) throws(ControlError) {
        tenantID = try Validate.uuid("tenant_id", text(message.tenant_id))
        wellID = try Validate.uuid("well_id", text(message.well_id))
        range = try Validate.range(
            start: message.start_time,
            end: message.end_time,
            startMicros: message.start_time_micros,
            endMicros: message.end_time_micros
        )
        guard message.n_tag_node_ids <= Bounds.tagFilters else {
            throw .invalid(
                "tag_node_ids",
                "has \(message.n_tag_node_ids) entries, at most \(Bounds.tagFilters) are allowed"
            )
        }
        tagNodeIDs = []
        for (index, pointer) in elements(Int(message.n_tag_node_ids), message.tag_node_ids).enumerated() {
            tagNodeIDs.append(try NodeIDSyntax.check("tag_node_ids[\(index)]", text(pointer)))
        }
        limit = try Validate.limit(
            "limit",
            message.limit,
            cap: Bounds.readingsPerPage,
            default: streamed ? Bounds.readingsPerStreamedPage : Bounds.readingsPerPage
        )
        pageToken = try Validate.pageToken(text(message.page_token))
        guard let resolution = Resolution(rawValue: message.resolution.rawValue) else {
            throw .invalid("resolution", "\(message.resolution.rawValue) is not RAW, HOURLY, DAILY or MONTHLY")
        }
        self.resolution = resolution
        ascending = message.ascending != 0
        maxPageBytes = streamed ? Bounds.streamedPageBytes : Bounds.pageBytes
    }
}

extension ConnectionDefinition {
    init(_ message: Scada__AddConnectionRequest) throws(ControlError) {
        connectionID = try Validate.uuid("connection_id", text(message.connection_id))
        tenantID = try Validate.uuid("tenant_id", text(message.tenant_id))
        endpoint = try EndpointSyntax.settings(
            prefix: "",
            url: text(message.endpoint_url),
            mode: text(message.security_mode),
            policy: text(message.security_policy),
            username: text(message.username),
            password: text(message.password)
        )
        name = try Validate.length("name", text(message.name), atMost: Bounds.nameBytes)
        let interval = message.publishing_interval_ms
        guard interval == 0 || (Bounds.minPublishingIntervalMillis...Bounds.intervalMillis).contains(Int(interval))
        else {
            throw .invalid(
                "publishing_interval_ms",
                "\(interval) is not between \(Bounds.minPublishingIntervalMillis) and \(Bounds.intervalMillis) (0 = default)"
            )
        }
        publishingIntervalMillis = interval == 0 ? nil : Int(interval)
        guard message.n_tags <= Bounds.tags else {
            throw .invalid("tags", "has \(message.n_tags) entries, at most \(Bounds.tags) are allowed")
        }
        tags = []
        tags.reserveCapacity(Int(message.n_tags))
        var seen: [UUID: Int] = [:]
        for (index, pointer) in elements(Int(message.n_tags), message.tags).enumerated() {
            let tag: TagDefinition
            do {
                tag = try TagDefinition(pointer.pointee)
            } catch {
                throw .invalid("tags[\(index)].\(error.field)", error.problem)
            }
            if let first = seen.updateValue(index, forKey: tag.tagID) {
                throw .invalid("tags[\(index)].tag_id", "is the same as tags[\(first)].tag_id")
            }
            tags.append(tag)
        }
    }
}

/// A problem of one tag; the caller knows the tag's place in the list.
private struct TagProblem: Error {
    var field: String
    var problem: String
}

extension TagDefinition {
    fileprivate init(_ message: Scada__TagMapping) throws(TagProblem) {
        do {
            tagID = try Validate.uuid("tag_id", text(message.tag_id))
            wellID = try Validate.uuid("well_id", text(message.well_id))
            nodeID = try NodeIDSyntax.check("node_id", text(message.node_id))
            dataType = try Validate.length("data_type", text(message.data_type), atMost: Bounds.dataTypeBytes)
            name = try Validate.length("name", text(message.name), atMost: Bounds.nameBytes)
            unit = try Validate.length("unit", text(message.unit), atMost: Bounds.unitBytes)
        } catch {
            let field = error.field ?? "tag"
            throw TagProblem(field: field, problem: String(error.message.dropFirst(field.count + 2)))
        }
        let sampling = message.sampling_interval_ms
        guard sampling == -1 || (0...Double(Bounds.intervalMillis)).contains(sampling) else {
            throw TagProblem(
                field: "sampling_interval_ms",
                problem: "\(sampling) is neither -1 nor between 0 and \(Bounds.intervalMillis)"
            )
        }
        samplingIntervalMillis = sampling == 0 ? nil : sampling
        guard message.queue_size <= Bounds.queueSize else {
            throw TagProblem(field: "queue_size", problem: "\(message.queue_size) is above \(Bounds.queueSize)")
        }
        queueSize = message.queue_size == 0 ? nil : message.queue_size
        guard message.deadband_absolute >= 0, message.deadband_absolute.isFinite else {
            throw TagProblem(
                field: "deadband_absolute",
                problem: "\(message.deadband_absolute) is not a number from 0 on"
            )
        }
        guard (0...100).contains(message.deadband_percent) else {
            throw TagProblem(field: "deadband_percent", problem: "\(message.deadband_percent) is not between 0 and 100")
        }
        guard message.deadband_absolute == 0 || message.deadband_percent == 0 else {
            throw TagProblem(field: "deadband_percent", problem: "does not go together with deadband_absolute")
        }
        deadbandAbsolute = message.deadband_absolute == 0 ? nil : message.deadband_absolute
        deadbandPercent = message.deadband_percent == 0 ? nil : message.deadband_percent
    }
}

extension ConnectionsQuery {
    init(_ message: Scada__ListConnectionsRequest) throws(ControlError) {
        tenantID = try Validate.uuid("tenant_id", text(message.tenant_id))
        connectionID = try Validate.optionalUUID("connection_id", text(message.connection_id))
        limit = try Validate.limit("limit", message.limit, cap: Bounds.itemsPerPage, default: Bounds.itemsPerPage)
        pageToken = try Validate.pageToken(text(message.page_token))
    }
}

extension ConnectionTarget {
    init(_ pointer: UnsafeMutablePointer<Scada__ConnectionTarget>?) throws(ControlError) {
        guard let message = pointer?.pointee else { throw .invalid("target", "is required") }
        let settings = [
            ("endpoint_url", text(message.endpoint_url)), ("security_mode", text(message.security_mode)),
            ("security_policy", text(message.security_policy)), ("username", text(message.username)),
            ("password", text(message.password)),
        ]
        if let stored = try Validate.optionalUUID("target.connection_id", text(message.connection_id)) {
            // Otherwise a stored password could be sent to a server of the caller's choice.
            if let extra = settings.first(where: { !$0.1.isEmpty }) {
                throw .invalid("target.\(extra.0)", "does not go together with target.connection_id")
            }
            self = .stored(stored)
        } else {
            self = .endpoint(
                try EndpointSyntax.settings(
                    prefix: "target.",
                    url: settings[0].1,
                    mode: settings[1].1,
                    policy: settings[2].1,
                    username: settings[3].1,
                    password: settings[4].1
                )
            )
        }
    }
}

extension ConnectionProbe {
    init(_ message: Scada__TestConnectionRequest) throws(ControlError) {
        tenantID = try Validate.uuid("tenant_id", text(message.tenant_id))
        target = try ConnectionTarget(message.target)
        timeout = try Validate.timeout(message.timeout_ms)
    }
}

extension BrowseQuery {
    init(_ message: Scada__BrowseNodesRequest) throws(ControlError) {
        tenantID = try Validate.uuid("tenant_id", text(message.tenant_id))
        target = try ConnectionTarget(message.target)
        let start = text(message.node_id)
        nodeID = start.isEmpty ? "i=85" : try NodeIDSyntax.check("node_id", start)
        maxDepth = try Validate.limit("max_depth", message.max_depth, cap: Bounds.browseDepth, default: 1)
        limit = try Validate.limit("limit", message.limit, cap: Bounds.nodesPerPage, default: 1_000)
        pageToken = try Validate.pageToken(text(message.page_token))
        variablesOnly = message.variables_only != 0
        filter = try Validate.length("filter", text(message.filter), atMost: Bounds.filterBytes)
        readValues = message.read_values != 0
        timeout = try Validate.timeout(message.timeout_ms)
    }
}

extension GapsQuery {
    init(_ message: Scada__ListGapsRequest) throws(ControlError) {
        tenantID = try Validate.uuid("tenant_id", text(message.tenant_id))
        connectionID = try Validate.optionalUUID("connection_id", text(message.connection_id))
        range = try Validate.range(
            start: message.start_time,
            end: message.end_time,
            startMicros: message.start_time_micros,
            endMicros: message.end_time_micros
        )
        unhealedOnly = message.unhealed_only != 0
        limit = try Validate.limit("limit", message.limit, cap: Bounds.itemsPerPage, default: Bounds.itemsPerPage)
        pageToken = try Validate.pageToken(text(message.page_token))
    }
}
