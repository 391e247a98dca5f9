import OPCUACodec

/// The SQL that makes a tenant read the simulated wells: one connection a server, one mapping a tag.
///
/// All ids follow from the seed, so that the same run registered twice changes nothing.
struct SeedSQL {
    var layouts: [FieldLayout]
    /// Readings a second over all servers.
    var rate: Double
    var host: String
    var port: Int
    /// Milliseconds.
    var publishingInterval: Int

    private static let rowsPerStatement = 500

    /// Hands the text over in pieces.
    func write(_ output: (String) -> Void) {
        let seed = layouts.first?.seed ?? 0
        output("-- Wells of scada-simulator, seed \(seed), for a tenant's database.\nBEGIN;\n")
        for (index, layout) in layouts.enumerated() {
            output(connection(index, layout))
            mappings(index, layout, output)
        }
        output("COMMIT;\n")
    }

    private func connection(_ index: Int, _ layout: FieldLayout) -> String {
        let name = "scada-simulator \(port + index)"
        return """
            INSERT INTO scada_connections
                (id, name, endpoint_url, security_mode, security_policy, publishing_interval_ms, is_enabled)
            VALUES ('\(id(.connection, index))', '\(name)', \(quoted("opc.tcp://\(host):\(port + index)")), 'None', \
            'None', \(publishingInterval), true)
            ON CONFLICT (id) DO UPDATE SET name = excluded.name, endpoint_url = excluded.endpoint_url,
                security_mode = excluded.security_mode, security_policy = excluded.security_policy,
                publishing_interval_ms = excluded.publishing_interval_ms, is_enabled = true, deleted_at = NULL,
                updated_at = now();

            """
    }

    private func mappings(_ index: Int, _ layout: FieldLayout, _ output: (String) -> Void) {
        let wells = layouts.reduce(0) { $0 + $1.wellCount }
        // Seconds between two values of a tag; a queue has to hold what comes in two publishing intervals.
        let interval = rate > 0 ? Double(wells * FieldLayout.tagsPerWell) / rate : 60
        let queue = max(10, Int((3 * Double(publishingInterval) / 1_000 / interval).rounded(.up)))
        let sampling = interval * 1_000 < Double(publishingInterval) ? 0 : publishingInterval
        var row = 0
        for tag in 0..<layout.tagCount {
            if row == 0 {
                output(
                    "INSERT INTO tag_mappings (id, connection_id, well_id, opc_node_id, data_type, name, unit,\n"
                        + "    sampling_interval_ms, queue_size, is_enabled) VALUES\n"
                )
            }
            let well = layout.wells.lowerBound + layout.well(ofTag: tag)
            let kind = layout.kind(ofTag: tag)
            let name = layout.name(ofWell: layout.well(ofTag: tag))
            output(
                "('\(id(.tag, well * FieldLayout.tagsPerWell + kind.rawValue))', '\(id(.connection, index))', "
                    + "'\(id(.well, well))', 'ns=2;s=\(layout.identifier(ofTag: tag))', 'Double', "
                    + "'\(name) \(kind.name)', '\(kind.unit)', \(sampling), \(queue), true)"
            )
            row += 1
            if row == Self.rowsPerStatement || tag == layout.tagCount - 1 {
                output("\n" + Self.onConflict)
                row = 0
            } else {
                output(",\n")
            }
        }
    }

    private static let onConflict = """
        ON CONFLICT (id) DO UPDATE SET connection_id = excluded.connection_id, well_id = excluded.well_id,
            opc_node_id = excluded.opc_node_id, data_type = excluded.data_type, name = excluded.name,
            unit = excluded.unit, sampling_interval_ms = excluded.sampling_interval_ms,
            queue_size = excluded.queue_size, is_enabled = true, deleted_at = NULL, updated_at = now();

        """

    enum Kind: UInt64 { case connection = 1, well, tag }

    /// A version 8 UUID (RFC 9562, 5.8) out of the seed, the kind and the number.
    func id(_ kind: Kind, _ number: Int) -> String {
        let seed = layouts.first?.seed ?? 0
        let base = SeededGenerator.mix(seed ^ kind.rawValue << 56) &+ UInt64(number)
        let high = SeededGenerator.mix(base)
        let low = SeededGenerator.mix(high ^ base)
        return Guid(
            data1: UInt32(truncatingIfNeeded: high >> 32),
            data2: UInt16(truncatingIfNeeded: high >> 16),
            data3: UInt16(truncatingIfNeeded: high & 0x0FFF | 0x8000),
            data4: low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
        ).description
    }

    private func quoted(_ text: String) -> String { "'" + text.replacing("'", with: "''") + "'" }
}
