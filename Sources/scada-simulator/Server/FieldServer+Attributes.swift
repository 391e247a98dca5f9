import OPCUACodec

/// The attribute and method service sets (Part 4, 5.10 and 5.11).
extension FieldServer {
    func read(_ request: ReadRequest, _ session: Session) throws(ServiceFailure) -> ReadResponse {
        guard request.maxAge >= 0 else { throw ServiceFailure(.badMaxAgeInvalid) }
        guard request.timestampsToReturn.rawValue < TimestampsToReturn.invalid.rawValue else {
            throw ServiceFailure(.badTimestampsToReturnInvalid)
        }
        let types = [AttributeId.dataType, AttributeId.dataTypeDefinition]
        try cutIfTypes(request.nodesToRead.contains { types.contains($0.attributeId) }, session)
        let wanted = request.timestampsToReturn
        let results = try each(request.nodesToRead, limits.nodesPerCall) { id in
            var value: DataValue
            do throws(ServiceFailure) {
                let node = try space.node(id.nodeId)
                if let range = id.indexRange, !range.isEmpty { throw ServiceFailure(.badIndexRangeNoData) }
                value = readAttribute(id.attributeId, node)
            } catch {
                value = DataValue(.null, status: error.status, serverTimestamp: DateTime(ticks: time))
            }
            if wanted == .server || wanted == .neither { value.sourceTimestamp = nil }
            if wanted == .source || wanted == .neither { value.serverTimestamp = nil }
            return value
        }
        return ReadResponse(results: results)
    }

    /// With both timestamps where the attribute is a value.
    func readAttribute(_ attribute: UInt32, _ node: FieldNode) -> DataValue {
        guard space.hasAttribute(attribute, node) else { return DataValue(.null, status: .badAttributeIdInvalid) }
        if attribute == AttributeId.value { return readValue(node) }
        let name = space.browseName(of: node)
        switch attribute {
        case AttributeId.nodeId: return DataValue(.nodeId(space.id(of: node)))
        case AttributeId.nodeClass: return DataValue(.int32(Int32(space.nodeClass(of: node).rawValue)))
        case AttributeId.browseName: return DataValue(.qualifiedName(name))
        case AttributeId.displayName: return DataValue(.localizedText(LocalizedText(name.name)))
        case AttributeId.description: return DataValue(.localizedText(LocalizedText(describe(node))))
        case AttributeId.writeMask, AttributeId.userWriteMask: return DataValue(.uint32(0))
        case AttributeId.isAbstract, AttributeId.symmetric: return DataValue(.boolean(false))
        case AttributeId.historizing: return DataValue(.boolean(hasHistory(node)))
        case AttributeId.inverseName: return DataValue(.localizedText(LocalizedText()))
        case AttributeId.eventNotifier: return DataValue(.byte(0))
        case AttributeId.dataType: return DataValue(.nodeId(NodeId(space.dataType(of: node))))
        case AttributeId.valueRank: return DataValue(.int32(space.isArray(node) ? 1 : -1))
        case AttributeId.arrayDimensions:
            let dimensions: [Variant] = space.isArray(node) ? [.uint32(0)] : []
            return DataValue(.array(type: .uint32, elements: dimensions, dimensions: []))
        // CurrentRead and HistoryRead (Part 3, 8.57).
        case AttributeId.accessLevel, AttributeId.userAccessLevel: return DataValue(.byte(hasHistory(node) ? 5 : 1))
        case AttributeId.minimumSamplingInterval: return DataValue(.double(0))
        default: return DataValue(.null, status: .badAttributeIdInvalid)
        }
    }

    private func hasHistory(_ node: FieldNode) -> Bool {
        if case .tag = node { return history != nil }
        return false
    }

    private func describe(_ node: FieldNode) -> String? {
        guard case .tag(let tag) = node else { return nil }
        let kind = field.layout.kind(ofTag: tag)
        return "\(kind.name) in \(kind.unit)" + (field.layout.isHandEntered(tag) ? ", entered by hand" : "")
    }

