import Logging
import NIOCore
import OPCUACodec

/// Deadbands that a server refuses are applied here. For percentages that takes the range of the tag.
extension OPCUAConnection {
    /// Properties asked for in one call.
    private static let ranges = 100

    func deadbandRefused(_ item: MonitoredItemSpecification) {
        switch item.deadband {
        case .none: break
        case .absolute: consumer.deadbandRefused(handle: item.handle, range: nil)
        case .percent: rangesWanted.append(item)
        }
    }

    /// Reads the EURange of items (Part 8, 5.6.2); until it is known, and where there is none, every change is kept.
    func readRanges() async throws(OPCUAClientError) {
        var missing = 0
        while !rangesWanted.isEmpty {
            let part = Array(rangesWanted.prefix(Self.ranges))
            do throws(OPCUAClientError) {
                let ranges = try await session.ranges(of: part.map(\.nodeID))
                for (item, range) in zip(part, ranges) {
                    if let range {
                        consumer.deadbandRefused(handle: item.handle, range: range)
                    } else {
                        missing += 1
                    }
                }
            } catch {
                guard error.code == .serviceFault else { throw error }
                missing += part.count
            }
            rangesWanted.removeFirst(part.count)
        }
        guard missing > 0, !saidNoRange else { return }
        saidNoRange = true
        logger.warning(
            "deadbands in percent cannot be applied: the server refuses them and tells no EURange; every change is stored",
            metadata: ["tags": "\(missing)"]
        )
    }
}

extension ClientSession {
    /// The widths of the nodes' EURange properties; nil where there is none that can be used.
    func ranges(
        of nodes: [NodeIdText],
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> [Double?] {
        let ids = nodes.map { $0.resolved(namespaces: namespaces) ?? .null }
        // Part 4, 5.9.4.
        let paths = try await call(
            TranslateBrowsePathsToNodeIdsRequest(
                browsePaths: ids.map {
                    BrowsePath(
                        startingNode: $0,
                        relativePath: RelativePath(
                            elements: [
                                RelativePathElement(
                                    referenceTypeId: WellKnownNodeId.hasProperty,
                                    includeSubtypes: true,
                                    targetName: QualifiedName(name: "EURange")
                                )
                            ]
                        )
                    )
                }
            )
        )
        var widths = [Double?](repeating: nil, count: nodes.count)
        let targets = zip(nodes.indices, paths.results).compactMap { index, result -> (Int, NodeId)? in
            guard !result.statusCode.isBad, let target = result.targets.first else { return nil }
            return (index, target.targetId.nodeId)
        }
        guard !targets.isEmpty else { return widths }
        for ((index, _), value) in zip(targets, try await read(targets.map(\.1))) {
            guard case .extensionObject(let object) = value.value,
                let range = try? object.decoded(as: OPCUACodec.Range.self)
            else { continue }
            let width = range.high - range.low
            if width > 0, width.isFinite { widths[index] = width }
        }
        return widths
    }
}
