#include "CGRPC.h"

#include <sys/prctl.h>

const uint8_t *cgrpc_slice_start(const grpc_slice *slice) {
    return GRPC_SLICE_START_PTR(*slice);
}

uint8_t *cgrpc_slice_mutable_start(grpc_slice *slice) {
    return GRPC_SLICE_START_PTR(*slice);
}

size_t cgrpc_slice_length(const grpc_slice *slice) {
    return GRPC_SLICE_LENGTH(*slice);
}

const grpc_slice *cgrpc_byte_buffer_slices(const grpc_byte_buffer *buffer, size_t *count) {
    *count = buffer->data.raw.slice_buffer.count;
    return buffer->data.raw.slice_buffer.slices;
}

grpc_server_credentials *cgrpc_insecure_server_credentials(void) {
    return grpc_insecure_server_credentials_create();
}

grpc_channel_credentials *cgrpc_insecure_channel_credentials(void) {
    return grpc_insecure_credentials_create();
}

void cgrpc_name_thread(const char *name) {
    prctl(PR_SET_NAME, name, 0, 0, 0);
}