    private func readValue(_ node: FieldNode) -> DataValue {
        let stamp = DateTime(ticks: time)
        func now(_ value: Variant) -> DataValue { DataValue(value, sourceTimestamp: stamp, serverTimestamp: stamp) }
        switch node {
        case .standard(let number):
            guard let value = standardValue(number) else { return DataValue(.null, status: .badNotReadable) }
            return now(value)
        case .tag(let tag):
            let sample = field.newest[tag]
            return DataValue(
                .double(sample.value),
                status: StatusCode(rawValue: sample.status),
                sourceTimestamp: DateTime(ticks: sample.source),
                serverTimestamp: stamp
            )
        case .latitude(let well): return now(.double(field.layout.position(ofWell: well).latitude))
        case .longitude(let well): return now(.double(field.layout.position(ofWell: well).longitude))
        case .euRange(let tag):
            let range = field.layout.kind(ofTag: tag).range
            return now(.extensionObject(ExtensionObject(Range(low: range.lowerBound, high: range.upperBound))))
        case .engineeringUnits(let tag):
            let kind = field.layout.kind(ofTag: tag)
            let unit = EUInformation(
                namespaceUri: "http://www.opcfoundation.org/UA/units/un/cefact",
                unitId: kind.uneceUnitID,
                displayName: LocalizedText(kind.unit),
                description: LocalizedText(kind.unit)
            )
            return now(.extensionObject(ExtensionObject(unit)))
        case .wells, .well: return DataValue(.null, status: .badAttributeIdInvalid)
        }
    }

    private func standardValue(_ number: UInt32) -> Variant? {
        func strings(_ elements: [String]) -> Variant {
            .array(type: .string, elements: elements.map { .string($0) }, dimensions: [])
        }
        // 0 means that there is no limit, or that the server does not tell.
        func limit(_ value: Int) -> Variant { .uint32(limits.areAnnounced ? UInt32(clamping: value) : 0) }
        switch number {
        case 2254: return strings([configuration.applicationURI])
        case 2255: return strings(space.namespaces)
        case 2256: return .extensionObject(ExtensionObject(serverStatus))
        case 2257: return .dateTime(serverStatus.startTime)
        case 2258: return .dateTime(serverStatus.currentTime)
        case 2259: return .int32(Int32(serverStatus.state.rawValue))
        case 2260: return .extensionObject(ExtensionObject(serverStatus.buildInfo))
        case 2261: return .string(serverStatus.buildInfo.productName)
        case 2262: return .string(serverStatus.buildInfo.productUri)
        case 2263: return .string(serverStatus.buildInfo.manufacturerName)
        case 2264: return .string(serverStatus.buildInfo.softwareVersion)
        case 2265: return .string(serverStatus.buildInfo.buildNumber)
        case 2266: return .dateTime(serverStatus.buildInfo.buildDate)
        case 2992: return .uint32(0)
        case 2993: return .localizedText(LocalizedText())
        case 2267: return .byte(serviceLevel)
        case 2994: return .boolean(false)
        case 2269: return strings(["http://opcfoundation.org/UA-Profile/Server/StandardUA2017"])
        case 2271: return strings(["en"])
        case 2272: return .double(0)
        case 2735: return .uint16(UInt16(Session.maximumContinuations))
        case 2736: return .uint16(0)
        case 2737: return .uint16(history == nil ? 0 : UInt16(Session.maximumContinuations))
        case 24095: return limit(limits.sessions)
        case 24098: return limit(limits.subscriptionsPerSession)
        case 24104: return limit(limits.itemsPerSubscription)
        case 31916: return limit(Int(limits.queueSize))
        case 11705, 12165, 11710, 11712: return limit(limits.nodesPerCall)
        case 11714: return limit(limits.itemsPerCall)
        default: return nil
        }
    }

    private var serverStatus: ServerStatusDataType {
        ServerStatusDataType(
            startTime: DateTime(ticks: startTime),
            currentTime: DateTime(ticks: time),
            state: .running,
            buildInfo: BuildInfo(
                productUri: Self.productURI,
                manufacturerName: "scada-ingestion",
                productName: "scada-simulator",
                softwareVersion: "1.0",
                buildNumber: "1",
                buildDate: DateTime(ticks: configuration.epoch)
            )
        )
    }

    /// Nothing here can be written.
    func write(_ request: WriteRequest, _ session: Session) throws(ServiceFailure) -> WriteResponse {
        let results = try each(request.nodesToWrite, limits.nodesPerCall) { each in
            do throws(ServiceFailure) {
                let node = try space.node(each.nodeId)
                return space.hasAttribute(each.attributeId, node)
                    ? StatusCode.badNotWritable : StatusCode.badAttributeIdInvalid
            } catch {
                return error.status
            }
        }
        return WriteResponse(results: results)
    }

    /// There are no methods.
    func call(_ request: CallRequest, _ session: Session) throws(ServiceFailure) -> CallResponse {
        let results = try each(request.methodsToCall, limits.nodesPerCall) { each in
            do throws(ServiceFailure) {
                _ = try space.node(each.objectId)
                return CallMethodResult(statusCode: .badMethodInvalid)
            } catch {
                return CallMethodResult(statusCode: error.status)
            }
        }
        return CallResponse(results: results)
    }

}
