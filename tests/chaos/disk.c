/* A disk that is slow or full, for one process: loaded before its C library, it looks at a page shared with the test
 * and holds up syncs, or refuses what is written to files, as a real disk would. Sockets and pipes are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct orders { uint32_t delay_ms; uint32_t full; };

static volatile struct orders *orders;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_DISK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, sizeof(struct orders), PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) orders = page;
    close(fd);
}

static int is_file(int fd) {
    struct stat facts;
    return fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode);
}

/* How much of a write a full disk still takes: half of it once, so that what was written last is torn; then nothing. */
static ssize_t room(int fd, size_t size) {
    static int torn;
    if (!orders || !orders->full || !is_file(fd)) {
        if (orders && !orders->full) torn = 0;
        return size;
    }
    if (!torn && size > 1) {
        torn = 1;
        return size / 2;
    }
    errno = ENOSPC;
    return -1;
}

static void linger(int fd) {
    if (!orders || !orders->delay_ms || !is_file(fd)) return;
    struct timespec time = { orders->delay_ms / 1000, (orders->delay_ms % 1000) * 1000000L };
    nanosleep(&time, NULL);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { linger(fd); return NEXT(fsync)(fd); }
int fdatasync(int fd) { linger(fd); return NEXT(fdatasync)(fd); }

ssize_t write(int fd, const void *bytes, size_t size) {
    ssize_t fits = room(fd, size);
    return fits < 0 ? fits : NEXT(write)(fd, bytes, fits);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) {
    ssize_t fits = room(fd, size);
    return fits < 0 ? fits : NEXT(pwrite)(fd, bytes, fits, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    ssize_t fits = room(fd, size);
    return fits < 0 ? fits : NEXT(pwrite64)(fd, bytes, fits, at);
}

/* Several pieces at once: all or nothing is near enough. */
ssize_t writev(int fd, const struct iovec *pieces, int count) {
    return room(fd, 1) < 0 ? -1 : NEXT(writev)(fd, pieces, count);
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t at) {
    return room(fd, 1) < 0 ? -1 : NEXT(pwritev64)(fd, pieces, count, at);
}
