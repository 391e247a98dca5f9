extension TenantRegistry {
    /// Adds an active tenant to the master database.
    /// - Throws: ``StoreError`` with code `data` when its id, or a slug that must be unique, exists already.
    package func add(
        _ tenant: TenantRecord,
        master: DatabaseURL,
        timeout: Duration = .seconds(30)
    ) async throws(StoreError) {
        try await perform(master, timeout) { (connection) throws(StoreError) in
            _ = try connection.query(
                """
                INSERT INTO tenants (id, slug, name, database_url, status, created_at, updated_at)
                VALUES ($1, $2, $3, $4, 'ACTIVE', now(), now())
                """,
                [
                    .uuid(tenant.id), tenant.slug.map { .text($0) } ?? .null, tenant.name.map { .text($0) } ?? .null,
                    .text(tenant.url.rawValue),
                ]
            )
        }
    }
}
