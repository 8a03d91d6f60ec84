#include "agent_socket.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* --- time */

static struct timespec after(long ms) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += ms / 1000;
    end.tv_nsec += ms % 1000 * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    return end;
}

/* Returns the milliseconds until the end, never less than 0. */
static long left(const struct agent *agent) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long ms = (agent->end.tv_sec - now.tv_sec) * 1000 + (agent->end.tv_nsec - now.tv_nsec) / 1000000;
    return ms > 0 ? ms : 0;
}

/* Waits until the socket is ready. */
static bool is_ready(const struct agent *agent, short events) {
    struct pollfd each = {.fd = agent->fd, .events = events};
    long until = left(agent) > agent->silence ? left(agent) - agent->silence : 0; /* what must be left */
    for (long ms; (ms = left(agent) - until) > 0;) {
        int ready = poll(&each, 1, (int)ms);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
    errno = ETIMEDOUT;
    return false;
}

/* --- the way to the socket */

/* Whether only root and one other account, the agent's, can have made the socket. Sets `owner` to that account, or root.
 *
 * Every folder of the path belongs to one of the two, and nobody else may write to it. An sshd that is not root serves
 * its own account alone. Then that account is the other one, and the path may begin in a folder such as /tmp.
 */
static bool is_trusted(const char *path, uid_t *owner) {
    char part[sizeof ((struct sockaddr_un *)0)->sun_path];
    struct stat status;
    *owner = geteuid();
    bool is_root = geteuid() == 0;
    for (const char *slash = path; slash != NULL; slash = strchr(slash + 1, '/')) {
        size_t length = slash == path ? 1 : (size_t)(slash - path);
        errno = EACCES;
        if (length >= sizeof part)
            return false;
        memcpy(part, path, length);
        part[length] = '\0';
        if (lstat(part, &status) != 0)
            return false;
        if (status.st_uid != 0 && status.st_uid != *owner) {
            if (*owner != 0)
                return false;
            *owner = status.st_uid;
        }
        bool is_open = (status.st_mode & 022) != 0 && (is_root || (status.st_mode & S_ISVTX) == 0);
        if (!S_ISDIR(status.st_mode) || is_open)
            return false;
    }
    return true;
}

static bool is_agent(int fd, uid_t owner) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return false;
    errno = EACCES;
    return peer.uid == owner || peer.uid == 0;
}

const char *agent_connect(struct agent *agent, const char *path, long total, long silence) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uid_t owner;
    agent->fd = -1;
    agent->end = after(total);
    agent->silence = silence;
    agent->used = agent->received.length = 0;
    errno = ENAMETOOLONG;
    if (strlen(path) >= sizeof address.sun_path || !is_trusted(path, &owner))
        return "the agent is not there, or another account can change a folder of this path";
    memcpy(address.sun_path, path, strlen(path));
    agent->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (agent->fd < 0 || connect(agent->fd, (struct sockaddr *)&address, sizeof address) != 0)
        return "no agent answers: is `sshaft agent` running?";
    return is_agent(agent->fd, owner) ? NULL : "another account than the agent's listens there";
}

void agent_close(struct agent *agent) {
    if (agent->fd >= 0)
        close(agent->fd);
    agent->fd = -1;
}

/* --- messages */

bool agent_send(struct agent *agent) {
    struct buffer *buffer = &agent->sent;
    message_end(buffer);
    errno = EMSGSIZE;
    for (size_t sent = 0; !buffer->full && sent < buffer->length;) {
        if (!is_ready(agent, POLLOUT))
            return false;
        ssize_t step = send(agent->fd, buffer->data + sent, buffer->length - sent, MSG_NOSIGNAL);
        if (step < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        sent += step > 0 ? (size_t)step : 0;
    }
    return !buffer->full;
}

const char *agent_receive(struct agent *agent) {
    struct buffer *buffer = &agent->received;
    buffer->length -= agent->used;
    memmove(buffer->data, buffer->data + agent->used, buffer->length);
    while ((agent->used = message_length(buffer->data, buffer->length)) == 0) {
        if (buffer->length == sizeof buffer->data)
            return "a message is too long";
        if (!is_ready(agent, POLLIN))
            return "the agent is silent";
        ssize_t step = recv(agent->fd, buffer->data + buffer->length, sizeof buffer->data - buffer->length, 0);
        if (step == 0)
            return "the agent ended the connection";
        if (step < 0 && errno != EINTR && errno != EAGAIN)
            return strerror(errno);
        buffer->length += step > 0 ? (size_t)step : 0;
    }
    return message_decode(buffer->data, agent->used, &agent->message);
}
