import Logging
import NIOCore
import OPCUACodec

extension OPCUAConnection {
    /// CreateMonitoredItems calls in flight at the same time.
    private static let callsInFlight = 4

    /// Creates what is pending, in as many calls and subscriptions as it takes.
    func createItems() async throws(OPCUAClientError) {
        if batcher.nextRetry.map({ $0 <= .now() }) ?? false { try await session.readNamespaces() }
        var changed = false
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                var running = 0
                while true {
                    if let failure { throw failure }
                    if isStopping || !lostSubscriptions.isEmpty { break }
                    switch batcher.next(now: .now()) {
                    case .batch(let batch):
                        changed = true
                        if running == Self.callsInFlight {
                            try await group.next()
                            running -= 1
                        }
                        group.addTask { try await self.create(batch) }
                        running += 1
                    case .needsSubscription:
                        changed = true
                        if running > 0 {
                            try await group.next()
                            running -= 1
                            // The answer may have made room, or filled the queue again.
                            if running > 0 { continue }
                        }
                        try await createAnotherSubscription()
                    case .nothing:
                        guard running > 0 else { return }
                        try await group.next()
                        running -= 1
                    }
                }
                try await group.waitForAll()
            }
        } catch {
            throw (error as? OPCUAClientError) ?? .stopped
        }
        try await readRanges()
        if changed {
            announceSubscriptions()
            setState(.connected)
        }
    }

    /// A server that gives no further subscription is used with those it gave.
    private func createAnotherSubscription() async throws(OPCUAClientError) {
        do throws(OPCUAClientError) { try await createSubscription() } catch {
            guard error.code == .serviceFault, let status = error.status, !pipeline.subscriptions.isEmpty else {
                throw error
            }
            logger.warning(
                "the server gives no further subscription",
                metadata: ["subscriptions": "\(pipeline.subscriptions.count)", "status": "\(status)"]
            )
            for event in batcher.subscriptionsExhausted(status, now: .now()) { report(event) }
        }
    }

    /// Part 4, 5.14.2.
    func createSubscription() async throws(OPCUAClientError) {
        let subscription = try await makeSubscription()
        pipeline.add(subscription)
        batcher.addSlot()
        ladder.subscribed()
        armWatchdog()
        fillPipeline()
    }

    /// Values in one NotificationMessage: what the items of a full subscription have to say at once. Bounds the messages of
    /// a server whose queues are long, and so the memory for one; the rest follows in the next message, at once
    /// (MoreNotifications, Part 4, 5.14.5).
    private static let notificationsPerPublish: UInt32 = 5000

    private func makeSubscription() async throws(OPCUAClientError) -> PublishPipeline.Subscription {
        let interval = max(1, configuration.publishingInterval)
        let keepAliveCount = max(1, (configuration.keepAlive / interval).rounded())
        // At least three keep-alives (Part 4, 5.14.2.2) and the session's timeout, so that the subscription outlives a
        // break as long as the session does.
        let lifetimeCount = max(3 * keepAliveCount, (configuration.sessionTimeout / interval).rounded(.up)) + 1
        let response = try await session.call(
            CreateSubscriptionRequest(
                requestedPublishingInterval: interval,
                requestedLifetimeCount: UInt32(min(lifetimeCount, 4_000_000_000)),
                requestedMaxKeepAliveCount: UInt32(min(keepAliveCount, 1_000_000_000)),
                maxNotificationsPerPublish: Self.notificationsPerPublish,
                publishingEnabled: true,
                priority: 0
            )
        )
        return PublishPipeline.Subscription(
            id: response.subscriptionId,
            publishingInterval: max(1, response.revisedPublishingInterval),
            keepAliveCount: max(1, response.revisedMaxKeepAliveCount),
            lifetimeCount: max(3, response.revisedLifetimeCount),
            lastHeard: .now()
        )
    }

    /// One CreateMonitoredItems call (Part 4, 5.13.2) and its per-item results.
    private func create(_ batch: MonitoredItemBatcher.Batch) async throws(OPCUAClientError) {
        var resolved = MonitoredItemBatcher.Batch(slot: batch.slot, items: [])
        var requests: [MonitoredItemCreateRequest] = []
        requests.reserveCapacity(batch.items.count)
        for index in batch.items {
            let item = batcher.items[index]
            guard let node = item.specification.nodeID.resolved(namespaces: session.namespaces) else {
                report(batcher.unresolvable(index, slot: batch.slot, now: .now()))
                continue
            }
            resolved.items.append(index)
            requests.append(
                MonitoredItemCreateRequest(
                    itemToMonitor: ReadValueId(nodeId: node, attributeId: AttributeId.value),
                    monitoringMode: .reporting,
                    requestedParameters: parameters(item)
                )
            )
        }
        guard !requests.isEmpty, pipeline.subscriptions.indices.contains(batch.slot) else { return }
        let subscriptionID = pipeline.subscriptions[batch.slot].id
        do throws(OPCUAClientError) {
            let response = try await session.call(
                CreateMonitoredItemsRequest(
                    subscriptionId: subscriptionID,
                    timestampsToReturn: .both,
                    itemsToCreate: requests
                ),
                timeout: max(session.timeout, .seconds(30))
            )
            let results = response.results.prefix(resolved.items.count).map {
                MonitoredItemBatcher.Result(status: $0.statusCode, id: $0.monitoredItemId)
            }
            for event in batcher.completed(resolved, results, now: .now()) { report(event) }
        } catch {
            guard let status = error.status, session.channel?.failure == nil, failure == nil,
                error.code == .serviceFault || error.code == .subscriptionLost || error.code == .messageTooLarge
            else { throw error }
            switch batcher.refused(resolved, status, now: .now()) {
            case .retry:
                logger.info(
                    "CreateMonitoredItems refused, making the calls smaller",
                    metadata: ["items": "\(resolved.items.count)", "status": "\(status)"]
                )
            case .bad(let index, let status): report(.bad(index, status))
            case .subscriptionLost: lost(subscriptionID, "CreateMonitoredItems: \(status)")
            }
        }
    }

    private func parameters(_ item: MonitoredItemBatcher.Item) -> MonitoringParameters {
        let specification = item.specification
        let interval = max(1, configuration.publishingInterval)
        var filter = ExtensionObject.null
        if !item.isDeadbandRefused {
            // Part 4, 7.22.2: deadband types 0 none, 1 absolute, 2 percent.
            switch specification.deadband {
            case .none: break
            case .absolute(let value):
                filter = ExtensionObject(DataChangeFilter(trigger: .statusValue, deadbandType: 1, deadbandValue: value))
            case .percent(let value):
                filter = ExtensionObject(DataChangeFilter(trigger: .statusValue, deadbandType: 2, deadbandValue: value))
            }
        }
        return MonitoringParameters(
            clientHandle: specification.handle,
            samplingInterval: specification.samplingInterval ?? interval,
            filter: filter,
            queueSize: specification.requestedQueueSize(publishingInterval: interval),
            discardOldest: true
        )
    }

    private func report(_ event: MonitoredItemBatcher.Event) {
        switch event {
        case .active(let index): consumer.itemStatus(handle: batcher.items[index].specification.handle, .good)
        case .bad(let index, let status):
            let item = batcher.items[index].specification
            consumer.itemStatus(handle: item.handle, status)
        case .deadbandRefused(let index):
            deadbandRefused(batcher.items[index].specification)
        }
    }

    // MARK: Changes

    /// Brings the server's items to the new list.
    func apply(_ specifications: [MonitoredItemSpecification]) async throws(OPCUAClientError) {
        try await resolveRestoredItems()
        let changes = batcher.update(specifications)
        for (slot, ids) in changes.deletions where pipeline.subscriptions.indices.contains(slot) {
            var rest = ids[...]
            while !rest.isEmpty {
                let part = Array(rest.prefix(batcher.batchSize))
                rest = rest.dropFirst(part.count)
                do throws(OPCUAClientError) {
                    _ = try await session.call(
                        DeleteMonitoredItemsRequest(
                            subscriptionId: pipeline.subscriptions[slot].id,
                            monitoredItemIds: part
                        )
                    )
                } catch {
                    // Items that cannot be deleted go on reporting to handles nobody knows: harmless.
                    guard error.code == .serviceFault else { throw error }
                }
            }
        }
        try await modify(changes.modifications)
        try await readRanges()
        announceSubscriptions()
        setState(.connected)
    }

    /// Part 4, 5.13.3.
    private func modify(_ indexes: [Int]) async throws(OPCUAClientError) {
        var bySlot: [Int: [(index: Int, id: UInt32)]] = [:]
        for index in indexes {
            guard case .active(let slot, let id) = batcher.items[index].state else { continue }
            bySlot[Int(slot), default: []].append((index, id))
        }
        for (slot, items) in bySlot where pipeline.subscriptions.indices.contains(slot) {
            var rest = items[...]
            while !rest.isEmpty {
                let part = rest.prefix(batcher.batchSize)
                rest = rest.dropFirst(part.count)
                let response = try await session.call(
                    ModifyMonitoredItemsRequest(
                        subscriptionId: pipeline.subscriptions[slot].id,
                        timestampsToReturn: .both,
                        itemsToModify: part.map {
                            MonitoredItemModifyRequest(
                                monitoredItemId: $0.id,
                                requestedParameters: parameters(batcher.items[$0.index])
                            )
                        }
                    )
                )
                for (item, result) in zip(part, response.results) where result.statusCode.isBad {
                    switch result.statusCode.withoutInfoBits {
                    case .badFilterNotAllowed, .badMonitoredItemFilterUnsupported, .badMonitoredItemFilterInvalid,
                        .badDeadbandFilterInvalid:
                        batcher.deadbandRefused(item.index)
                        deadbandRefused(batcher.items[item.index].specification)
                    default: batcher.vanished(item.index)
                    }
                }
            }
        }
    }

    /// Items taken over from an earlier run of the process have no known server ids: asks for them (GetMonitoredItems,
    /// Part 5, 9.1), or where the server cannot tell, has the subscription made anew.
    private func resolveRestoredItems() async throws(OPCUAClientError) {
        for slot in batcher.unresolvedSlots where pipeline.subscriptions.indices.contains(slot) {
            let subscriptionID = pipeline.subscriptions[slot].id
            let response = try await session.call(
                CallRequest(
                    methodsToCall: [
                        CallMethodRequest(
                            objectId: WellKnownNodeId.server,
                            methodId: WellKnownNodeId.serverGetMonitoredItems,
                            inputArguments: [.uint32(subscriptionID)]
                        )
                    ]
                )
            )
            if let result = response.results.first, !result.statusCode.isBad, result.outputArguments.count == 2,
                case .array(.uint32, let servers, _) = result.outputArguments[0],
                case .array(.uint32, let clients, _) = result.outputArguments[1], servers.count == clients.count
            {
                var ids: [UInt32: UInt32] = [:]
                for (server, client) in zip(servers, clients) {
                    if case .uint32(let id) = server, case .uint32(let handle) = client { ids[handle] = id }
                }
                batcher.resolve(slot: slot, idsByHandle: ids)
            } else {
                _ = try await session.call(DeleteSubscriptionsRequest(subscriptionIds: [subscriptionID]))
                lost(subscriptionID, "the server does not tell which items it took over")
            }
        }
        try await replaceLostSubscriptions()
    }

    // MARK: Subscriptions

    /// Deletes what takes our PublishRequests and is not ours (Part 4, 5.14.8).
    func deleteStraySubscriptions() async throws(OPCUAClientError) {
        let strays = straySubscriptions.filter { pipeline.subscription($0) == nil }
        straySubscriptions = []
        guard !strays.isEmpty else { return }
        logger.info("deleting subscriptions that are not ours", metadata: ["count": "\(strays.count)"])
        do throws(OPCUAClientError) {
            _ = try await session.call(DeleteSubscriptionsRequest(subscriptionIds: Array(strays)))
        } catch {
            guard error.code == .serviceFault || error.code == .subscriptionLost else { throw error }
        }
    }

    /// Tells the consumer what to remember for the next run of the process.
    func announceSubscriptions() {
        let handles = batcher.handlesBySlot()
        consumer.subscriptionsCreated(
            pipeline.subscriptions.enumerated().map { slot, subscription in
                RestoredSubscription(
                    subscriptionID: subscription.id,
                    publishingInterval: subscription.publishingInterval,
                    maximumKeepAliveCount: subscription.keepAliveCount,
                    lifetimeCount: subscription.lifetimeCount,
                    handles: handles.indices.contains(slot) ? handles[slot] : [],
                    lastDurableSequenceNumber: 0
                )
            }
        )
    }

    /// Subscriptions the server ended by itself are made anew in the same session.
    func replaceLostSubscriptions() async throws(OPCUAClientError) {
        while let lost = lostSubscriptions.first {
            defer { lostSubscriptions.removeAll { $0.id == lost.id } }
            guard let slot = pipeline.subscriptions.firstIndex(where: { $0.id == lost.id }) else { continue }
            // Still listed until its successor stands, should the connection break meanwhile.
            let bySlot = batcher.handlesBySlot()
            let handles = bySlot.indices.contains(slot) ? bySlot[slot] : []
            logger.warning("subscription lost", metadata: ["subscription": "\(lost.id)", "reason": "\(lost.reason)"])
            let successor = try await makeSubscription()
            pipeline.replace(lost.id, with: successor)
            batcher.resetSlot(slot)
            enqueue(.event(.recreated(reason: lost.reason, handles: handles)))
        }
        fillPipeline()
    }

    /// Part 4, 5.14.7.
    func transferSubscriptions() async throws(OPCUAClientError) {
        let ids = pipeline.subscriptions.map(\.id)
        guard !ids.isEmpty else {
            throw OPCUAClientError(.subscriptionLost, "there is no subscription to transfer", status: .badNothingToDo)
        }
        let response = try await session.call(
            TransferSubscriptionsRequest(subscriptionIds: ids, sendInitialValues: false)
        )
        guard response.results.count == ids.count, response.results.contains(where: { !$0.statusCode.isBad }) else {
            throw OPCUAClientError(
                .subscriptionLost,
                "the server does not have the subscriptions any more",
                status: response.results.first?.statusCode ?? .badSubscriptionIdInvalid
            )
        }
        for (id, result) in zip(ids, response.results) {
            if result.statusCode.isBad {
                lost(id, "TransferSubscriptions: \(result.statusCode)")
            } else {
                enqueue(.catchUp(id, result.availableSequenceNumbers))
            }
        }
        enqueue(.event(.transferred))
    }
}
