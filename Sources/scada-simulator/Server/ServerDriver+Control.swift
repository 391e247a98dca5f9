import NIOCore
import OPCUACodec

extension ServerDriver {
    /// Carries out a command that is about one server. On the event loop.
    func perform(_ command: ControlCommand) throws(ControlError) {
        setTime()
        switch command {
        case .drop: dropConnections()
        case .freeze: freeze(true)
        case .thaw: freeze(false)
        case .restart(let milliseconds): restart(downFor: .milliseconds(Int64(milliseconds)))
        case .loseSubscriptions: server.loseSubscriptions()
        case .limit(let limit, let value): server.limits.set(limit, value)
        case .resetLimits: server.limits = server.initialLimits
        case .announceLimits(let isOn): server.limits.areAnnounced = isOn
        case .moveNamespaces: server.space.moveNamespaces()
        case .removeNode(let node): server.remove(try tag(node))
        case .restoreNode(let node): server.space.removedTags.remove(try tag(node))
        case .refuseDeadband(let isOn): server.limits.refusesDeadband = isOn
        case .corrupt(let messages): messagesToCorrupt = messages
        case .corruptOneIn(let count): corruptOneIn = count
        case .dropOnTypes(let requests): server.typeRequestsToCut = requests
        case .serviceLevel(let level): server.serviceLevel = level
        case .stats, .quit: break
        }
    }

    private func tag(_ text: String) throws(ControlError) -> Int {
        var name = text
        if text.contains("=") {
            let id: NodeIdText
            do throws(NodeIdTextError) { id = try NodeIdText(parsing: text) } catch {
                throw ControlError("\"\(text)\": \(error)")
            }
            guard case .string(let identifier) = id.identifier else {
                throw ControlError("\"\(text)\" is no tag: tags have string ids")
            }
            name = identifier
        }
        guard case .tag(let tag)? = server.space.find(name) else { throw ControlError("there is no tag \"\(text)\"") }
        return tag
    }
}

extension ServerLimits {
    mutating func set(_ limit: ControlCommand.Limit, _ value: Int) {
        switch limit {
        case .items: itemsPerCall = value
        case .publish: publishRequests = value
        case .chunk: chunkSize = value
        case .message: messageSize = value
        case .sessions: sessions = value
        case .monitoredItemsPerSubscription: itemsPerSubscription = value
        case .nodes: nodesPerCall = value
        case .queue: queueSize = UInt32(clamping: value)
        case .notifications: notificationsPerMessage = value
        }
    }
}
