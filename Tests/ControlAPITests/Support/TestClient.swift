import CGRPC
import FoundationEssentials
import Synchronization

@testable import ControlAPI

/// A client over the same C core as the server, and nothing else in common with it.
final class TestClient: @unchecked Sendable {
    struct Reply: Sendable {
        var code: StatusCode
        var text: String
        /// The first message; nil = none came.
        var message: [UInt8]?
    }

    private let library = GRPCLibrary()
    private let queue: CompletionQueue
    private let channel: OpaquePointer

    /// `credentials`: nil = without TLS; released by the client. `compressing`: requests are sent in gzip.
    init(port: Int, credentials: OpaquePointer? = nil, compressing: Bool = false) throws {
        queue = CompletionQueue(library: library, name: "test-client")
        try queue.start()
        var arguments = ChannelArguments()
        // A connection of its own, and answers of any size.
        arguments.set("grpc.use_local_subchannel_pool", 1)
        arguments.set("grpc.max_receive_message_length", -1)
        arguments.set("grpc.initial_reconnect_backoff_ms", 100)
        if compressing { arguments.set("grpc.default_compression_algorithm", 2) }
        let own = credentials ?? cgrpc_insecure_channel_credentials()
        channel = arguments.withCArguments { grpc_channel_create("localhost:\(port)", own, $0) }
        grpc_channel_credentials_release(own)
    }

    func close() async {
        grpc_channel_destroy(channel)
        await queue.shutdown()
    }

    /// A call with its initial metadata under way.
    func call(_ method: String, authorization: [String] = [], timeout: Duration = .seconds(120)) -> TestCall {
        TestCall(
            channel: channel,
            queue: queue.handle,
            path: method.hasPrefix("/") ? method : "/scada.ScadaService/\(method)",
            authorization: authorization,
            timeout: timeout
        )
    }

    /// A whole unary call.
    func unary(
        _ method: String,
        _ request: [UInt8],
        authorization: [String] = [],
        timeout: Duration = .seconds(120)
    ) async -> Reply {
        let call = call(method, authorization: authorization, timeout: timeout)
        await call.send(request)
        await call.halfClose()
        let message = await call.receive()
        let (code, text) = await call.status()
        return Reply(code: code, text: text, message: message)
    }
}

/// One call of the client. Its methods are used by one task, one after the other; `cancel` from anywhere.
final class TestCall: @unchecked Sendable {
    private final class Batch: ControlAPI.Operation, @unchecked Sendable {
        private let done: @Sendable (Bool) -> Void
        init(_ done: @escaping @Sendable (Bool) -> Void) { self.done = done }
        override func completed(success: Bool) { done(success) }
    }

    /// What the core writes to: must not move.
    private final class Memory: @unchecked Sendable {
        let initial = UnsafeMutablePointer<grpc_metadata_array>.allocate(capacity: 1)
        let trailing = UnsafeMutablePointer<grpc_metadata_array>.allocate(capacity: 1)
        let status = UnsafeMutablePointer<grpc_status_code>.allocate(capacity: 1)
        let details = UnsafeMutablePointer<grpc_slice>.allocate(capacity: 1)
        let message = UnsafeMutablePointer<UnsafeMutablePointer<grpc_byte_buffer>?>.allocate(capacity: 1)
        var sent = [grpc_metadata]()

        init() {
            grpc_metadata_array_init(initial)
            grpc_metadata_array_init(trailing)
            status.initialize(to: GRPC_STATUS_UNKNOWN)
            details.initialize(to: grpc_empty_slice())
            message.initialize(to: nil)
        }

        deinit {
            grpc_metadata_array_destroy(initial)
            grpc_metadata_array_destroy(trailing)
            grpc_slice_unref(details.pointee)
            for entry in sent {
                grpc_slice_unref(entry.key)
                grpc_slice_unref(entry.value)
            }
            initial.deallocate()
            trailing.deallocate()
            status.deallocate()
            details.deallocate()
            message.deallocate()
        }
    }

