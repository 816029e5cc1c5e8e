/* Loaded in front of the C library (LD_PRELOAD) of a process whose disk is to fail. For files below FAULTS_FOLDER:

   - What a write or a truncation destroys is appended to FAULTS_LOG before it happens, and so is each fsync. Nothing
     but what was synced survives a loss of power: preload.py takes the rest back. Not covered: files that were made,
     renamed or removed, and memory maps (SQLite's -shm, which is rebuilt).
   - While the first byte of FAULTS_MODE is 1 (disk full) or 2 (read-only), writing fails with ENOSPC or EROFS.

   A record: kind (W, T, S), length of the path, offset, size of the file before, length of what stood there (all
   little-endian: 1, 4, 8, 8, 4 bytes), the path, what stood there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_close)(int);
static int (*real_fallocate)(int, off_t, off_t);
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static int log_fd = -1;
static volatile const char *mode;
static signed char state[FDS]; /* 0: not looked at, 1: below the folder, -1: elsewhere */

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_close = dlsym(RTLD_NEXT, "close");
    real_fallocate = dlsym(RTLD_NEXT, "posix_fallocate64");
    folder = getenv("FAULTS_FOLDER");
    const char *log = getenv("FAULTS_LOG"), *mode_file = getenv("FAULTS_MODE");
    if (!folder || !log || !mode_file) { folder = NULL; return; }
    log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int fd = open(mode_file, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        mode = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
        if (mode == MAP_FAILED) mode = NULL;
        real_close(fd);
    }
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return (int)length;
}

static int is_below(int fd) {
    if (!folder || fd < 0 || fd >= FDS) return 0;
    if (!state[fd]) {
        char path[PATH_MAX];
        struct stat about;
        int regular = !fstat(fd, &about) && S_ISREG(about.st_mode);
        int below = regular && path_of(fd, path) && !strncmp(path, folder, strlen(folder));
        state[fd] = below ? 1 : -1;
    }
    return state[fd] > 0;
}

static int fails(void) {
    int now = mode ? *mode : 0;
    if (now == 1) errno = ENOSPC;
    if (now == 2) errno = EROFS;
    return now == 1 || now == 2;
}

static void put(char **at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) *(*at)++ = (char)(value >> 8 * i);
}

/* Append a record; `length` bytes from `offset` are about to be destroyed. The lock is held. */
static void record(char kind, int fd, off_t offset, size_t length) {
    char path[PATH_MAX];
    struct stat about;
    uint32_t path_length = (uint32_t)path_of(fd, path);
    if (log_fd < 0 || fstat(fd, &about)) return;
    size_t there = offset >= about.st_size ? 0 : (size_t)(about.st_size - offset);
    size_t old = there < length ? there : length;
    char *buffer = malloc(25 + path_length + old), *at = buffer;
    /* A file that was opened to be written only is read by its name. */
    int reading = open(path, O_RDONLY | O_CLOEXEC);
    char *kept = buffer + 25 + path_length;
    if (reading < 0 || pread(reading, kept, old, offset) != (ssize_t)old) old = 0;
    if (reading >= 0) real_close(reading);
    *at++ = kind;
    put(&at, path_length, 4);
    put(&at, (uint64_t)offset, 8);
    put(&at, (uint64_t)about.st_size, 8);
    put(&at, old, 4);
    memcpy(at, path, path_length);
    real_write(log_fd, buffer, 25 + path_length + old);
    free(buffer);
}

static off_t place(int fd) {
    struct stat about;
    if (fcntl(fd, F_GETFL) & O_APPEND) return fstat(fd, &about) ? 0 : about.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t length) {
    if (!is_below(fd)) return real_write(fd, data, length);
    if (fails()) return -1;
    pthread_mutex_lock(&lock);
    record('W', fd, place(fd), length);
    ssize_t written = real_write(fd, data, length);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!is_below(fd)) return real_writev(fd, parts, count);
    if (fails()) return -1;
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    pthread_mutex_lock(&lock);
    record('W', fd, place(fd), length);
    ssize_t written = real_writev(fd, parts, count);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) {
    if (!is_below(fd)) return real_pwrite(fd, data, length, offset);
    if (fails()) return -1;
    pthread_mutex_lock(&lock);
    record('W', fd, offset, length);
    ssize_t written = real_pwrite(fd, data, length, offset);
    pthread_mutex_unlock(&lock);
    return written;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

int ftruncate64(int fd, off_t size) {
    if (!is_below(fd)) return real_ftruncate(fd, size);
    if (fails()) return -1;
    pthread_mutex_lock(&lock);
    record('T', fd, size, SIZE_MAX);
    int done = real_ftruncate(fd, size);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int posix_fallocate64(int fd, off_t offset, off_t length) {
    if (is_below(fd) && fails()) return errno;
    if (!is_below(fd)) return real_fallocate(fd, offset, length);
    pthread_mutex_lock(&lock);
    record('T', fd, LLONG_MAX, 0); /* destroys nothing, and may make the file longer */
    int done = real_fallocate(fd, offset, length);
    pthread_mutex_unlock(&lock);
    return done;
}
int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

static int sync_with(int (*real)(int), int fd) {
    if (!is_below(fd)) return real(fd);
    if (mode && *mode) return fails() ? -1 : 0;
    pthread_mutex_lock(&lock);
    int done = real(fd);
    if (!done) record('S', fd, LLONG_MAX, 0);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return sync_with(real_fsync, fd); }
int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

int close(int fd) {
    if (fd >= 0 && fd < FDS) state[fd] = 0;
    return real_close(fd);
}
