/// How many readings came of each tag of a connection. Any thread.
package struct TagCounts: Sendable {
    /// Identifies the connection's run: labels rendered for it stay good while it does.
    package let id: ObjectIdentifier
    /// By handle; nil where a handle stands for no tag.
    package let keys: [TagKey?]
    let counts: TagTable.Counts

    package func value(_ handle: Int) -> UInt64 { counts.value(handle) }

    /// All counts by handle, as many as there are keys.
    func copy(into values: inout [UInt64]) { counts.copy(keys.count, into: &values) }
}
