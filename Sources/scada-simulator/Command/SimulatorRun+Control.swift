import FoundationEssentials
import NIOCore

extension SimulatorRun {
    /// Carries out a line of the control port; returns the line to answer.
    func answer(
        _ line: String,
        _ servers: [Running],
        _ clock: RunClock,
        _ quitter: AsyncStream<Void>.Continuation
    ) async -> String {
        do {
            let addressed = try ControlCommand.parse(line)
            var targets = servers
            if let number = addressed.server {
                guard number <= servers.count else { throw ControlError("there are \(servers.count) servers") }
                targets = [servers[number - 1]]
            }
            switch addressed.command {
            case .quit: quitter.yield()
            case .stats(let tags):
                let summary = try await collect(targets, clock, since: 0)
                return tags ? try await withTags(summary, targets) : try summary.json()
            default: try await perform(addressed.command, targets)
            }
            return "ok"
        } catch {
            return "error: \(error)"
        }
    }

    /// A node belongs to one server; the others have not heard of it, which is an error only when all say so.
    private func perform(_ command: ControlCommand, _ targets: [Running]) async throws {
        var failure: (any Error)?
        var succeeded = 0
        for target in targets {
            do {
                try await target.loop.submit { try target.driver.value.perform(command) }.get()
                succeeded += 1
            } catch {
                failure = error
            }
        }
        if succeeded == 0, let failure { throw failure }
    }

    private struct TagCounts: Encodable {
        var published: UInt32
        var acknowledged: UInt32
        var dropped: UInt32
        var overwritten: UInt32
    }

    private struct WithTags: Encodable {
        var summary: Summary
        var tagCounts: [String: TagCounts]

        private enum Key: String, CodingKey { case tagCounts = "tag_counts" }

        func encode(to encoder: any Encoder) throws {
            try summary.encode(to: encoder)
            var container = encoder.container(keyedBy: Key.self)
            try container.encode(tagCounts, forKey: .tagCounts)
        }
    }

    /// The figures with those of every tag, as JSON.
    func withTags(_ summary: Summary, _ targets: [Running]) async throws -> String {
        var counts: [String: TagCounts] = [:]
        for target in targets {
            let (tags, layout) = try await target.loop.submit {
                let server = target.driver.value.server
                return (server.tagAccounting, server.configuration.layout)
            }.get()
            for tag in 0..<layout.tagCount {
                counts[layout.identifier(ofTag: tag)] = TagCounts(
                    published: tags.published[tag],
                    acknowledged: tags.acknowledged[tag],
                    dropped: tags.dropped[tag],
                    overwritten: tags.overwritten[tag]
                )
            }
        }
        return try Summary.json(WithTags(summary: summary, tagCounts: counts))
    }
}
