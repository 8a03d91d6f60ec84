/* libnss_sshaft: lets sshd begin the login of a person whose account the host does not have yet.
 *
 *     passwd: files systemd sshaft        in /etc/nsswitch.conf, behind every other source
 *
 * sshd drops a name that getpwnam does not know, before PAM can create the account. So this module answers getpwnam,
 * inside sshd alone, with the account that the agent has reserved for the name. For every other program, and after an
 * answer that breaks a rule, the name is unknown. The PAM module decides who gets in.
 *
 *     to the agent    name (user, rhost)
 *     from the agent  name (uid, gid, home, shell) | none
 *
 * It keeps nothing between two calls, so any thread of any program may call it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <netinet/in.h>
#include <nss.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent_socket.h"

#ifndef SOCKET
#define SOCKET "/run/sshaft/host/names.sock"
#endif

enum { LIMIT = 500 }; /* milliseconds */
enum { NAME_MAX_LENGTH = 32, PATH_MAX_LENGTH = 255 };
enum { DESCRIPTORS = 16 }; /* sshd has the connection of the person among the first ones */

/* The system, systemd-homed, DynamicUser, nobody, containers, and numbers that some programs take as negative. The kernel
 * knows no names: a process with such a number may be a service, or root of a container. */
static const struct {
    unsigned first, last;
} RESERVED[] = {{0, 999}, {60001, 60513}, {61184, 65519}, {65534, 65535}, {524288, 1879048191}, {2147483648, 4294967295}};

/* The password. With `UsePAM no` nobody asks the PAM module, and sshd itself refuses an account that is locked so. */
#define LOCKED "!"

/* What an entry needs: name, password, gecos, home and shell, each with a NUL. */
enum { ROOM = NAME_MAX_LENGTH + 1 + sizeof LOCKED + sizeof NO_ACCOUNT_YET + 2 * (PATH_MAX_LENGTH + 1) };

/* --- who asks, for which name */

static bool is_name(const char *name) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyz", MORE[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t length = strnlen(name, NAME_MAX_LENGTH + 1);
    return strspn(name, LETTERS) > 0 && length <= NAME_MAX_LENGTH && strspn(name, MORE) == length &&
           name[length - 1] != '.';
}

/* Whether this process is sshd, or one of its parts such as sshd-session. A program that a person has started, also with
 * set-user-ID, has another real uid than root. */
static bool is_sshd(void) {
    char path[4096];
    if (getuid() != 0 || geteuid() != 0)
        return false;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0)
        return false;
    path[length] = '\0';
    const char *slash = strrchr(path, '/');
    return slash != NULL && (strcmp(slash, "/sshd") == 0 || strncmp(slash, "/sshd-", 6) == 0);
}

/* Writes the address of the person, or nothing if no connection of the first descriptors has one. */
static void find_peer(char address[INET6_ADDRSTRLEN]) {
    address[0] = '\0';
    for (int fd = 0; fd < DESCRIPTORS && address[0] == '\0'; fd++) {
        union {
            struct sockaddr any;
            struct sockaddr_in v4;
            struct sockaddr_in6 v6;
            struct sockaddr_storage room;
        } peer;
        socklen_t length = sizeof peer;
        if (getpeername(fd, &peer.any, &length) != 0)
            continue;
        if (peer.any.sa_family == AF_INET)
            inet_ntop(AF_INET, &peer.v4.sin_addr, address, INET6_ADDRSTRLEN);
        else if (peer.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&peer.v6.sin6_addr))
            inet_ntop(AF_INET, peer.v6.sin6_addr.s6_addr + 12, address, INET6_ADDRSTRLEN); /* as sshd tells PAM */
        else if (peer.any.sa_family == AF_INET6)
            inet_ntop(AF_INET6, &peer.v6.sin6_addr, address, INET6_ADDRSTRLEN);
    }
}

/* --- the answer */

