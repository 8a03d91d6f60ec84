/* pam_sshaft: carries the conversation between the person who logs in and the agent. It decides nothing itself.
 *
 *     auth    [success=done ignore=ignore default=die] pam_sshaft.so ARGUMENT...
 *     account [success=ok ignore=ignore default=bad]   pam_sshaft.so ARGUMENT...
 *
 * Arguments: socket=PATH timeout=SECONDS config=PATH break_glass=NAME,NAME... debug
 *
 * auth asks the agent to log a person in, and shows what the agent says. account asks whether the account is approved,
 * also for logins by a key or a certificate. For root and the accounts of break_glass both return PAM_IGNORE at once, so
 * that the other modules decide, also while the agent is away.
 *
 *     to the agent    login | account (user, service, rhost, tty, ssh_auth_info, timeout, config), answer (text),
 *                     failed (code)
 *     from the agent  prompt (text, echo), info (text), wait, result (result, reason)
 *
 * Whatever is not in this list denies, and so does an agent that is silent for SILENCE seconds.
 */
#include <errno.h>
#include <poll.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "message.h"

enum { SILENCE = 15, TIMEOUT = 100, TIMEOUT_MAX = 3600 }; /* seconds */

static const char SOCKET[] = "/run/sshaft/host/agent.sock";

struct options {
    const char *socket, *config, *break_glass;
    long timeout;
    bool debug;
};

/* One call of the module. It holds what the person has typed, so it is wiped before it is freed. */
struct call {
    pam_handle_t *pam;
    const struct options *options;
    bool is_silent;
    int agent;
    struct timespec end; /* CLOCK_MONOTONIC */
    size_t used;         /* the bytes of the first message in `received`, which has been read */
    struct message message;
    struct buffer sent, received;
};

/* --- options */

static bool parse(pam_handle_t *pam, int count, const char **words, struct options *options) {
    *options = (struct options){.socket = SOCKET, .timeout = TIMEOUT};
    for (int i = 0; i < count; i++) {
        const char *word = words[i];
        char *end = NULL;
        if (strncmp(word, "socket=/", 8) == 0)
            options->socket = word + 7;
        else if (strncmp(word, "config=/", 8) == 0)
            options->config = word + 7;
        else if (strncmp(word, "break_glass=", 12) == 0 && word[12] != '\0')
            options->break_glass = word + 12;
        else if (strcmp(word, "debug") == 0)
            options->debug = true;
        else if (strncmp(word, "timeout=", 8) == 0 && (options->timeout = strtol(word + 8, &end, 10)) > 0 &&
                 options->timeout <= TIMEOUT_MAX && *end == '\0')
            continue;
        else {
            pam_syslog(pam, LOG_ERR, "cannot use the argument %s: use socket=/PATH, timeout=SECONDS, config=/PATH, "
                       "break_glass=NAME,... or debug", word);
            return false;
        }
    }
    return true;
}

/* --- time */

/* Returns the milliseconds until the end of this call, never less than 0. */
static long left(const struct call *call) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long ms = (call->end.tv_sec - now.tv_sec) * 1000 + (call->end.tv_nsec - now.tv_nsec) / 1000000;
    return ms > 0 ? ms : 0;
}

