import CGRPC
import Glibc
import Synchronization

/// Arguments of the C server; the keys are those of grpc_types.h.
struct ChannelArguments {
    enum Value {
        case integer(Int32)
        case string(String)
    }
    var values: [(key: String, value: Value)] = []

    mutating func set(_ key: String, _ value: Int) {
        values.append((key, .integer(Int32(clamping: value))))
    }

    /// The C form, valid inside `body` only.
    func withCArguments<Result>(_ body: (UnsafePointer<grpc_channel_args>) -> Result) -> Result {
        var owned: [UnsafeMutablePointer<CChar>?] = []
        func copy(_ text: String) -> UnsafeMutablePointer<CChar>? {
            let pointer = strdup(text)
            owned.append(pointer)
            return pointer
        }
        defer { for pointer in owned { free(pointer) } }
        var list = values.map { key, value in
            var argument = grpc_arg()
            argument.key = copy(key)
            switch value {
            case .integer(let number):
                argument.type = GRPC_ARG_INTEGER
                argument.value.integer = number
            case .string(let text):
                argument.type = GRPC_ARG_STRING
                argument.value.string = copy(text)
            }
            return argument
        }
        return list.withUnsafeMutableBufferPointer { buffer in
            var arguments = grpc_channel_args(num_args: buffer.count, args: buffer.baseAddress)
            return body(&arguments)
        }
    }
}

/// A grpc_server, freed in deinit. Methods are not registered one by one: every call comes through
/// grpc_server_request_call with its path, so that unknown methods are answered here too.
final class GRPCServer: @unchecked Sendable {
    /// Calls that may be waiting to be looked at, per queue. The core holds what comes beyond in a list of its own; each
    /// is looked at at once, so this only covers a burst between two events of the queue.
    private static let acceptDepth = 128

    /// Thread-safe in the core.
    private let handle: OpaquePointer
    private let library: GRPCLibrary
    private let queues: [CompletionQueue]
    private let accept: @Sendable (ServerCall) -> Void
    private let isShuttingDown = Atomic(false)
    private let shutdownComplete = OneShot()

    /// `accept` is called on a queue's thread for every call: must not block.
    init(
        library: GRPCLibrary,
        queues: [CompletionQueue],
        arguments: ChannelArguments,
        accept: @escaping @Sendable (ServerCall) -> Void
    ) {
        self.library = library
        self.queues = queues
        self.accept = accept
        handle = arguments.withCArguments { grpc_server_create($0, nil) }
        for queue in queues { grpc_server_register_completion_queue(handle, queue.handle, nil) }
    }

    deinit {
        grpc_server_destroy(handle)
    }

    /// Binds an address before `start`; nil = it could not be bound.
    func bind(_ address: String, _ credentials: ServerCredentials) -> Int? {
        let port = grpc_server_add_http2_port(handle, address, credentials.handle)
        return port > 0 ? Int(port) : nil
    }

    func start() {
        grpc_server_start(handle)
        for queue in queues {
            for _ in 0..<Self.acceptDepth { requestCall(on: queue) }
        }
    }

    /// Admits nothing new from now on. Calls in progress go on.
    func beginShutdown() {
        guard !isShuttingDown.exchange(true, ordering: .acquiringAndReleasing) else { return }
        let operation = ShutdownOperation(done: shutdownComplete)
        grpc_server_shutdown_and_notify(
            handle,
            queues[0].handle,
            Unmanaged<Operation>.passRetained(operation).toOpaque()
        )
    }

    /// After `beginShutdown`.
    func cancelAllCalls() {
        grpc_server_cancel_all_calls(handle)
    }

    /// Whether every call and connection is gone, waiting at most `limit` for it.
    func waitForShutdown(atMost limit: Duration) async -> Bool {
        await shutdownComplete.wait(atMost: limit)
    }

    private func requestCall(on queue: CompletionQueue) {
        guard !isShuttingDown.load(ordering: .acquiring) else { return }
        let operation = AcceptOperation(server: self, queue: queue)
        let tag = Unmanaged<Operation>.passRetained(operation)
        let error = grpc_server_request_call(
            handle,
            operation.call,
            operation.details,
            operation.metadata,
            queue.handle,
            queue.handle,
            tag.toOpaque()
        )
        if error != GRPC_CALL_OK { tag.release() }
    }

    fileprivate func accepted(_ operation: AcceptOperation) {
        requestCall(on: operation.queue)
        if let call = operation.takeCall(library) { accept(call) }
    }
}

/// Waits for one call. The core writes into its memory, which must not move.
private final class AcceptOperation: Operation, @unchecked Sendable {
    let server: GRPCServer
    let queue: CompletionQueue
    let call: UnsafeMutablePointer<OpaquePointer?>
    let details: UnsafeMutablePointer<grpc_call_details>
    let metadata: UnsafeMutablePointer<grpc_metadata_array>

    init(server: GRPCServer, queue: CompletionQueue) {
        self.server = server
        self.queue = queue
        call = .allocate(capacity: 1)
        call.initialize(to: nil)
        details = .allocate(capacity: 1)
        details.initialize(to: grpc_call_details())
        grpc_call_details_init(details)
        metadata = .allocate(capacity: 1)
        metadata.initialize(to: grpc_metadata_array())
        grpc_metadata_array_init(metadata)
    }

    deinit {
        if let call = call.pointee { grpc_call_unref(call) }
        grpc_call_details_destroy(details)
        grpc_metadata_array_destroy(metadata)
        call.deallocate()
        details.deallocate()
        metadata.deallocate()
    }

    override func completed(success: Bool) {
        // Unsuccessful only when the server shuts down.
        if success { server.accepted(self) }
    }

    func takeCall(_ library: GRPCLibrary) -> ServerCall? {
        guard let handle = call.pointee else { return nil }
        call.pointee = nil
        var authorization: [String] = []
        for index in 0..<metadata.pointee.count {
            let entry = metadata.pointee.metadata[index]
            if grpc_slice_str_cmp(entry.key, "authorization") == 0 { authorization.append(String(entry.value)) }
        }
        return ServerCall(
            handle: handle,
            library: library,
            path: String(details.pointee.method),
            timeout: Duration(until: details.pointee.deadline),
            authorization: authorization
        )
    }
}

private final class ShutdownOperation: Operation, @unchecked Sendable {
    let done: OneShot

    init(done: OneShot) {
        self.done = done
    }

    override func completed(success: Bool) {
        done.fire()
    }
}

extension Duration {
    /// The time left until a deadline of the core; nil = infinite.
    init?(until deadline: gpr_timespec) {
        guard gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) != 0 else { return nil }
        let left = gpr_time_sub(deadline, gpr_now(deadline.clock_type))
        self = .seconds(left.tv_sec) + .nanoseconds(Int64(left.tv_nsec))
    }
}
