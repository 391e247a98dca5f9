internal import FoundationEssentials

/// The SQL of one page.
///
/// Values are parameters; the text depends on shape alone. Tag order is byte order (COLLATE "C"): cheap, and the same in
/// every database. The plain comparison with the key's timestamp beside the exact one is what index, chunks and partitions
/// are chosen by.
struct ReadingsStatement {
    private(set) var sql = ""
    private(set) var parameters: [PGParameter] = []

    /// - Parameter maxTextBytes: rows come until their texts are longer than this together, with the row that makes them so
    ///   and the next, which tells that there is more: what libpq holds in memory is bounded by it and two values.
    init(
        _ query: ReadingsQuery,
        _ ability: Capabilities,
        limit: Int,
        maxTextBytes: Int = .max,
        after token: PageToken?
    ) {
        let well = add(.uuid(query.wellID))
        let start = add(.timestamp(microsecondsSince2000: query.startMicros.microsecondsSince2000))
        let end = add(.timestamp(microsecondsSince2000: query.endMicros.microsecondsSince2000))
        let tags = query.tagNodeIDs.isEmpty ? nil : add(.textArray(query.tagNodeIDs))
        let time: String
        var conditions: [String]
        let columns: String
        var ties = ""
        let direction = query.ascending ? "ASC" : "DESC"
        let source: String
        switch query.resolution {
        case .raw:
            time = "\"timestamp\""
            columns = "\(time), tag_node_id, value, quality, status_code, value_text"
            source = "scada_readings"
            conditions = ["well_id = \(well)", "\(time) >= \(start)", "\(time) <= \(end)"]
            ties = ", value, quality COLLATE \"C\", status_code, value_text COLLATE \"C\""
        case .hourly, .daily, .monthly:
            time = "bucket"
            columns = "\(time), tag_node_id, avg, good_count, count, min, max"
            let unit = Self.unit(query.resolution)
            let first = "date_trunc('\(unit)', \(start)::timestamptz, 'UTC')"
            if ability.hasContinuousAggregates {
                source = "scada_readings_\(query.resolution.rawValue)"
                conditions = ["well_id = \(well)", "\(time) >= \(first)", "\(time) <= \(end)"]
            } else {
                source = Self.rollupOverRaw(unit: unit, well: well, first: first, end: end, tags: tags)
                conditions = []
            }
        }
        if let tags { conditions.append("tag_node_id = ANY (\(tags))") }
        var skipped: Int64 = 0
        var isSkipped = ""
        if let token {
            let instant = add(.timestamp(microsecondsSince2000: token.timestamp))
            let tag = add(.text(token.key))
            let beyond = query.ascending ? ">" : "<"
            conditions.append("\(time) \(beyond)= \(instant)")
            // A roll-up has one row of a key; of readings several may have it, and some of them been given out.
            let from = query.resolution == .raw ? beyond + "=" : beyond
            conditions.append("(\(time) \(beyond) \(instant) OR tag_node_id COLLATE \"C\" \(from) \(tag)::text)")
            if query.resolution == .raw {
                skipped = min(token.skip, .max - Int64(limit) - 1)
                isSkipped = "place <= \(skipped) AND \(time) = \(instant) AND tag_node_id COLLATE \"C\" = \(tag)::text"
            }
        }
        sql = "SELECT \(columns) FROM \(source)"
        if !conditions.isEmpty { sql += " WHERE " + conditions.joined(separator: " AND ") }
        sql += " ORDER BY \(time) \(direction), tag_node_id COLLATE \"C\" \(direction)\(ties)"
        sql += " LIMIT \(skipped + Int64(limit) + 1)"
        // Rows with the very key of the last page's end: those already given out, in the same order as then. Not by OFFSET:
        // they may have been deleted since, and it would leave out others instead.
        if skipped > 0 {
            sql = """
                SELECT \(columns) FROM (SELECT *, row_number() OVER () AS place FROM (\(sql)) AS page) AS numbered
                WHERE NOT (\(isSkipped))
                """
        }
        // A window without an order takes the rows as they come, and octet_length does not fetch long values.
        if query.resolution == .raw, maxTextBytes < .max {
            let bytes = "coalesce(octet_length(value_text), 0)"
            sql = """
                SELECT \(columns) FROM (
                    SELECT *, sum(\(bytes)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS before
                    FROM (\(sql)) AS page
                ) AS bounded WHERE coalesce(before, 0) <= \(add(.int(Int64(maxTextBytes))))
                """
        }
    }

    private mutating func add(_ parameter: PGParameter) -> String {
        parameters.append(parameter)
        return "$\(parameters.count)"
    }

    private static func unit(_ resolution: ReadingsQuery.Resolution) -> String {
        switch resolution {
        case .raw, .hourly: "hour"
        case .daily: "day"
        case .monthly: "month"
        }
    }

    /// What the roll-up views say, with the range put where partitions and the index can use it: a condition on the
    /// view's bucket would read the well's every row.
    private static func rollupOverRaw(unit: String, well: String, first: String, end: String, tags: String?) -> String {
        """
        (SELECT date_trunc('\(unit)', "timestamp", 'UTC') AS bucket, tag_node_id, avg(value) AS avg,
                count(*) FILTER (WHERE quality = 'Good') AS good_count, count(*) AS count, min(value) AS min,
                max(value) AS max
         FROM scada_readings
         WHERE well_id = \(well) AND "timestamp" >= \(first)
           AND "timestamp" < date_trunc('\(unit)', \(end)::timestamptz, 'UTC') + interval '1 \(unit)'
           \(tags.map { "AND tag_node_id = ANY (\($0))" } ?? "")
         GROUP BY 1, 2) AS rollup
        """
    }
}