/* Waits until the agent's socket is ready. `limit` is in milliseconds. */
static bool is_ready(const struct call *call, short events, long limit) {
    struct pollfd agent = {.fd = call->agent, .events = events};
    long until = left(call) > limit ? left(call) - limit : 0; /* what must be left */
    for (long ms; (ms = left(call) - until) > 0;) {
        int ready = poll(&agent, 1, (int)ms);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
    errno = ETIMEDOUT;
    return false;
}

/* --- the agent's socket */

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

static bool is_agent(int agent, uid_t owner) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(agent, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return false;
    return peer.uid == owner || peer.uid == 0;
}

static bool connect_to_agent(struct call *call) {
    const char *path = call->options->socket;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uid_t owner;
    if (strlen(path) >= sizeof address.sun_path || !is_trusted(path, &owner)) {
        pam_syslog(call->pam, LOG_ERR, "%s: the agent is not there, or another account can change a folder of this path",
                   path);
        return false;
    }
    memcpy(address.sun_path, path, strlen(path));
    call->agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (call->agent < 0 || connect(call->agent, (struct sockaddr *)&address, sizeof address) != 0) {
        pam_syslog(call->pam, LOG_ERR, "%s: no agent answers: %m: is `sshaft agent` running?", path);
        return false;
    }
    if (!is_agent(call->agent, owner)) {
        pam_syslog(call->pam, LOG_ERR, "%s: another account than the agent's listens there", path);
        return false;
    }
    return true;
}

/* --- messages */

static bool send_message(struct call *call) {
    struct buffer *buffer = &call->sent;
    message_end(buffer);
    errno = EMSGSIZE;
    for (size_t sent = 0; !buffer->full && sent < buffer->length;) {
        if (!is_ready(call, POLLOUT, SILENCE * 1000))
            return false;
        ssize_t step = send(call->agent, buffer->data + sent, buffer->length - sent, MSG_NOSIGNAL);
        if (step < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        sent += step > 0 ? (size_t)step : 0;
    }
    return !buffer->full;
}

/* Reads the next message into `call->message`. Returns NULL, or the reason for a failure. */
static const char *receive_message(struct call *call) {
    struct buffer *buffer = &call->received;
    buffer->length -= call->used;
    memmove(buffer->data, buffer->data + call->used, buffer->length);
    while ((call->used = message_length(buffer->data, buffer->length)) == 0) {
        if (buffer->length == sizeof buffer->data)
            return "a message is too long";
        if (!is_ready(call, POLLIN, SILENCE * 1000))
            return "the agent is silent";
        ssize_t step = recv(call->agent, buffer->data + buffer->length, sizeof buffer->data - buffer->length, 0);
        if (step == 0)
            return "the agent ended the connection";
        if (step < 0 && errno != EINTR && errno != EAGAIN)
            return strerror(errno);
        buffer->length += step > 0 ? (size_t)step : 0;
    }
    return message_decode(buffer->data, call->used, &call->message);
}

/* Returns the value of a field as a C string that the caller frees, or NULL. */
static char *copy_of(const struct message *message, const char *name) {
    const struct text *value = message_field(message, name);
    if (value == NULL || memchr(value->at, '\0', value->length) != NULL)
        return NULL;
    return strndup(value->at, value->length);
}

static void add_item(struct call *call, const char *name, int item) {
    const void *value = NULL;
    if (pam_get_item(call->pam, item, &value) == PAM_SUCCESS && value != NULL)
        message_add(&call->sent, name, value);
}

/* --- the conversation */

/* Shows the prompt and sends the answer. Returns PAM_SUCCESS, or what the conversation with the person ended with. */
static int ask_person(struct call *call, const char *text) {
    const struct text *echo = message_field(&call->message, "echo");
    char *answer = NULL;
    int style = echo != NULL && text_is(*echo, "yes") ? PAM_PROMPT_ECHO_ON : PAM_PROMPT_ECHO_OFF;
    int status = pam_prompt(call->pam, style, &answer, "%s", text);
    if (status == PAM_SUCCESS && answer == NULL)
        status = PAM_CONV_ERR;
    if (status == PAM_SUCCESS) {
        message_begin(&call->sent, "answer");
        message_add(&call->sent, "text", answer);
    } else {
        char code[12];
        snprintf(code, sizeof code, "%d", status);
        message_begin(&call->sent, "failed");
        message_add(&call->sent, "code", code);
    }
    if (answer != NULL) {
        explicit_bzero(answer, strlen(answer));
        free(answer);
    }
    if (!send_message(call) && status == PAM_SUCCESS)
        status = PAM_AUTHINFO_UNAVAIL;
    return status;
}

static int result_of(struct call *call, bool is_login) {
    static const struct {
        const char *word;
        int login, account;
    } results[] = {
        {"success", PAM_SUCCESS, PAM_SUCCESS},
        {"ignore", PAM_IGNORE, PAM_IGNORE},
        {"denied", PAM_AUTH_ERR, PAM_PERM_DENIED},
        {"unknown_user", PAM_USER_UNKNOWN, PAM_USER_UNKNOWN},
        {"unavailable", PAM_AUTHINFO_UNAVAIL, PAM_AUTHINFO_UNAVAIL},
    };
    const struct text *result = message_field(&call->message, "result");
    char *reason = copy_of(&call->message, "reason");
    int status = PAM_SYSTEM_ERR;
    for (size_t i = 0; result != NULL && i < sizeof results / sizeof results[0]; i++)
        if (text_is(*result, results[i].word))
            status = is_login ? results[i].login : results[i].account;
    if (reason != NULL && status != PAM_SUCCESS)
        pam_syslog(call->pam, LOG_NOTICE, "%.300s", reason);
    free(reason);
    return status;
}

/* Does what the agent says until it gives a result. */
static int follow(struct call *call, bool is_login) {
    for (;;) {
        const char *wrong = receive_message(call);
        if (wrong != NULL) {
            pam_syslog(call->pam, LOG_ERR, "%s: %s", call->options->socket, wrong);
            return PAM_AUTHINFO_UNAVAIL;
        }
        if (call->options->debug)
            pam_syslog(call->pam, LOG_DEBUG, "the agent says: %.*s", (int)call->message.kind.length, call->message.kind.at);
        if (text_is(call->message.kind, "result"))
            return result_of(call, is_login);
        if (text_is(call->message.kind, "wait"))
            continue;
        bool is_prompt = text_is(call->message.kind, "prompt");
        char *text = is_prompt || text_is(call->message.kind, "info") ? copy_of(&call->message, "text") : NULL;
        int status = PAM_SUCCESS;
        if (text == NULL)
            status = PAM_SYSTEM_ERR;
        else if (is_prompt)
            status = ask_person(call, text);
        else if (!call->is_silent)
            status = pam_info(call->pam, "%s", text);
        free(text);
        if (status != PAM_SUCCESS)
            return status;
    }
}

static int talk(struct call *call, const char *kind, const char *user) {
    char timeout[24];
    const char *methods = pam_getenv(call->pam, "SSH_AUTH_INFO_0");
    if (!connect_to_agent(call))
        return PAM_AUTHINFO_UNAVAIL;
    snprintf(timeout, sizeof timeout, "%ld", call->options->timeout);
    message_begin(&call->sent, kind);
    message_add(&call->sent, "user", user);
    add_item(call, "service", PAM_SERVICE);
    add_item(call, "rhost", PAM_RHOST);
    add_item(call, "tty", PAM_TTY);
    message_add(&call->sent, "timeout", timeout);
    if (methods != NULL)
        message_add(&call->sent, "ssh_auth_info", methods);
    if (call->options->config != NULL)
        message_add(&call->sent, "config", call->options->config);
    if (!send_message(call)) {
        pam_syslog(call->pam, LOG_ERR, "%s: %m", call->options->socket);
        return PAM_AUTHINFO_UNAVAIL;
    }
    return follow(call, strcmp(kind, "login") == 0);
}

/* Whether the name is in a list with commas. */
static bool is_listed(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ',') == NULL ? NULL : strchr(at, ',') + 1)
        if (strcspn(at, ",") == length && strncmp(at, name, length) == 0)
            return true;
    return false;
}

