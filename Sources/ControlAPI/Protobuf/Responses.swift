import CProtobufC
import CScadaProto
import FoundationEssentials

// Answers: values into wire bytes, by way of protoc-c structs in an arena that is gone when `encoded` returns.

extension ReadingsPage {
    func encoded() -> GRPCMessage { encoded(readings[...], token: nextPageToken) }

    /// Some of the readings as a message of their own.
    func encoded(_ part: ArraySlice<Reading>, token: String?) -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__QueryReadingsResponse.self) { message in
            message.n_readings = part.count
            message.readings = arena.list(part.count) { index in
                let reading = part[part.startIndex + index]
                return arena.message(Scada__Reading.self) { reading.fill(&$0, arena) }
            }
            if let token { message.next_page_token = arena.string(token) }
        }
        return arena.serialize(message)
    }

    /// The page as messages of at most about `maxBytes`; the token goes with the last.
    func encodedParts(maxBytes: Int) -> some Sequence<GRPCMessage> {
        var start = readings.startIndex
        var isDone = false
        return AnyIterator {
            guard !isDone else { return nil }
            var end = start
            var bytes = 0
            while end < readings.endIndex, end == start || bytes + readings[end].encodedSize <= maxBytes {
                bytes += readings[end].encodedSize
                end += 1
            }
            isDone = end == readings.endIndex
            defer { start = end }
            return encoded(readings[start..<end], token: isDone ? nextPageToken : nil)
        }
    }
}

extension Reading {
    fileprivate func fill(_ message: inout Scada__Reading, _ arena: MessageArena) {
        message.well_id = arena.string(wellID)
        message.tag_node_id = arena.string(tagNodeID)
        message.timestamp = timestampMicros.flooredSeconds
        message.timestamp_micros = timestampMicros
        message.has_value = value == nil ? 0 : 1
        message.value = value ?? 0
        message.quality = quality.cString
        message.status_code = statusCode
        if !valueText.isEmpty { message.value_text = arena.string(valueText) }
        message.min = min
        message.max = max
        message.count = count
    }
}

extension ReadingQuality {
    /// Texts of static life.
    fileprivate var cString: UnsafeMutablePointer<CChar> {
        let text: StaticString =
            switch self {
            case .good: "Good"
            case .uncertain: "Uncertain"
            case .bad: "Bad"
            }
        // protoc-c declares its strings mutable; nothing writes to them while they are packed.
        return UnsafeMutableRawPointer(mutating: text.utf8Start).assumingMemoryBound(to: CChar.self)
    }
}

extension Int64 {
    fileprivate var flooredSeconds: Int64 {
        let (seconds, rest) = quotientAndRemainder(dividingBy: 1_000_000)
        return rest < 0 ? seconds - 1 : seconds
    }
}

extension Duration {
    fileprivate var wholeMillis: Int64 {
        let (seconds, attoseconds) = components
        return seconds.multipliedReportingOverflow(by: 1_000).partialValue &+ attoseconds / 1_000_000_000_000_000
    }

    fileprivate var fractionalMillis: Double {
        Double(components.seconds) * 1_000 + Double(components.attoseconds) / 1e15
    }
}

extension AggregatorStats {
    func encoded(tenantID: UUID) -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__GetAggregatorStatsResponse.self) { message in
            message.tenant_id = arena.string(tenantID)
            message.buffer_size = Int32(clamping: bufferSize)
            message.time_since_last_flush_ms = timeSinceLastFlush?.wholeMillis ?? -1
            message.journal_bytes = journalBytes
            message.backlog_readings = backlogReadings
            message.oldest_unstored_age_ms = oldestUnstoredAge.wholeMillis
        }
        return arena.serialize(message)
    }
}

