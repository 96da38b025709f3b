/* Writes below a folder that fail from the n-th on, or the n-th alone, or at the n-th of which the process gets a signal;
   and locks that a file system refuses, or gives to everybody: preloaded into a process that plans them by ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[4096];
static long first = -1, seen;
static int error, lasts, locks;

/* A code below zero is a signal. */
void plan_failure(const char *folder, long number, int code, int for_good) {
    snprintf(below, sizeof below, "%s", folder);
    first = number, error = code, lasts = for_good, seen = 0;
}

long writes_seen(void) { return seen; }

/* Above zero the error that each lock meets; below, each seems to be had. */
void plan_locks(int code) { locks = code; }

enum { PASSES, FAILS, DIES };

static int is_elsewhere(const char *path) { return !*below || strncmp(path, below, strlen(below)); }

static int fate(const char *path) {
    if (is_elsewhere(path)) return PASSES;
    long number = __sync_fetch_and_add(&seen, 1);
    if (first < 0 || !(number == first || (lasts && number > first))) return PASSES;
    if (error < 0) return DIES;
    errno = error;
    return FAILS;
}

/* An empty path where nobody knows it. */
static const char *path_of(int descriptor, char path[4096]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = *below ? readlink(link, path, 4095) : -1;
    path[length < 0 ? 0 : length] = 0;
    return path;
}

static int fate_of(int descriptor) {
    char path[4096];
    return fate(path_of(descriptor, path));
}

/* A process stops where it is, so a signal to stop goes to this very thread; `half` is done before one that kills. */
#define MEETS(found, half) ({ \
    int met = found; \
    if (met == DIES && error == -SIGKILL) half; \
    if (met == DIES) error == -SIGSTOP ? raise(SIGSTOP) : kill(getpid(), -error); \
    met == FAILS; })

#define TRUE_ONE(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_DESCRIPTOR(type, name, parameters, half, ...) \
    type name parameters { return MEETS(fate_of(descriptor), half) ? -1 : TRUE_ONE(name)(__VA_ARGS__); }
#define ON_PATH(name, parameters, path, ...) \
    int name parameters { return MEETS(fate(path), (void)0) ? -1 : TRUE_ONE(name)(__VA_ARGS__); }
#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR) && MEETS(fate(path), (void)0)) return -1; \
        return TRUE_ONE(name)(path, flags, mode); \
    }

ON_DESCRIPTOR(ssize_t, write, (int descriptor, const void *data, size_t size),
              TRUE_ONE(write)(descriptor, data, size / 2), descriptor, data, size)
ON_DESCRIPTOR(ssize_t, pwrite, (int descriptor, const void *data, size_t size, off_t at),
              TRUE_ONE(pwrite)(descriptor, data, size / 2, at), descriptor, data, size, at)
ON_DESCRIPTOR(ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t at),
              TRUE_ONE(pwrite64)(descriptor, data, size / 2, at), descriptor, data, size, at)
ON_DESCRIPTOR(ssize_t, writev, (int descriptor, const struct iovec *data, int count),
              TRUE_ONE(writev)(descriptor, data, count / 2), descriptor, data, count)
ON_DESCRIPTOR(int, fsync, (int descriptor), (void)0, descriptor)
ON_DESCRIPTOR(int, fdatasync, (int descriptor), (void)0, descriptor)
ON_DESCRIPTOR(int, ftruncate, (int descriptor, off_t size), (void)0, descriptor, size)
ON_DESCRIPTOR(int, ftruncate64, (int descriptor, off64_t size), (void)0, descriptor, size)
ON_PATH(mkdir, (const char *path, mode_t mode), path, path, mode)
ON_PATH(rename, (const char *old, const char *new), new, old, new)
ON_PATH(link, (const char *old, const char *new), new, old, new)
OPENING(open)
OPENING(open64)

#define LOCKING(name) \
    int name(int descriptor, int command, ...) { \
        char path[4096]; \
        va_list rest; \
        va_start(rest, command); \
        void *argument = va_arg(rest, void *); \
        va_end(rest); \
        int is_lock = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW; \
        if (locks && is_lock && !is_elsewhere(path_of(descriptor, path))) return locks < 0 ? 0 : (errno = locks, -1); \
        return TRUE_ONE(name)(descriptor, command, argument); \
    }

LOCKING(fcntl)
LOCKING(fcntl64)
int flock(int descriptor, int operation) {
    char path[4096];
    if (locks && !is_elsewhere(path_of(descriptor, path))) return locks < 0 ? 0 : (errno = locks, -1);
    return TRUE_ONE(flock)(descriptor, operation);
}

/* Removing is a moment to die at, and never fails. */
int unlink(const char *path) {
    if (error < 0) (void)MEETS(fate(path), (void)0);
    return TRUE_ONE(unlink)(path);
}
