import CGRPC
import Synchronization

/// One incoming call: a grpc_call, freed in deinit (or by `abandon`).
///
/// Threads: `receive`, `send` and `finish` are called by the call's one task, one after the other; everything else from
/// anywhere. The core wants batches of one call serialized: all starts go through `state`'s lock. `handle` is
/// thread-safe for what is done outside of it (cancel, reading the peer).
final class ServerCall: @unchecked Sendable {
    private struct State {
        /// Batches started whose event has not come yet. Each holds a reference to this object.
        var pending = 0
        /// No batch may be started any more: the queue is about to shut down.
        var isDead = false
        var isReleased = false
        /// The client cancelled or vanished, or the deadline passed.
        var isCancelled = false
        /// A reason of ours for a cancellation, e.g. a reader that stands still.
        var cancelReason: ControlError?
        var task: Task<Void, Never>?
        /// Since when the call waits for the peer: to send a request or to read an answer.
        var waitingSince: ContinuousClock.Instant?
        var hasSentMetadata = false
    }

    private let handle: OpaquePointer
    private let library: GRPCLibrary
    private let state = Mutex(State())

    /// Full path, e.g. `/scada.ScadaService/QueryReadings`.
    let path: String
    /// nil = the client set none.
    let deadline: ContinuousClock.Instant?
    let started = ContinuousClock.now
    /// Values of the metadata key `authorization`.
    let authorization: [String]

    init(handle: OpaquePointer, library: GRPCLibrary, path: String, timeout: Duration?, authorization: [String]) {
        self.handle = handle
        self.library = library
        self.path = path
        self.authorization = authorization
        deadline = timeout.map { .now + $0 }
    }

    deinit {
        if !state.withLock({ $0.isReleased }) { grpc_call_unref(handle) }
    }

    // MARK: - Facts

    var isCancelled: Bool { state.withLock { $0.isCancelled || $0.isDead } }

    /// Why the call ended before its answer.
    var cancellation: ControlError {
        if let reason = state.withLock({ $0.cancelReason }) { return reason }
        if let deadline, deadline <= .now { return ControlError(.deadlineExceeded, "the deadline has passed") }
        return ControlError(.cancelled, "the client has cancelled the call or disappeared")
    }

    /// The peer's address, e.g. `ipv4:127.0.0.1:51234`.
    var peer: String {
        state.withLock { state in
            guard !state.isReleased, let text = grpc_call_get_peer(handle) else { return "unknown" }
            defer { gpr_free(text) }
            return String(cString: text).replacing("%5B", with: "[").replacing("%5D", with: "]")
        }
    }

    /// The subject of the client's certificate as TLS verified it; nil without one.
    var certificateSubject: String? {
        state.withLock { state in
            guard !state.isReleased, let context = grpc_call_auth_context(handle) else { return nil }
            defer { grpc_auth_context_release(context) }
            guard grpc_auth_context_peer_is_authenticated(context) != 0 else { return nil }
            for name in [GRPC_X509_SUBJECT_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME] {
                // The iterator goes on pointing to the name.
                let found = name.withCString { name -> String? in
                    var iterator = grpc_auth_context_find_properties_by_name(context, name)
                    guard let property = grpc_auth_property_iterator_next(&iterator), let value = property.pointee.value
                    else { return nil }
                    let bytes = UnsafeRawBufferPointer(start: value, count: property.pointee.value_length)
                    return String(decoding: bytes, as: UTF8.self)
                }
                if let found { return found }
            }
            return nil
        }
    }

    // MARK: - The task and its end

    /// Sets the task that a cancellation of the call cancels.
    func attach(_ task: Task<Void, Never>) {
        let isCancelled = state.withLock { state in
            state.task = task
            return state.isCancelled
        }
        if isCancelled { task.cancel() }
    }

    /// Watches for the end of the call. Once, before anything else is started.
    func watchClose() {
        let operation = CloseOperation(call: self)
        start([.receiveClose(operation.cancelled)], operation)
    }

