import OPCUACodec

/// The monitored item service set (Part 4, 5.12).
extension FieldServer {
    func createMonitoredItems(
        _ request: CreateMonitoredItemsRequest,
        _ session: Session
    ) throws(ServiceFailure) -> CreateMonitoredItemsResponse {
        let subscription = try subscription(request.subscriptionId, session)
        guard request.timestampsToReturn.rawValue < TimestampsToReturn.invalid.rawValue else {
            throw ServiceFailure(.badTimestampsToReturnInvalid)
        }
        let results = try each(request.itemsToCreate, limits.itemsPerCall) { each in
            do throws(ServiceFailure) {
                return try create(each, request.timestampsToReturn, subscription)
            } catch {
                return MonitoredItemCreateResult(statusCode: error.status)
            }
        }
        return CreateMonitoredItemsResponse(results: results)
    }

    private func create(
        _ request: MonitoredItemCreateRequest,
        _ timestamps: TimestampsToReturn,
        _ subscription: Subscription
    ) throws(ServiceFailure) -> MonitoredItemCreateResult {
        let node = try space.node(request.itemToMonitor.nodeId)
        let attribute = request.itemToMonitor.attributeId
        guard space.hasAttribute(attribute, node) else { throw ServiceFailure(.badAttributeIdInvalid) }
        if let range = request.itemToMonitor.indexRange, !range.isEmpty {
            throw ServiceFailure(.badIndexRangeNoData)
        }
        guard request.monitoringMode.rawValue <= MonitoringMode.reporting.rawValue else {
            throw ServiceFailure(.badMonitoringModeInvalid)
        }
        guard subscription.itemCount < limits.itemsPerSubscription else {
            throw ServiceFailure(.badTooManyMonitoredItems)
        }
        var target = MonitoredItem.Target.attribute(node, attribute)
        var kind: TagKind?
        if case .tag(let tag) = node, attribute == AttributeId.value {
            target = .tag(tag)
            kind = field.layout.kind(ofTag: tag)
        }
        let parameters = request.requestedParameters
        let filter = try SampleFilter(parameters.filter, kind: kind, limits: limits)
        let sampling = revisedSampling(parameters.samplingInterval, target, subscription)
        let size = target.isTag ? min(max(parameters.queueSize, 1), limits.queueSize) : 1
        let item = MonitoredItem(
            id: nextItemID,
            target: target,
            mode: request.monitoringMode,
            samplingInterval: Int64(sampling * 1e4),
            template: NotificationTemplate(clientHandle: parameters.clientHandle, timestamps: timestamps),
            filter: filter,
            queue: SampleQueue(size: Int(size), discardsOldest: parameters.discardOldest)
        )
        nextItemID += 1
        let slot = subscription.add(item)
        if case .tag(let tag) = target {
            watchers[tag].add(subscription, slot: slot)
            count(subscription.offer(field.newest[tag], slot: slot), tag: tag)
        } else {
            poll(slot, timestamps, subscription)
        }
        return MonitoredItemCreateResult(
            statusCode: .good,
            monitoredItemId: item.id,
            revisedSamplingInterval: sampling,
            revisedQueueSize: size
        )
    }

    /// Milliseconds. Tags report by exception (0) where the client wants every value, where somebody keys them in, and
    /// always in counter mode, in which every number has to arrive.
    private func revisedSampling(_ asked: Double, _ target: MonitoredItem.Target, _ subscription: Subscription)
        -> Double
    {
        let publishing = Double(subscription.publishingInterval) / 1e6
        guard case .tag(let tag) = target else { return publishing }
        if field.layout.counters || field.layout.isHandEntered(tag) { return 0 }
        // Negative means the publishing interval (Part 4, 7.21).
        let wanted = asked < 0 ? publishing : asked
        return wanted.isFinite ? min(wanted, 86_400_000) : 0
    }

    /// Looks at the items that are no tags.
    func poll(_ subscription: Subscription) {
        for slot in subscription.polled { poll(slot, nil, subscription) }
    }

    private func poll(_ slot: Int, _ timestamps: TimestampsToReturn?, _ subscription: Subscription) {
        guard case .attribute(let node, let attribute) = subscription.items[slot].target,
            timestamps != nil || space.changesByItself(node) || node == StandardNodes.serviceLevel
        else { return }
        var value = readAttribute(attribute, node)
        // The same value must compare equal: a timestamp would make it new.
        value.serverTimestamp = nil
        if !space.changesByItself(node) { value.sourceTimestamp = nil }
        subscription.offer(encoded: value.encoded, slot: slot)
    }

    func modifyMonitoredItems(
        _ request: ModifyMonitoredItemsRequest,
        _ session: Session
    ) throws(ServiceFailure) -> ModifyMonitoredItemsResponse {
        let subscription = try subscription(request.subscriptionId, session)
        guard request.timestampsToReturn.rawValue < TimestampsToReturn.invalid.rawValue else {
            throw ServiceFailure(.badTimestampsToReturnInvalid)
        }
        let results = try each(request.itemsToModify, limits.itemsPerCall) { each in
            do throws(ServiceFailure) {
                return try modify(each, request.timestampsToReturn, subscription)
            } catch {
                return MonitoredItemModifyResult(statusCode: error.status)
            }
        }
        return ModifyMonitoredItemsResponse(results: results)
    }

    private func modify(
        _ request: MonitoredItemModifyRequest,
        _ timestamps: TimestampsToReturn,
        _ subscription: Subscription
    ) throws(ServiceFailure) -> MonitoredItemModifyResult {
        guard let slot = subscription.slots[request.monitoredItemId] else {
            throw ServiceFailure(.badMonitoredItemIdInvalid)
        }
        let target = subscription.items[slot].target
        var kind: TagKind?
        if case .tag(let tag) = target { kind = field.layout.kind(ofTag: tag) }
        let parameters = request.requestedParameters
        let filter = try SampleFilter(parameters.filter, kind: kind, limits: limits)
        let sampling = revisedSampling(parameters.samplingInterval, target, subscription)
        let size = target.isTag ? min(max(parameters.queueSize, 1), limits.queueSize) : 1
        subscription.modify(slot: slot) { item in
            item.template = NotificationTemplate(clientHandle: parameters.clientHandle, timestamps: timestamps)
            item.filter = filter
            item.samplingInterval = Int64(sampling * 1e4)
            var queue = SampleQueue(size: Int(size), discardsOldest: parameters.discardOldest)
            while let sample = item.queue.popFirst() {
                if queue.append(sample), case .tag(let tag) = target {
                    count(.overflowed(overwritten: size == 1), tag: tag)
                }
            }
            item.queue = queue
        }
        return MonitoredItemModifyResult(
            statusCode: .good,
            revisedSamplingInterval: sampling,
            revisedQueueSize: size
        )
    }

    func deleteMonitoredItems(
        _ request: DeleteMonitoredItemsRequest,
        _ session: Session
    ) throws(ServiceFailure) -> DeleteMonitoredItemsResponse {
        let subscription = try subscription(request.subscriptionId, session)
        let results = try each(request.monitoredItemIds, limits.itemsPerCall) { id in
            guard let removed = subscription.remove(id) else { return StatusCode.badMonitoredItemIdInvalid }
            accounting.abandoned += UInt64(removed.item.queue.count)
            unwatch(removed.item, removed.slot, subscription)
            return .good
        }
        return DeleteMonitoredItemsResponse(results: results)
    }
}

extension MonitoredItem.Target {
    var isTag: Bool {
        if case .tag = self { return true }
        return false
    }
}
