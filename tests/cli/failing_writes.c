/* Writes below a folder that fail from the n-th on, or the n-th alone: preloaded into a process that plans them by ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[4096];
static long first = -1, seen;
static int error, lasts;

void plan_failure(const char *folder, long number, int code, int for_good) {
    snprintf(below, sizeof below, "%s", folder);
    first = number, error = code, lasts = for_good, seen = 0;
}

long writes_seen(void) { return seen; }

static int fails(const char *path) {
    if (!*below || strncmp(path, below, strlen(below))) return 0;
    long number = __sync_fetch_and_add(&seen, 1);
    if (first < 0 || !(number == first || (lasts && number > first))) return 0;
    errno = error;
    return 1;
}

static int fails_on(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = *below ? readlink(link, path, sizeof path - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define TRUE_ONE(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_DESCRIPTOR(type, name, parameters, ...) \
    type name parameters { return fails_on(descriptor) ? -1 : TRUE_ONE(name)(__VA_ARGS__); }
#define ON_PATH(name, parameters, path, ...) \
    int name parameters { return fails(path) ? -1 : TRUE_ONE(name)(__VA_ARGS__); }
#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR) && fails(path)) return -1; \
        return TRUE_ONE(name)(path, flags, mode); \
    }

ON_DESCRIPTOR(ssize_t, write, (int descriptor, const void *data, size_t size), descriptor, data, size)
ON_DESCRIPTOR(ssize_t, pwrite, (int descriptor, const void *data, size_t size, off_t at), descriptor, data, size, at)
ON_DESCRIPTOR(ssize_t, pwrite64, (int descriptor, const void *data, size_t size, off64_t at), descriptor, data, size, at)
ON_DESCRIPTOR(ssize_t, writev, (int descriptor, const struct iovec *data, int count), descriptor, data, count)
ON_DESCRIPTOR(int, fsync, (int descriptor), descriptor)
ON_DESCRIPTOR(int, fdatasync, (int descriptor), descriptor)
ON_DESCRIPTOR(int, ftruncate, (int descriptor, off_t size), descriptor, size)
ON_DESCRIPTOR(int, ftruncate64, (int descriptor, off64_t size), descriptor, size)
ON_PATH(mkdir, (const char *path, mode_t mode), path, path, mode)
ON_PATH(rename, (const char *old, const char *new), new, old, new)
ON_PATH(link, (const char *old, const char *new), new, old, new)
OPENING(open)
OPENING(open64)