    /// Ends the call from our side; the client sees it broken off. Its task is cancelled.
    func cancel(_ reason: ControlError) {
        let task = state.withLock { state in
            state.isCancelled = true
            state.cancelReason = state.cancelReason ?? reason
            if !state.isReleased {
                let code = grpc_status_code(reason.code.rawValue)
                _ = grpc_call_cancel_with_status(handle, code, reason.message, nil)
            }
            return state.task
        }
        task?.cancel()
    }

    /// Lets go of the C call although its task has not ended, so that the server can be torn down. The task can do
    /// nothing with the call any more.
    func abandon() {
        state.withLock { state in
            state.isDead = true
            releaseIfIdle(&state)
        }
    }

    private func releaseIfIdle(_ state: inout State) {
        guard state.isDead, state.pending == 0, !state.isReleased else { return }
        state.isReleased = true
        grpc_call_unref(handle)
    }

    fileprivate func closed(cancelled: Bool) {
        let task = state.withLock { state in
            if cancelled { state.isCancelled = true }
            return cancelled ? state.task : nil
        }
        task?.cancel()
    }

    /// Cancels the call when it has waited for its peer longer than `limit`.
    func cancelIfStalled(_ limit: Duration, now: ContinuousClock.Instant) {
        guard let since = state.withLock({ $0.waitingSince }), now - since > limit else { return }
        cancel(
            ControlError(
                .deadlineExceeded,
                "the client neither sent nor read anything for \(limit.components.seconds) s"
            )
        )
    }

    // MARK: - Messages

    /// The next message; nil = the client has sent its last.
    func receive() async throws(ControlError) -> GRPCMessage? {
        let operation = ReceiveOperation(call: self)
        guard await perform([.receiveMessage(operation.slot)], operation) else { throw cancellation }
        if let message = operation.takeMessage() { return message }
        if isCancelled { throw cancellation }
        return nil
    }

    /// Sends one message of a stream. Returns when flow control has accepted it.
    func send(_ message: GRPCMessage) async throws(ControlError) {
        guard await perform(metadataIfFirst() + [.message(message)], CallOperation(call: self)) else {
            throw cancellation
        }
    }

    /// Sends the last message, if any, and the status. False = nobody was there to read it.
    @discardableResult
    func finish(_ message: GRPCMessage?, code: StatusCode, text: String) async -> Bool {
        let ops = metadataIfFirst() + (message.map { [.message($0)] } ?? []) + [.status(code, text)]
        return await perform(ops, CallOperation(call: self))
    }

    /// Answers with a status and nothing else, without waiting for it to be sent.
    func reject(_ code: StatusCode, _ text: String) {
        start(metadataIfFirst() + [.status(code, text)], CallOperation(call: self))
    }

    // MARK: - Batches

    /// One part of a batch.
    private enum Op {
        case metadata
        case message(GRPCMessage)
        case status(StatusCode, String)
        case receiveMessage(UnsafeMutablePointer<UnsafeMutablePointer<grpc_byte_buffer>?>)
        case receiveClose(UnsafeMutablePointer<CInt>)
    }

    private func metadataIfFirst() -> [Op] {
        state.withLock { state in
            defer { state.hasSentMetadata = true }
            return state.hasSentMetadata ? [] : [.metadata]
        }
    }

    /// Starts a batch; false = it was not started and `operation` will not be called.
    @discardableResult
    private func start(_ parts: [Op], _ operation: CallOperation) -> Bool {
        // The core copies the text while the batch is started: it has to live only here.
        var details = grpc_empty_slice()
        for case .status(_, let text) in parts {
            details = Self.statusDetails(text)
        }
        defer { grpc_slice_unref(details) }
        return withUnsafeMutablePointer(to: &details) { details in
            let ops = parts.map { Self.lower($0, details) }
            operation.keepAlive = parts.compactMap { if case .message(let message) = $0 { message } else { nil } }
            return state.withLock { state in
                guard !state.isDead else { return false }
                let tag = Unmanaged<Operation>.passRetained(operation)
                let error = ops.withUnsafeBufferPointer {
                    grpc_call_start_batch(handle, $0.baseAddress, $0.count, tag.toOpaque(), nil)
                }
                guard error == GRPC_CALL_OK else {
                    tag.release()
                    return false
                }
                state.pending += 1
                return true
            }
        }
    }

