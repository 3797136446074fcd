/* A disk that fails at a chosen change: preloaded into a process, it counts what that changes below a folder, and at
   change number `at` kills the process (kill -9), or refuses this and every later change as a full disk does.
   A write is torn: half of its bytes reach the file before the process is killed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT = 0, KILL = 1, FULL = 2 };
static char root[PATH_MAX];
static size_t root_length = 0;
static long at = 0;
static int mode = COUNT;
static atomic_long changes = 0;

void fault_arm(const char *folder, long number, int what) {
    root_length = 0;
    snprintf(root, sizeof root, "%s", folder);
    at = number;
    mode = what;
    changes = 0;
    root_length = strlen(root);
}

long fault_changes(void) { return changes; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int below(const char *path) {
    return root_length && path && strncmp(path, root, root_length) == 0;
}

static int path_below(int folder, const char *path) {
    if (!root_length || !path) return 0;
    if (path[0] == '/') return below(path);
    char whole[2 * PATH_MAX + 2], link[64];
    ssize_t n;
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
        n = (ssize_t)strlen(whole);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        n = readlink(link, whole, PATH_MAX);
    }
    if (n < 0) return 0;
    snprintf(whole + n, sizeof whole - (size_t)n, "/%s", path);
    return below(whole);
}

static int fd_below(int fd) {
    if (!root_length) return 0;
    char link[64], whole[PATH_MAX + 1];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, whole, PATH_MAX);
    if (n < 0) return 0;
    whole[n] = 0;
    return below(whole);
}

/* 0: go on; 1: the disk is full; 2: die, after tearing a write. */
static int fate(void) {
    long number = atomic_fetch_add(&changes, 1) + 1;
    if (mode == KILL && number >= at) return 2;
    return mode == FULL && number >= at;
}

static void die(void) {
    for (;;) kill(getpid(), SIGKILL);
}

#define CHANGE(is_below)                                  \
    if (is_below) {                                       \
        int is = fate();                                  \
        if (is == 2) die();                               \
        if (is == 1) { errno = ENOSPC; return -1; }       \
    }
/* Deleting works on a full disk. */
#define DELETE(is_below) if ((is_below) && fate() == 2) die();

#define OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                     \
        mode_t rights = 0;                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                         \
            va_list rest; va_start(rest, flags); rights = va_arg(rest, mode_t); va_end(rest); \
        }                                                                            \
        if (flags & (O_CREAT | O_TRUNC)) CHANGE(path_below(AT_FDCWD, path))          \
        return REAL(name)(path, flags, rights);                                      \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                 \
    int name(int folder, const char *path, int flags, ...) {                         \
        mode_t rights = 0;                                                           \
        if (flags & (O_CREAT | O_TMPFILE)) {                                         \
            va_list rest; va_start(rest, flags); rights = va_arg(rest, mode_t); va_end(rest); \
        }                                                                            \
        if (flags & (O_CREAT | O_TRUNC)) CHANGE(path_below(folder, path))            \
        return REAL(name)(folder, path, flags, rights);                              \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t n) {
    if (fd_below(fd)) {
        int is = fate();
        if (is == 2) { if (n > 1) (void)!REAL(write)(fd, data, n / 2); die(); }
        if (is == 1) { errno = ENOSPC; return -1; }
    }
    return REAL(write)(fd, data, n);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t place) { CHANGE(fd_below(fd)) return REAL(pwrite)(fd, data, n, place); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t place) { CHANGE(fd_below(fd)) return REAL(pwrite64)(fd, data, n, place); }
ssize_t writev(int fd, const struct iovec *parts, int n) { CHANGE(fd_below(fd)) return REAL(writev)(fd, parts, n); }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags) {
    CHANGE(fd_below(to)) return REAL(copy_file_range)(from, a, to, b, n, flags);
}
extern ssize_t sendfile(int to, int from, off_t *place, size_t n);
ssize_t sendfile(int to, int from, off_t *place, size_t n) { CHANGE(fd_below(to)) return REAL(sendfile)(to, from, place, n); }
int ftruncate(int fd, off_t n) { CHANGE(fd_below(fd)) return REAL(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { CHANGE(fd_below(fd)) return REAL(ftruncate64)(fd, n); }
int rename(const char *from, const char *to) { CHANGE(path_below(AT_FDCWD, to)) return REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) { CHANGE(path_below(b, to)) return REAL(renameat)(a, from, b, to); }
int link(const char *from, const char *to) { CHANGE(path_below(AT_FDCWD, to)) return REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    CHANGE(path_below(b, to)) return REAL(linkat)(a, from, b, to, flags);
}
int mkdir(const char *path, mode_t rights) { CHANGE(path_below(AT_FDCWD, path)) return REAL(mkdir)(path, rights); }
int mkdirat(int folder, const char *path, mode_t rights) { CHANGE(path_below(folder, path)) return REAL(mkdirat)(folder, path, rights); }
int unlink(const char *path) { DELETE(path_below(AT_FDCWD, path)) return REAL(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) { DELETE(path_below(folder, path)) return REAL(unlinkat)(folder, path, flags); }
int rmdir(const char *path) { DELETE(path_below(AT_FDCWD, path)) return REAL(rmdir)(path); }
