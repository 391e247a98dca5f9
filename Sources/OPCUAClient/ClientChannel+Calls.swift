import NIOCore
import OPCUACodec

extension ClientChannel {
    /// Calls a service and waits for its answer.
    func call<Request: ServiceRequest>(
        _ request: Request,
        authenticationToken: NodeId = .null,
        timeout: TimeAmount,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(OPCUAClientError) -> Request.Response {
        var request = request
        let id = nextRequestID()
        request.requestHeader = RequestHeader(
            authenticationToken: authenticationToken,
            timestamp: WallClock.dateTime(),
            requestHandle: id,
            timeoutHint: UInt32(clamping: timeout.nanoseconds / 1_000_000)
        )
        let body = request.messageBody
        let result: Result<ByteBuffer, OPCUAClientError> = await withCheckedContinuation { continuation in
            send(body, requestID: id, timeout: timeout) { continuation.resume(returning: $0) }
        }
        do throws(OPCUAClientError) {
            return try Self.decode(Request.Response.self, from: try result.get(), service: Self.name(Request.self))
        } catch {
            if error.code == .timeout {
                var named = error
                named.message = "\(Self.name(Request.self)): " + error.message
                throw named
            }
            throw error
        }
    }

    /// `ReadRequest` → `Read`.
    static func name(_ type: Any.Type) -> String {
        let name = "\(type)"
        return name.hasSuffix("Request") ? String(name.dropLast(7)) : name
    }

    /// Decodes a response body, or throws what its ServiceFault or service result says.
    static func decode<Response: ServiceResponse>(
        _ type: Response.Type,
        from body: ByteBuffer,
        service: String
    ) throws(OPCUAClientError) -> Response {
        let outcome: Result<Response, OPCUAClientError> = body.withUnsafeReadableBytes { bytes in
            var decoder = BinaryDecoder(bytes)
            do throws(DecodingError) {
                let id = try NodeId(from: &decoder)
                if id == ServiceFault.binaryEncodingId {
                    let fault = try ServiceFault(from: &decoder)
                    return .failure(.service(service, fault.responseHeader.serviceResult))
                }
                guard id == Response.binaryEncodingId else { throw decoder.failure(.unexpectedType) }
                let response = try Response(from: &decoder)
                let status = response.responseHeader.serviceResult
                if status.isBad { return .failure(.service(service, status)) }
                return .success(response)
            } catch {
                return .failure(.decoding(error, in: "\(service) response"))
            }
        }
        return try outcome.get()
    }
}