extension CommandResult {
    func encodedAdd() -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__AddConnectionResponse.self) { message in
            message.success = success ? 1 : 0
            message.error = arena.string(error)
        }
        return arena.serialize(message)
    }

    func encodedRemove() -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__RemoveConnectionResponse.self) { message in
            message.success = success ? 1 : 0
            message.error = arena.string(error)
        }
        return arena.serialize(message)
    }
}

extension DaemonHealth {
    func encoded() -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__HealthCheckResponse.self) { message in
            message.status = arena.string(status.rawValue)
            message.active_connections = Int32(clamping: activeConnections)
            message.active_tenants = Int32(clamping: activeTenants)
            message.version = arena.string(version)
            message.n_tenants = tenants.count
            message.tenants = arena.list(tenants.count) { index in
                arena.message(Scada__TenantHealth.self) { tenants[index].fill(&$0, arena) }
            }
        }
        return arena.serialize(message)
    }
}

extension TenantHealth {
    fileprivate func fill(_ message: inout Scada__TenantHealth, _ arena: MessageArena) {
        message.tenant_id = arena.string(tenantID)
        message.name = arena.string(name)
        message.status = arena.string(status.rawValue)
        message.reason = arena.string(reason)
        message.connections_total = Int32(clamping: connectionsTotal)
        message.connections_active = Int32(clamping: connectionsActive)
        message.database_reachable = isDatabaseReachable ? 1 : 0
        message.backlog_readings = backlogReadings
        message.oldest_unstored_age_ms = oldestUnstoredAge.wholeMillis
    }
}

extension ConnectionsPage {
    func encoded() -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__ListConnectionsResponse.self) { message in
            message.n_connections = connections.count
            message.connections = arena.list(connections.count) { index in
                arena.message(Scada__ConnectionStatus.self) { connections[index].fill(&$0, arena) }
            }
            message.next_page_token = arena.string(nextPageToken ?? "")
        }
        return arena.serialize(message)
    }
}

extension ConnectionStatus {
    fileprivate func fill(_ message: inout Scada__ConnectionStatus, _ arena: MessageArena) {
        message.connection_id = arena.string(connectionID)
        message.tenant_id = arena.string(tenantID)
        message.name = arena.string(name)
        message.endpoint_url = arena.string(endpointURL)
        message.security_mode = arena.string(securityMode)
        message.security_policy = arena.string(securityPolicy)
        message.state = arena.string(state)
        message.state_since_micros = stateSinceMicros ?? 0
        message.last_error = arena.string(lastError)
        message.last_error_at_micros = lastErrorAtMicros ?? 0
        message.tags_total = Int32(clamping: tagsTotal)
        message.tags_bad = Int32(clamping: tagsBad)
        message.readings_received = readingsReceived
        message.last_reading_at_micros = lastReadingAtMicros ?? 0
        message.reconnects = reconnects
        message.publishing_interval_ms = publishingIntervalMillis
        message.is_enabled = isEnabled ? 1 : 0
        message.owner = arena.string(owner)
    }
}

extension ConnectionTestReport {
    func encoded() -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__TestConnectionResponse.self) { message in
            message.success = success ? 1 : 0
            message.error = arena.string(error)
            message.failed_step = arena.string(failedStep)
            message.connect_ms = connectTime.fractionalMillis
            message.n_endpoints = endpoints.count
            message.endpoints = arena.list(endpoints.count) { index in
                arena.message(Scada__EndpointInfo.self) { endpoints[index].fill(&$0, arena) }
            }
            message.application_name = arena.string(applicationName)
            message.application_uri = arena.string(applicationURI)
            message.product_name = arena.string(productName)
            message.manufacturer = arena.string(manufacturer)
            message.software_version = arena.string(softwareVersion)
            message.limits = arena.message(Scada__ServerLimits.self) { limits.fill(&$0) }
            message.clock_offset_ms = clockOffsetMillis
        }
        return arena.serialize(message)
    }
}