static int ask(pam_handle_t *pam, int flags, int count, const char **words, const char *kind) {
    struct options options;
    const char *user = NULL;
    if (!parse(pam, count, words, &options))
        return PAM_SYSTEM_ERR;
    if (pam_get_user(pam, &user, NULL) != PAM_SUCCESS || user == NULL || *user == '\0')
        return PAM_USER_UNKNOWN;
    if (strcmp(user, "root") == 0)
        return PAM_IGNORE;
    if (is_listed(options.break_glass, user)) {
        pam_syslog(pam, LOG_WARNING, "%s is an emergency account (break_glass): host login does not decide", user);
        return PAM_IGNORE;
    }
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return PAM_BUF_ERR;
    call->pam = pam;
    call->options = &options;
    call->is_silent = ((unsigned)flags & PAM_SILENT) != 0;
    call->agent = -1;
    clock_gettime(CLOCK_MONOTONIC, &call->end);
    call->end.tv_sec += options.timeout;
    int status = talk(call, kind, user);
    if (call->agent >= 0)
        close(call->agent);
    explicit_bzero(call, sizeof *call);
    free(call);
    return status;
}

/* --- what libpam calls */

int pam_sm_authenticate(pam_handle_t *pam, int flags, int count, const char **words) {
    return ask(pam, flags, count, words, "login");
}

int pam_sm_acct_mgmt(pam_handle_t *pam, int flags, int count, const char **words) {
    return ask(pam, flags, count, words, "account");
}

/* sshd calls this in another process than pam_sm_authenticate. If every module ignores it, sshd ends the login. */
int pam_sm_setcred(pam_handle_t *pam, int flags, int count, const char **words) {
    (void)pam, (void)flags, (void)count, (void)words;
    return PAM_SUCCESS;
}

int pam_sm_open_session(pam_handle_t *pam, int flags, int count, const char **words) {
    (void)pam, (void)flags, (void)count, (void)words;
    return PAM_IGNORE;
}

int pam_sm_close_session(pam_handle_t *pam, int flags, int count, const char **words) {
    (void)pam, (void)flags, (void)count, (void)words;
    return PAM_IGNORE;
}

int pam_sm_chauthtok(pam_handle_t *pam, int flags, int count, const char **words) {
    (void)pam, (void)flags, (void)count, (void)words;
    return PAM_IGNORE;
}
