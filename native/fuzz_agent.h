/* What the targets of libFuzzer put in place of the system: an agent that says the input.
 *
 * A target includes this file, and then the sources that it tests. The first byte of an input tells what the world around
 * them does, and the other bytes come from the agent. `clock_gettime` is a clock of its own, which only `poll` moves.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SMALL_PIECES = 8, INTERRUPTS = 16, AGENT_IS_DEAF = 64, AGENT_IS_SLOW = 128 };

static struct {
    uint8_t options;
    const char *said;
    size_t length, read;
    unsigned calls;
    int open;
    long now; /* milliseconds */
    char typed[17]; /* new in each run, so that the agent cannot say it */
} world;

static void check(bool is_so) {
    if (!is_so)
        abort();
}

static void begin_world(const uint8_t *data, size_t size) {
    memset(&world, 0, sizeof world);
    world.options = data[0];
    world.said = (const char *)data + 1;
    world.length = size - 1;
}

static bool is_interrupted(int reason) {
    errno = reason;
    return (world.options & INTERRUPTS) != 0 && world.calls++ % 3 == 0;
}

/* Returns how much of `length` passes at once. */
static size_t piece(size_t length) {
    size_t limit = 1 + world.calls++ % 7;
    return (world.options & SMALL_PIECES) != 0 && limit < length ? limit : length;
}

static int fake_lstat(const char *path, struct stat *status) {
    (void)path;
    *status = (struct stat){.st_mode = S_IFDIR | 0755};
    return 0;
}

static int fake_socket(int family, int type, int protocol) {
    (void)family, (void)type, (void)protocol;
    world.open++;
    return 1000;
}

static int fake_connect(int fd, const struct sockaddr *address, socklen_t length) {
    (void)fd, (void)address, (void)length;
    return 0;
}

static int fake_getsockopt(int fd, int level, int name, void *peer, socklen_t *length) {
    (void)fd, (void)level, (void)name, (void)length;
    *(struct ucred *)peer = (struct ucred){.pid = 1};
    return 0;
}

static int fake_clock_gettime(clockid_t clock, struct timespec *now) {
    check(clock == CLOCK_MONOTONIC);
    *now = (struct timespec){.tv_sec = world.now / 1000, .tv_nsec = world.now % 1000 * 1000000};
    return 0;
}

static int fake_poll(struct pollfd *agent, nfds_t count, int ms) {
    (void)agent, (void)count;
    check(ms > 0);
    int step = (world.options & AGENT_IS_SLOW) != 0 ? (int)(world.calls++ % 100) : 0;
    world.now += step < ms ? step : ms;
    return step >= ms ? 0 : is_interrupted(EINTR) ? -1 : 1;
}

static ssize_t fake_send(int fd, const void *data, size_t length, int flags) {
    (void)fd, (void)flags;
    char *copy = memcpy(malloc(length), data, length); /* so that the sanitizer sees what cannot be read */
    free(copy);
    if ((world.options & AGENT_IS_DEAF) != 0 && world.read > 0) {
        errno = EIO; /* not EPIPE: after that the module still reads what the agent has said */
        return -1;
    }
    return is_interrupted(EAGAIN) ? -1 : (ssize_t)piece(length);
}

static ssize_t fake_recv(int fd, void *data, size_t length, int flags) {
    (void)fd, (void)flags;
    if (is_interrupted(EINTR))
        return -1;
    size_t left = world.length - world.read, part = piece(left < length ? left : length);
    memcpy(data, world.said + world.read, part);
    world.read += part;
    return (ssize_t)part;
}

static int fake_close(int fd) {
    (void)fd;
    return --world.open;
}

/* The sources call these functions in place of the system's. */
#define lstat fake_lstat
#define socket fake_socket
#define connect fake_connect
#define getsockopt fake_getsockopt
#define clock_gettime fake_clock_gettime
#define poll fake_poll
#define send fake_send
#define recv fake_recv
#define close fake_close