    private static func lower(_ part: Op, _ details: UnsafeMutablePointer<grpc_slice>) -> grpc_op {
        var op = grpc_op()
        switch part {
        case .metadata:
            op.op = GRPC_OP_SEND_INITIAL_METADATA
        case .message(let message):
            op.op = GRPC_OP_SEND_MESSAGE
            op.data.send_message.send_message = message.handle
        case .status(let code, _):
            op.op = GRPC_OP_SEND_STATUS_FROM_SERVER
            op.data.send_status_from_server.status = grpc_status_code(code.rawValue)
            op.data.send_status_from_server.status_details = details
        case .receiveMessage(let slot):
            op.op = GRPC_OP_RECV_MESSAGE
            op.data.recv_message.recv_message = slot
        case .receiveClose(let cancelled):
            op.op = GRPC_OP_RECV_CLOSE_ON_SERVER
            op.data.recv_close_on_server.cancelled = cancelled
        }
        return op
    }

    /// Status texts travel in the trailers, whose size peers limit (8 KiB is usual, and every byte that is not ASCII
    /// takes three): long ones are cut, between two characters.
    static func statusText(_ text: String) -> String {
        let limit = 1_024
        guard text.utf8.count > limit else { return text }
        var length = 0
        let kept = text.unicodeScalars.prefix { scalar in
            length += UTF8.width(scalar)
            return length <= limit
        }
        return String(kept)
    }

    private static func statusDetails(_ text: String) -> grpc_slice {
        var text = statusText(text)
        return text.withUTF8 { utf8 in
            let bytes = UnsafeRawBufferPointer(utf8)
            return grpc_slice_from_copied_buffer(bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
    }

    private func perform(_ parts: [Op], _ operation: CallOperation) async -> Bool {
        state.withLock { $0.waitingSince = .now }
        let success = await withCheckedContinuation { continuation in
            operation.continuation = continuation
            if !start(parts, operation) {
                operation.continuation = nil
                continuation.resume(returning: false)
            }
        }
        state.withLock { $0.waitingSince = nil }
        return success
    }

    /// The event of a batch has come.
    fileprivate func batchEnded() {
        state.withLock { state in
            state.pending -= 1
            releaseIfIdle(&state)
        }
    }
}

/// A batch of one call. Written before the batch starts, read on the queue's thread after it has ended.
private class CallOperation: Operation, @unchecked Sendable {
    let call: ServerCall
    var continuation: CheckedContinuation<Bool, Never>?
    /// Messages being sent.
    var keepAlive: [GRPCMessage] = []

    init(call: ServerCall) {
        self.call = call
    }

    override func completed(success: Bool) {
        call.batchEnded()
        continuation?.resume(returning: success)
    }
}

private final class ReceiveOperation: CallOperation, @unchecked Sendable {
    /// Where the core puts the message; it must not move while the batch runs.
    let slot: UnsafeMutablePointer<UnsafeMutablePointer<grpc_byte_buffer>?>

    override init(call: ServerCall) {
        slot = .allocate(capacity: 1)
        slot.initialize(to: nil)
        super.init(call: call)
    }

    deinit {
        if let buffer = slot.pointee { grpc_byte_buffer_destroy(buffer) }
        slot.deallocate()
    }

    func takeMessage() -> GRPCMessage? {
        defer { slot.pointee = nil }
        return slot.pointee.map { GRPCMessage(taking: $0) }
    }
}

private final class CloseOperation: CallOperation, @unchecked Sendable {
    let cancelled: UnsafeMutablePointer<CInt>

    override init(call: ServerCall) {
        cancelled = .allocate(capacity: 1)
        cancelled.initialize(to: 0)
        super.init(call: call)
    }

    deinit {
        cancelled.deallocate()
    }

    override func completed(success: Bool) {
        call.closed(cancelled: cancelled.pointee != 0)
        super.completed(success: success)
    }
}
