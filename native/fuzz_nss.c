/* The target of libFuzzer for the NSS module: `make fuzz TARGET=fuzz_nss` with clang. The input is what an agent says.
 *
 * Checks that a name gets an entry only if the agent's answer follows the rules, that the entry says what the agent said,
 * and that one look-up takes no longer than its limit. The descriptor is closed.
 */
#include "fuzz_agent.h"

#include <grp.h>
#include <pwd.h>

enum { UID_IS_TAKEN = 1, GID_IS_TAKEN = 2, SOURCE_IS_AWAY = 4, GROUP_IS_MADE = 32 };

static ssize_t fake_readlink(const char *path, char *target, size_t size) {
    (void)path;
    return snprintf(target, size, "/usr/sbin/sshd-session");
}

static uid_t fake_getuid(void) { return 0; }

static int fake_getpeername(int fd, struct sockaddr *peer, socklen_t *length) {
    memset(peer, 0, *length);
    peer->sa_family = fd % 2 == 0 ? AF_UNIX : AF_INET6;
    return fd == 0 ? -1 : 0;
}

static int fake_getpwuid_r(uid_t uid, struct passwd *account, char *room, size_t size, struct passwd **found) {
    memset(room, 'x', size);
    *account = (struct passwd){.pw_uid = uid};
    *found = (world.options & UID_IS_TAKEN) != 0 ? account : NULL;
    return (world.options & SOURCE_IS_AWAY) != 0 ? EIO : 0;
}

static int fake_getgrgid_r(gid_t gid, struct group *group, char *room, size_t size, struct group **found) {
    memset(room, 'x', size);
    char *name = strcpy(room, (world.options & GROUP_IS_MADE) != 0 ? "alice" : "admins");
    *group = (struct group){.gr_gid = gid, .gr_name = name};
    *found = (world.options & (GROUP_IS_MADE | GID_IS_TAKEN)) != 0 ? group : NULL;
    return 0;
}

#define readlink fake_readlink
#define getuid fake_getuid
#define geteuid fake_getuid
#define getpeername fake_getpeername
#define getpwuid_r fake_getpwuid_r
#define getgrgid_r fake_getgrgid_r
#include "agent_socket.c"
#include "libnss_sshaft.c"

/* --- the rules, once more */

/* Returns the value as a C string that the caller frees, or NULL if there is none or it has a NUL. */
static char *value_of(const struct message *message, const char *name) {
    const struct text *value = message_field(message, name);
    return value == NULL || memchr(value->at, '\0', value->length) != NULL ? NULL : strndup(value->at, value->length);
}

static bool is_id_of_a_person(const char *value, unsigned id) {
    char said[12];
    snprintf(said, sizeof said, "%u", id);
    bool is_of_the_system = id < 1000 || (60001 <= id && id <= 60513) || (61184 <= id && id <= 65519) || id == 65534 ||
                            id == 65535 || (524288 <= id && id <= 1879048191) || id > 2147483647;
    return !is_of_the_system && strcmp(value + strspn(value, "0"), said) == 0;
}

static bool is_right_path(const char *value) {
    return value[0] == '/' && strlen(value) < 256 && strpbrk(value, ":\n\x7f") == NULL && strpbrk(value, "\x1b\t\r") == NULL;
}

/* Whether the agent said this entry. `said` is a copy, which changes. */
static bool is_right(const struct passwd *entry, char *said, size_t length) {
    static struct message message;
    size_t used = message_length(said, length);
    if (used == 0 || message_decode(said, used, &message) != NULL || !text_is(message.kind, "name"))
        return false;
    char *uid = value_of(&message, "uid"), *gid = value_of(&message, "gid");
    char *home = value_of(&message, "home"), *shell = value_of(&message, "shell");
    bool is_so = uid != NULL && gid != NULL && home != NULL && shell != NULL && is_id_of_a_person(uid, entry->pw_uid) &&
                 is_id_of_a_person(gid, entry->pw_gid) && is_right_path(home) && is_right_path(shell) &&
                 strcmp(home, entry->pw_dir) == 0 && strcmp(shell, entry->pw_shell) == 0;
    free(uid), free(gid), free(home), free(shell);
    return is_so && strcmp(entry->pw_name, "alice") == 0 && strcmp(entry->pw_passwd, "!") == 0 &&
           strcmp(entry->pw_gecos, NO_ACCOUNT_YET) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct passwd entry;
    int error = 0;
    if (size == 0)
        return 0;
    begin_world(data, size);
    char *buffer = malloc(ROOM), *copy = malloc(size);
    memcpy(copy, world.said, world.length);
    bool is_taken = (world.options & UID_IS_TAKEN) != 0 || (world.options & (GID_IS_TAKEN | GROUP_IS_MADE)) == GID_IS_TAKEN;
    if (_nss_sshaft_getpwnam_r("alice", &entry, buffer, ROOM, &error) == NSS_STATUS_SUCCESS)
        check(is_right(&entry, copy, world.length) && !is_taken && (world.options & SOURCE_IS_AWAY) == 0);
    else
        check(error == ENOENT);
    check(world.open == 0 && world.now <= 500);
    free(buffer), free(copy);
    return 0;
}