/* Reads a uid or gid that a person may have. */
static bool read_id(const struct message *message, const char *name, unsigned *id) {
    const struct text *value = message_field(message, name);
    unsigned long long number = 0;
    if (value == NULL || value->length == 0 || value->length > 10)
        return false;
    for (size_t i = 0; i < value->length; i++) {
        if (value->at[i] < '0' || value->at[i] > '9')
            return false;
        number = number * 10 + (unsigned)(value->at[i] - '0');
    }
    for (size_t i = 0; i < sizeof RESERVED / sizeof RESERVED[0]; i++)
        if (number >= RESERVED[i].first && number <= RESERVED[i].last)
            return false;
    *id = (unsigned)number;
    return number <= UINT_MAX;
}

static bool is_path(const struct text *value) {
    if (value == NULL || value->length > PATH_MAX_LENGTH || value->length == 0 || value->at[0] != '/')
        return false;
    for (size_t i = 0; i < value->length; i++)
        if (value->at[i] < ' ' || value->at[i] > '~' || value->at[i] == ':')
            return false;
    return true;
}

/* Whether no account has the uid, and no group but the one of this name has the gid. While a source of the host does not
 * answer, nobody can say so. */
static bool is_free(const struct passwd *entry) {
    char room[16 * 1024];
    struct passwd account, *same_uid;
    struct group group, *same_gid;
    errno = EIO; /* a source that is away may leave it as it is, and libc returns it */
    if (getpwuid_r(entry->pw_uid, &account, room, sizeof room, &same_uid) != 0 || same_uid != NULL)
        return false;
    return getgrgid_r(entry->pw_gid, &group, room, sizeof room, &same_gid) == 0 &&
           (same_gid == NULL || strcmp(group.gr_name, entry->pw_name) == 0);
}

/* Copies the text to `*buffer`, and moves `*buffer` behind it. */
static char *put(char **buffer, const char *text, size_t length) {
    char *copy = *buffer;
    memcpy(copy, text, length);
    copy[length] = '\0';
    *buffer += length + 1;
    return copy;
}

static bool read_entry(const struct message *message, const char *name, struct passwd *entry, char *buffer) {
    const struct text *home = message_field(message, "home"), *shell = message_field(message, "shell");
    struct passwd made = {0};
    if (!text_is(message->kind, "name") || !read_id(message, "uid", &made.pw_uid) ||
        !read_id(message, "gid", &made.pw_gid) || !is_path(home) || !is_path(shell))
        return false;
    made.pw_name = put(&buffer, name, strlen(name));
    made.pw_passwd = put(&buffer, LOCKED, strlen(LOCKED));
    made.pw_gecos = put(&buffer, NO_ACCOUNT_YET, strlen(NO_ACCOUNT_YET));
    made.pw_dir = put(&buffer, home->at, home->length);
    made.pw_shell = put(&buffer, shell->at, shell->length);
    *entry = made;
    return is_free(entry);
}

static bool ask(struct agent *agent, const char *name) {
    char address[INET6_ADDRSTRLEN];
    if (agent_connect(agent, SOCKET, LIMIT, LIMIT) != NULL)
        return false;
    find_peer(address);
    message_begin(&agent->sent, "name");
    message_add(&agent->sent, "user", name);
    message_add(&agent->sent, "rhost", address);
    return agent_send(agent) && agent_receive(agent) == NULL;
}

/* --- what libc calls */

enum nss_status _nss_sshaft_getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, int *error);

/* A buffer without room for the longest entry is refused before the agent is asked, so it is asked once for one look-up. */
enum nss_status _nss_sshaft_getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, int *error) {
    bool is_found = false, is_asked = is_name(name) && is_sshd();
    if (is_asked && size < ROOM) {
        *error = ERANGE;
        return NSS_STATUS_TRYAGAIN;
    }
    struct agent *agent = is_asked ? calloc(1, sizeof *agent) : NULL;
    if (agent != NULL) {
        is_found = ask(agent, name) && read_entry(&agent->message, name, entry, buffer);
        agent_close(agent);
        free(agent);
    }
    *error = is_found ? 0 : ENOENT;
    return is_found ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND;
}
