/*
 * System calls of the journal that Swift's Glibc module hides, because they are declared only under _GNU_SOURCE.
 * All return 0, or the value of errno.
 */
#ifndef CJOURNALSYSTEM_H
#define CJOURNALSYSTEM_H

#ifdef __cplusplus
extern "C" {
#endif

/* syncfs(2): makes durable everything written to the file system that holds `fd`. */
int cjournal_syncfs(int fd);

/*
 * Waits for write-out of `fd` that is already under way and tells whether any failed since the last question, without
 * starting any or flushing the device's cache (sync_file_range(2), SYNC_FILE_RANGE_WAIT_BEFORE). Before Linux 5.8 syncfs(2)
 * reports no write error, so each file has to be asked.
 */
int cjournal_write_error(int fd);

/* Names the calling thread, for `top -H` and debuggers. At most 15 characters. */
int cjournal_name_thread(const char *name);

#ifdef __cplusplus
}
#endif

#endif
