import CGRPC
import Glibc

/// Something the core finishes later. Its address is the tag of the operation: the core holds one reference from the
/// start of the operation until its event has been delivered.
class Operation: @unchecked Sendable {
    /// Called once, on the completion queue's thread: must not block.
    func completed(success: Bool) {}
}

/// A grpc_completion_queue with the one thread that polls it. The thread also does the network's work for everything
/// bound to the queue, so nothing that blocks may run on it.
final class CompletionQueue: @unchecked Sendable {
    /// Thread-safe in the core; freed in deinit, after the thread has ended.
    let handle: OpaquePointer
    private let library: GRPCLibrary
    private let ended = OneShot()
    private let name: String

    /// `name`: the thread's, at most 15 characters.
    init(library: GRPCLibrary, name: String) {
        self.library = library
        self.name = name
        handle = grpc_completion_queue_create_for_next(nil)
    }

    deinit {
        grpc_completion_queue_destroy(handle)
    }

    /// Starts the thread. It keeps this object alive until `shutdown`. Called once.
    func start() throws(ControlServerError) {
        var thread = pthread_t()
        let box = Unmanaged.passRetained(self)
        let status = pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument else { return nil }
                let queue = Unmanaged<CompletionQueue>.fromOpaque(argument).takeRetainedValue()
                queue.poll()
                return nil
            },
            box.toOpaque()
        )
        guard status == 0 else {
            box.release()
            // Nothing was started, so nothing has to be drained: the queue only has to be in the state deinit needs.
            grpc_completion_queue_shutdown(handle)
            throw ControlServerError.thread(errno: status)
        }
        pthread_detach(thread)
    }

    /// Lets the thread drain the queue and end. No operation may be started on the queue afterwards.
    func beginShutdown() {
        grpc_completion_queue_shutdown(handle)
    }

    /// As `beginShutdown`, and waits for it.
    func shutdown() async {
        beginShutdown()
        await ended.waitUncancelled()
    }

    private func poll() {
        cgrpc_name_thread(name)
        while true {
            let event = grpc_completion_queue_next(handle, gpr_inf_future(GPR_CLOCK_REALTIME), nil)
            switch event.type {
            case GRPC_OP_COMPLETE:
                guard let tag = event.tag else { continue }
                Unmanaged<Operation>.fromOpaque(tag).takeRetainedValue().completed(success: event.success != 0)
            case GRPC_QUEUE_SHUTDOWN:
                ended.fire()
                return
            default:
                continue
            }
        }
    }
}