    private let handle: OpaquePointer
    private let memory = Memory()
    private let ended = OneShot()

    fileprivate init(
        channel: OpaquePointer,
        queue: OpaquePointer,
        path: String,
        authorization: [String],
        timeout: Duration
    ) {
        let method = grpc_slice_from_copied_string(path)
        defer { grpc_slice_unref(method) }
        let (seconds, attoseconds) = timeout.components
        let span = gpr_timespec(
            tv_sec: seconds,
            tv_nsec: Int32(attoseconds / 1_000_000_000),
            clock_type: GPR_TIMESPAN
        )
        let deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), span)
        handle = grpc_channel_create_call(channel, nil, 0xFFFF, queue, method, nil, deadline, nil)
        memory.sent = authorization.map { value in
            var entry = grpc_metadata()
            entry.key = grpc_slice_from_copied_string("authorization")
            entry.value = grpc_slice_from_copied_string(value)
            return entry
        }
        var send = grpc_op()
        send.op = GRPC_OP_SEND_INITIAL_METADATA
        memory.sent.withUnsafeMutableBufferPointer { sent in
            send.data.send_initial_metadata.count = sent.count
            send.data.send_initial_metadata.metadata = sent.baseAddress
            start(send) { _ in }
        }
        var receive = grpc_op()
        receive.op = GRPC_OP_RECV_INITIAL_METADATA
        receive.data.recv_initial_metadata.recv_initial_metadata = memory.initial
        start(receive) { _ in }
        var status = grpc_op()
        status.op = GRPC_OP_RECV_STATUS_ON_CLIENT
        status.data.recv_status_on_client.trailing_metadata = memory.trailing
        status.data.recv_status_on_client.status = memory.status
        status.data.recv_status_on_client.status_details = memory.details
        start(status) { [ended] _ in ended.fire() }
    }

    deinit {
        grpc_call_unref(handle)
    }

    /// Starts a batch of one; the call and its memory live until it has ended.
    private func start(_ op: grpc_op, _ done: @escaping @Sendable (Bool) -> Void) {
        let batch = Batch { [memory] success in
            withExtendedLifetime(memory) { done(success) }
        }
        let tag = Unmanaged<ControlAPI.Operation>.passRetained(batch)
        let error = withUnsafePointer(to: op) { grpc_call_start_batch(handle, $0, 1, tag.toOpaque(), nil) }
        if error != GRPC_CALL_OK {
            tag.release()
            done(false)
        }
    }

    private func perform(_ op: grpc_op) async -> Bool {
        await withCheckedContinuation { continuation in
            start(op) { continuation.resume(returning: $0) }
        }
    }

    @discardableResult
    func send(_ bytes: [UInt8]) async -> Bool {
        let message = GRPCMessage(byteCount: bytes.count) { $0.copyBytes(from: bytes) }
        var op = grpc_op()
        op.op = GRPC_OP_SEND_MESSAGE
        op.data.send_message.send_message = message.handle
        defer { withExtendedLifetime(message) {} }
        return await perform(op)
    }

    func halfClose() async {
        var op = grpc_op()
        op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT
        _ = await perform(op)
    }

    /// The next message; nil = there are no more.
    func receive() async -> [UInt8]? {
        var op = grpc_op()
        op.op = GRPC_OP_RECV_MESSAGE
        op.data.recv_message.recv_message = memory.message
        guard await perform(op), let buffer = memory.message.pointee else { return nil }
        memory.message.pointee = nil
        return GRPCMessage(taking: buffer).withBytes { Array($0) }
    }

    func status() async -> (code: StatusCode, text: String) {
        await ended.waitUncancelled()
        return (StatusCode(rawValue: Int32(memory.status.pointee.rawValue)), String(memory.details.pointee))
    }

    func cancel() {
        grpc_call_cancel(handle, nil)
    }
}
