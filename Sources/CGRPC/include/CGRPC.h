#ifndef CGRPC_H
#define CGRPC_H

// The gRPC C core as Swift sees it: the public headers, and functions for what Swift's importer cannot read (macros
// with arguments, functions declared without a prototype). Nothing else belongs here.

// First: the gRPC headers define _GNU_SOURCE, with which system types would differ from those in Swift's own view of the
// C library.
#include <sys/types.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/status.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

/// GRPC_SLICE_START_PTR. A small slice keeps its bytes inside the struct: the pointer is valid as long as `slice` stays
/// where it is.
const uint8_t *cgrpc_slice_start(const grpc_slice *slice);

/// GRPC_SLICE_START_PTR of a slice that is being filled.
uint8_t *cgrpc_slice_mutable_start(grpc_slice *slice);

/// GRPC_SLICE_LENGTH.
size_t cgrpc_slice_length(const grpc_slice *slice);

/// The slices of an uncompressed raw byte buffer; `count` is set to their number. They belong to the buffer.
const grpc_slice *cgrpc_byte_buffer_slices(const grpc_byte_buffer *buffer, size_t *count);

/// grpc_insecure_server_credentials_create, which is declared without a prototype.
grpc_server_credentials *cgrpc_insecure_server_credentials(void);

/// grpc_insecure_credentials_create, which is declared without a prototype. For the tests' client.
grpc_channel_credentials *cgrpc_insecure_channel_credentials(void);

/// Names the calling thread (15 characters at most); a GNU extension that Swift's C library module leaves out.
void cgrpc_name_thread(const char *name);

#endif
