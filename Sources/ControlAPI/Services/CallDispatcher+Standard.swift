import CScadaProto

// The standard services: grpc.health.v1 and grpc.reflection.v1 / v1alpha.

extension CallDispatcher {
    // MARK: - Health

    func answerHealthCheck(_ call: ServerCall, _ notes: CallNotes) async throws -> GRPCMessage {
        let service = try await healthRequest(call, notes)
        guard HealthState.isKnown(service) else {
            throw ControlError(.notFound, "no service \(Validate.quoted(service)) here")
        }
        return Self.encode(health.status)
    }

    func answerHealthWatch(_ call: ServerCall, _ notes: CallNotes) async throws {
        let service = try await healthRequest(call, notes)
        let isKnown = HealthState.isKnown(service)
        var last: HealthState.Status?
        for await update in health.updates() {
            let status = isKnown ? update : .serviceUnknown
            guard status != last else { continue }
            last = status
            let message = Self.encode(status)
            try await call.send(message)
            notes.sent(message.byteCount)
        }
        if call.isCancelled { throw call.cancellation }
        throw ControlError(.unavailable, "the server is shutting down")
    }

    private func healthRequest(_ call: ServerCall, _ notes: CallNotes) async throws(ControlError) -> String {
        let message = try await request(call, notes)
        return try decode(message, Grpc__Health__V1__HealthCheckRequest.self) { raw throws(ControlError) in
            text(raw.service)
        }
    }

    private static func encode(_ status: HealthState.Status) -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Grpc__Health__V1__HealthCheckResponse.self) { message in
            message.status = Grpc__Health__V1__HealthCheckResponse__ServingStatus(
                rawValue: numericCast(status.rawValue)
            )
        }
        return arena.serialize(message)
    }

    // MARK: - Reflection

    /// One answer for each request, until the client has no more. v1alpha has the same messages under another name.
    func answerReflection(_ call: ServerCall, _ notes: CallNotes) async throws {
        while let message = try await call.receive() {
            notes.received(message.byteCount)
            let request = try decode(message, Grpc__Reflection__V1__ServerReflectionRequest.self) {
                raw throws(ControlError) in ReflectionRequest(raw)
            }
            let answer = request.answer(from: ReflectionIndex.shared).encoded(for: request)
            try await call.send(answer)
            notes.sent(answer.byteCount)
        }
    }
}
