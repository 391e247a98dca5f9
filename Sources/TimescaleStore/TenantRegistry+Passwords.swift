package import FoundationEssentials

extension TenantRegistry {
    /// A password as it stands in `scada_connections`. Its description leaves the text out.
    package struct StoredPassword: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
        package var connection: UUID
        package var text: String

        package init(connection: UUID, text: String) {
            self.connection = connection
            self.text = text
        }

        package var description: String { "password of connection \(connection.uuidString.lowercased())" }
        package var customMirror: Mirror { Mirror(self, children: ["connection": connection]) }
    }

    /// The passwords of all connections that have one, disabled and deleted ones too: those may come back. By id; rows whose
    /// id is not a UUID are left out, since nothing can run them.
    package func passwords(
        of tenant: DatabaseURL,
        timeout: Duration = .seconds(60)
    ) async throws(StoreError) -> [StoredPassword] {
        try await perform(tenant, timeout) { (connection) throws(StoreError) in
            let rows = try connection.execute(
                "SELECT id::text, password FROM scada_connections WHERE coalesce(password, '') <> '' ORDER BY id"
            )
            return (0..<rows.rowCount).compactMap { row in
                guard let id = rows.string(row, 0).flatMap({ UUID(uuidString: $0) }), let text = rows.string(row, 1)
                else {
                    return nil
                }
                return StoredPassword(connection: id, text: text)
            }
        }
    }
}
