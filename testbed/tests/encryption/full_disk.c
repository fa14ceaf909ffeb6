/* Makes the fsync with the number KDC_TESTBED_FULL_AT fail as on a full disk. Loaded into the program by LD_PRELOAD. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int seen;

int fsync(int fd) {
    const char *at = getenv("KDC_TESTBED_FULL_AT");
    if (at != NULL && atomic_fetch_add(&seen, 1) + 1 == atoi(at)) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}
