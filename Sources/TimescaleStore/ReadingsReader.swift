/// Reads readings and roll-ups of a tenant, page by page.
///
/// Paging is by key, never by OFFSET over the range: a page costs what its rows cost wherever it lies. Every page is a
/// read-only transaction of its own with a statement timeout, so that a slow reader holds neither a connection nor old row
/// versions.
package struct ReadingsReader: Sendable {
    private let pool: ConnectionPool
    private let capabilities = CapabilityCache()

    package init(pool: ConnectionPool) { self.pool = pool }

    /// One page.
    ///
    /// Rows are ordered by timestamp, then tag. Rows of one tag with the same timestamp are ordered by their other columns,
    /// and the token counts how many of them were given out, so that none is skipped or repeated.
    ///
    /// - Parameters:
    ///   - limit: 1 to 10,000.
    ///   - maxBytes: a page ends early, with a token, when its rows would be larger together than this; it has one row at
    ///     least. A row counts as the bytes of its tag and text and `bytesPerRow`.
    ///   - timeout: for everything, the statement on the server included.
    /// - Throws: `invalidArgument` for a range backwards or a limit out of range, `invalidPageToken`, `timeout`,
    ///   `cancelled`, and what the pool throws.
    package func page(
        _ query: ReadingsQuery,
        in url: DatabaseURL,
        limit: Int = ReadingsQuery.largestPage,
        maxBytes: Int = .max,
        bytesPerRow: Int = 0,
        pageToken: String? = nil,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) -> ReadingsPage {
        guard (1...ReadingsQuery.largestPage).contains(limit) else {
            throw StoreError(.invalidArgument, "limit must be 1 to \(ReadingsQuery.largestPage), it is \(limit)")
        }
        guard query.startMicros <= query.endMicros else {
            throw StoreError(.invalidArgument, "the range ends before it starts")
        }
        guard !query.tagNodeIDs.contains(where: { $0.utf8.contains(0) }) else {
            throw StoreError(.invalidArgument, "a tag_node_id with a NUL character")
        }
        let scope = query.scope
        let start = try pageToken.map { (text) throws(StoreError) in try PageToken(text, scope: scope) }
        let capabilities = capabilities
        return try await pool.withConnection(to: url, for: .query, timeout: timeout) { connection in
            var ability = Capabilities()
            if query.resolution != .raw { ability = try capabilities.of(connection) }
            let statement = ReadingsStatement(query, ability, limit: limit, maxTextBytes: maxBytes, after: start)
            let result = try connection.transaction(readOnly: true, statementTimeout: timeout) {
                (connection) throws(StoreError) in
                try connection.query(statement.sql, statement.parameters, binary: true)
            }
            var decoder = ReadingsDecoder(wellID: query.wellID, isRollup: query.resolution != .raw)
            var page = try decoder.decode(result, limit: limit, maxBytes: maxBytes, bytesPerRow: bytesPerRow)
            let hasMore = result.rowCount > page.readings.count
            page.nextPageToken = decoder.nextToken(after: start, scope: scope, more: hasMore)
            return page
        }
    }

    /// The whole range as pages, one in memory at a time: the next page is fetched when it is asked for.
    package func pages(
        _ query: ReadingsQuery,
        in url: DatabaseURL,
        pageSize: Int = ReadingsQuery.largestPage,
        timeout: Duration = .seconds(30)
    ) -> ReadingsPages {
        ReadingsPages(reader: self, query: query, url: url, pageSize: pageSize, timeout: timeout)
    }
}

/// A range of any length in constant memory. The consumer's pace is the database's: nothing is fetched ahead.
package struct ReadingsPages: AsyncSequence, Sendable {
    package typealias Element = [ReadingRow]
    package typealias Failure = StoreError

    let reader: ReadingsReader
    let query: ReadingsQuery
    let url: DatabaseURL
    let pageSize: Int
    let timeout: Duration

    package func makeAsyncIterator() -> Iterator { Iterator(pages: self) }

    package struct Iterator: AsyncIteratorProtocol {
        let pages: ReadingsPages
        private var token: String?
        private var isDone = false

        init(pages: ReadingsPages) { self.pages = pages }

        package mutating func next(isolation actor: isolated (any Actor)?) async throws(StoreError) -> [ReadingRow]? {
            if isDone { return nil }
            let page = try await pages.reader.page(
                pages.query,
                in: pages.url,
                limit: pages.pageSize,
                pageToken: token,
                timeout: pages.timeout
            )
            token = page.nextPageToken
            isDone = token == nil
            return page.readings.isEmpty ? nil : page.readings
        }
    }
}