extension EndpointDetails {
    fileprivate func fill(_ message: inout Scada__EndpointInfo, _ arena: MessageArena) {
        message.endpoint_url = arena.string(endpointURL)
        message.security_mode = arena.string(securityMode)
        message.security_policy = arena.string(securityPolicy)
        message.n_user_token_types = userTokenTypes.count
        message.user_token_types = arena.list(userTokenTypes.count) { arena.string(userTokenTypes[$0]) }
        message.certificate_thumbprint = arena.string(certificateThumbprint)
        message.certificate_sha256 = arena.string(certificateSHA256)
        message.certificate_subject = arena.string(certificateSubject)
        message.certificate_not_before_micros = certificateNotBeforeMicros ?? 0
        message.certificate_not_after_micros = certificateNotAfterMicros ?? 0
        message.certificate_trusted = isCertificateTrusted ? 1 : 0
        message.security_level = UInt32(securityLevel)
    }
}

extension ServerLimits {
    fileprivate func fill(_ message: inout Scada__ServerLimits) {
        message.max_monitored_items_per_call = maxMonitoredItemsPerCall
        message.max_nodes_per_read = maxNodesPerRead
        message.max_nodes_per_browse = maxNodesPerBrowse
        message.max_message_size = maxMessageSize
        message.max_chunk_count = maxChunkCount
        message.min_sampling_interval_ms = minSamplingIntervalMillis
        message.max_sessions = maxSessions
        message.max_subscriptions = maxSubscriptions
        message.max_monitored_items = maxMonitoredItems
        message.history_read = historyRead ? 1 : 0
    }
}

extension BrowsePage {
    func encoded() -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__BrowseNodesResponse.self) { message in
            message.n_nodes = nodes.count
            message.nodes = arena.list(nodes.count) { index in
                arena.message(Scada__BrowsedNode.self) { nodes[index].fill(&$0, arena) }
            }
            message.next_page_token = arena.string(nextPageToken ?? "")
        }
        return arena.serialize(message)
    }
}

extension BrowsedNode {
    fileprivate func fill(_ message: inout Scada__BrowsedNode, _ arena: MessageArena) {
        message.node_id = arena.string(nodeID)
        message.parent_node_id = arena.string(parentNodeID)
        message.browse_path = arena.string(browsePath)
        message.display_name = arena.string(displayName)
        message.node_class = arena.string(nodeClass)
        message.description = arena.string(description)
        message.has_children = hasChildren ? 1 : 0
        message.readable = isReadable ? 1 : 0
        message.history_readable = isHistoryReadable ? 1 : 0
        message.value = arena.string(value)
        message.quality = arena.string(quality)
        if let dataType {
            message.mapping = arena.message(Scada__TagMapping.self) { mapping in
                mapping.node_id = arena.string(nodeID)
                mapping.data_type = arena.string(dataType)
                mapping.name = arena.string(displayName)
                mapping.unit = arena.string(unit)
            }
        }
    }
}

extension GapsPage {
    func encoded() -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Scada__ListGapsResponse.self) { message in
            message.n_gaps = gaps.count
            message.gaps = arena.list(gaps.count) { index in
                arena.message(Scada__Gap.self) { gaps[index].fill(&$0, arena) }
            }
            message.next_page_token = arena.string(nextPageToken ?? "")
        }
        return arena.serialize(message)
    }
}

extension Gap {
    fileprivate func fill(_ message: inout Scada__Gap, _ arena: MessageArena) {
        message.gap_id = arena.string(gapID)
        message.connection_id = arena.string(connectionID)
        message.tag_node_id = arena.string(tagNodeID ?? "")
        message.started_at_micros = startedAtMicros
        message.ended_at_micros = endedAtMicros ?? 0
        message.cause = arena.string(cause)
        message.readings_lost = readingsLost ?? 0
        message.readings_lost_known = readingsLost == nil ? 0 : 1
        message.healed_at_micros = healedAtMicros ?? 0
        message.readings_recovered = readingsRecovered
    }
}
