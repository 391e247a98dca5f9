import CGRPC

/// One message of a call: a grpc_byte_buffer, freed in deinit. Passed between tasks and the queue's thread, used by one
/// at a time.
final class GRPCMessage: @unchecked Sendable {
    let handle: UnsafeMutablePointer<grpc_byte_buffer>
    let byteCount: Int

    /// Takes over a buffer that the core gave away.
    init(taking handle: UnsafeMutablePointer<grpc_byte_buffer>) {
        self.handle = handle
        byteCount = grpc_byte_buffer_length(handle)
    }

    /// A message of `byteCount` bytes that `fill` writes, in place.
    init(byteCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) {
        var slice = grpc_slice_malloc(byteCount)
        fill(UnsafeMutableRawBufferPointer(start: cgrpc_slice_mutable_start(&slice), count: byteCount))
        handle = grpc_raw_byte_buffer_create(&slice, 1)
        grpc_slice_unref(slice)
        self.byteCount = byteCount
    }

    deinit {
        grpc_byte_buffer_destroy(handle)
    }

    /// The message as one piece of memory, valid inside `body` only. Copies only when it came in several pieces.
    func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var count = 0
        if let slices = cgrpc_byte_buffer_slices(handle, &count), count == 1 {
            return try body(UnsafeRawBufferPointer(start: cgrpc_slice_start(slices), count: cgrpc_slice_length(slices)))
        }
        var reader = grpc_byte_buffer_reader()
        guard grpc_byte_buffer_reader_init(&reader, handle) != 0 else {
            return try body(UnsafeRawBufferPointer(start: nil, count: 0))
        }
        let whole = UnsafeMutablePointer<grpc_slice>.allocate(capacity: 1)
        whole.initialize(to: grpc_byte_buffer_reader_readall(&reader))
        grpc_byte_buffer_reader_destroy(&reader)
        defer {
            grpc_slice_unref(whole.pointee)
            whole.deallocate()
        }
        return try body(UnsafeRawBufferPointer(start: cgrpc_slice_start(whole), count: cgrpc_slice_length(whole)))
    }
}

extension String {
    /// The text of a slice; the slice stays the owner's.
    init(_ slice: grpc_slice) {
        let copy = slice
        self = withUnsafePointer(to: copy) { pointer in
            String(
                decoding: UnsafeRawBufferPointer(start: cgrpc_slice_start(pointer), count: cgrpc_slice_length(pointer)),
                as: UTF8.self
            )
        }
    }
}
