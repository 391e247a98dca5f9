#include <libpq-fe.h>
#include <sys/prctl.h>

// prctl is variadic, which Swift cannot call. Names the calling thread for ps, top and debuggers (15 bytes at most).
static inline void clibpq_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }
