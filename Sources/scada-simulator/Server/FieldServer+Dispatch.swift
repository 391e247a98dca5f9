import OPCUACodec

extension FieldServer {
    /// Answers one request of an open secure channel. Never throws: what is wrong is answered with a ServiceFault.
    func handle(_ body: UnsafeRawBufferPointer, requestID: UInt32, from peer: any Peer) {
        var decoder = BinaryDecoder(body)
        var header = RequestHeader()
        do {
            let type = try NodeId(from: &decoder)
            var ahead = decoder
            header = try RequestHeader(from: &ahead)
            try dispatch(type, &decoder, Call(peer: peer, requestID: requestID, header: header))
        } catch let failure as ServiceFailure {
            fault(failure.status, header, requestID, peer)
        } catch {
            fault(.badDecodingError, header, requestID, peer)
        }
    }

    struct Call {
        var peer: any Peer
        var requestID: UInt32
        var header: RequestHeader
    }

    private func dispatch(_ type: NodeId, _ decoder: inout BinaryDecoder, _ call: Call) throws {
        switch type {
        case PublishRequest.binaryEncodingId: try publish(PublishRequest(from: &decoder), call)
        case GetEndpointsRequest.binaryEncodingId: try answer(&decoder, call, getEndpoints)
        case CreateSessionRequest.binaryEncodingId: try answer(&decoder, call) { try createSession($0, call) }
        case ActivateSessionRequest.binaryEncodingId: try answer(&decoder, call) { try activateSession($0, call) }
        case CloseSessionRequest.binaryEncodingId: try answer(&decoder, call) { try closeSession($0, call) }
        case ReadRequest.binaryEncodingId: try inSession(&decoder, call, read)
        case WriteRequest.binaryEncodingId: try inSession(&decoder, call, write)
        case HistoryReadRequest.binaryEncodingId: try inSession(&decoder, call, historyRead)
        case CallRequest.binaryEncodingId: try inSession(&decoder, call, self.call)
        case BrowseRequest.binaryEncodingId: try inSession(&decoder, call, browse)
        case BrowseNextRequest.binaryEncodingId: try inSession(&decoder, call, browseNext)
        case TranslateBrowsePathsToNodeIdsRequest.binaryEncodingId: try inSession(&decoder, call, translate)
        case CreateSubscriptionRequest.binaryEncodingId: try inSession(&decoder, call, createSubscription)
        case ModifySubscriptionRequest.binaryEncodingId: try inSession(&decoder, call, modifySubscription)
        case DeleteSubscriptionsRequest.binaryEncodingId: try inSession(&decoder, call, deleteSubscriptions)
        case SetPublishingModeRequest.binaryEncodingId: try inSession(&decoder, call, setPublishingMode)
        case TransferSubscriptionsRequest.binaryEncodingId: try inSession(&decoder, call, transferSubscriptions)
        case RepublishRequest.binaryEncodingId: try republish(RepublishRequest(from: &decoder), call)
        case CreateMonitoredItemsRequest.binaryEncodingId: try inSession(&decoder, call, createMonitoredItems)
        case ModifyMonitoredItemsRequest.binaryEncodingId: try inSession(&decoder, call, modifyMonitoredItems)
        case DeleteMonitoredItemsRequest.binaryEncodingId: try inSession(&decoder, call, deleteMonitoredItems)
        default: throw ServiceFailure(.badServiceUnsupported)
        }
    }

    private func answer<Request: ServiceRequest>(
        _ decoder: inout BinaryDecoder,
        _ call: Call,
        _ service: (Request) throws -> Request.Response
    ) throws {
        var response = try service(try Request(from: &decoder))
        response.responseHeader.timestamp = DateTime(ticks: time)
        response.responseHeader.requestHandle = call.header.requestHandle
        call.peer.respond(call.requestID, response.messageBody)
    }

    private func inSession<Request: ServiceRequest>(
        _ decoder: inout BinaryDecoder,
        _ call: Call,
        _ service: (Request, Session) throws -> Request.Response
    ) throws {
        let session = try activeSession(call)
        try answer(&decoder, call) { try service($0, session) }
    }

    /// The session a request names (Part 4, 5.7.2 and 7.32).
    func activeSession(_ call: Call) throws(ServiceFailure) -> Session {
        guard let session = sessions[call.header.authenticationToken] else {
            throw ServiceFailure(.badSessionIdInvalid)
        }
        guard session.isActivated else { throw ServiceFailure(.badSessionNotActivated) }
        guard session.peer === call.peer else { throw ServiceFailure(.badSecureChannelIdInvalid) }
        session.lastUse = now
        return session
    }

    private func fault(_ status: StatusCode, _ header: RequestHeader, _ requestID: UInt32, _ peer: any Peer) {
        peer.respond(requestID, Self.fault(status, handle: header.requestHandle, time: time))
    }

    /// The handle of a request that is not looked at any further; 0 where it cannot be read.
    static func requestHandle(_ body: UnsafeRawBufferPointer) -> UInt32 {
        var decoder = BinaryDecoder(body)
        do throws(DecodingError) {
            _ = try NodeId(from: &decoder)
            return try RequestHeader(from: &decoder).requestHandle
        } catch {
            return 0
        }
    }

    /// The body of a ServiceFault (Part 4, 7.35).
    static func fault(_ status: StatusCode, handle: UInt32, time: Int64) -> [UInt8] {
        ServiceFault(
            responseHeader: ResponseHeader(
                timestamp: DateTime(ticks: time),
                requestHandle: handle,
                serviceResult: status
            )
        ).messageBody
    }
}
