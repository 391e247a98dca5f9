import Logging
import NIOCore
import OPCUACodec

/// Structures whose types only the server knows: asked for when the first value of one comes, never before.
extension OPCUAConnection {
    /// For all questions about the types of one message together: notifications wait meanwhile.
    private static let patience = TimeAmount.seconds(5)

    /// Asks the server about structures; what it does not tell is remembered as undescribed for this session.
    func describeStructures(_ encodings: [NodeId]) async {
        var found = StructureTypes()
        if mayReadTypes {
            // Nobody to ask: this message's values stay base64, the next one asks again.
            guard failure == nil, session.machine.isActive, let channel = session.channel else { return }
            do throws(OPCUAClientError) {
                found = try await session.describe(encodings, until: .now() + Self.patience)
            } catch {
                // Some servers (WinCC) drop a connection that reads types. Whatever the reason was this time: values as
                // base64 are better than a connection that breaks at each of them.
                if channel.failure != nil, !isStopping { mayReadTypes = false }
                logger.warning(
                    "the types of structures cannot be read: their values are stored as base64",
                    metadata: ["error": "\(error)", "tries_again": "\(mayReadTypes ? "in the next session" : "never")"]
                )
            }
            // What belongs to another session by now is of no use.
            guard session.channel === channel, channel.failure == nil else { return }
            let missing = encodings.filter { found.encodings[$0] == nil }
            if !missing.isEmpty {
                logger.notice(
                    "the server does not describe a structure: its values are stored as base64",
                    metadata: ["encodings": "\(missing.prefix(10).map(\.description).joined(separator: ", "))"]
                )
            }
        }
        found.undescribed.formUnion(encodings.filter { found.encodings[$0] == nil })
        structures.merge(found)
        consumer.structuresDescribed(structures)
    }
}
