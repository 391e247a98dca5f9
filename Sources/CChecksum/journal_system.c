#define _GNU_SOURCE
#include "CJournalSystem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

int cjournal_syncfs(int fd) {
    return syncfs(fd) == 0 ? 0 : errno;
}

int cjournal_write_error(int fd) {
    return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE) == 0 ? 0 : errno;
}

int cjournal_name_thread(const char *name) {
    return pthread_setname_np(pthread_self(), name);
}
