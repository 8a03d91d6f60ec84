/* pam_sshaft: carries the conversation between the person who logs in and the agent. It decides nothing itself.
 *
 *     auth    [success=done ignore=ignore default=die] pam_sshaft.so ARGUMENT...
 *     account [success=ok ignore=ignore default=bad]   pam_sshaft.so ARGUMENT...
 *     session optional                                 pam_sshaft.so ARGUMENT...
 *
 * Arguments: socket=PATH timeout=SECONDS config=PATH break_glass=NAME,NAME... debug
 * Other modules have PATH for config=PATH, and logs= and log_level=, which this one ignores.
 *
 * auth asks the agent to log a person in, and shows what the agent says. account asks whether the account is approved,
 * also for logins by a key or a certificate. For root and the accounts of break_glass both return PAM_IGNORE at once, so
 * that the other modules decide, also while the agent is away.
 *
 * session tells the agent that a session opens and closes. It never denies, and waits for a silent agent half a second.
 *
 *     to the agent    login | account (user, service, rhost, tty, pid, began, ssh_auth_info, timeout, config),
 *                     session_open | session_close (user, service, rhost, tty, pid, began), answer (text), failed (code)
 *     from the agent  prompt (text, echo), info (text), wait, result (result, reason)
 *
 * Whatever is not in this list denies, and so does an agent that is silent for SILENCE seconds. Whatever the agent says,
 * account refuses a name that the host has no account for.
 */
#include <errno.h>
#include <pwd.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <security/pam_modutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "agent_socket.h"

enum { SILENCE = 15, TIMEOUT = 100, TIMEOUT_MAX = 3600 }; /* seconds */
enum { SESSION = 500 }; /* milliseconds */

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
    struct agent agent;
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
        else if (word[0] == '/') /* as the C++ module has it */
            options->config = word;
        else if (strncmp(word, "logs=", 5) == 0 || strncmp(word, "log_level=", 10) == 0) /* of the Rust module */
            pam_syslog(pam, LOG_INFO, "%s is ignored: this module writes to the log of the system", word);
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

/* --- messages */

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
        message_add(&call->agent.sent, name, value);
}

/* --- the conversation */

/* Shows the prompt and sends the answer. Returns PAM_SUCCESS, or what the conversation with the person ended with. */
static int ask_person(struct call *call, const char *text) {
    const struct text *echo = message_field(&call->agent.message, "echo");
    char *answer = NULL;
    int style = echo != NULL && text_is(*echo, "yes") ? PAM_PROMPT_ECHO_ON : PAM_PROMPT_ECHO_OFF;
    int status = pam_prompt(call->pam, style, &answer, "%s", text);
    if (status == PAM_SUCCESS && answer == NULL)
        status = PAM_CONV_ERR;
    if (status == PAM_SUCCESS) {
        message_begin(&call->agent.sent, "answer");
        message_add(&call->agent.sent, "text", answer);
    } else {
        char code[12];
        snprintf(code, sizeof code, "%d", status);
        message_begin(&call->agent.sent, "failed");
        message_add(&call->agent.sent, "code", code);
    }
    if (answer != NULL) {
        explicit_bzero(answer, strlen(answer));
        free(answer);
    }
    /* An agent that has ended the connection meanwhile has said why: `follow` shows that. */
    if (!agent_send(&call->agent) && status == PAM_SUCCESS && errno != EPIPE && errno != ECONNRESET)
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
        {"final", PAM_MAXTRIES, PAM_PERM_DENIED},
        {"unknown_user", PAM_USER_UNKNOWN, PAM_USER_UNKNOWN},
        {"unavailable", PAM_AUTHINFO_UNAVAIL, PAM_AUTHINFO_UNAVAIL},
    };
    const struct text *result = message_field(&call->agent.message, "result");
    char *reason = copy_of(&call->agent.message, "reason");
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
        const char *wrong = agent_receive(&call->agent);
        if (wrong != NULL) {
            pam_syslog(call->pam, LOG_ERR, "%s: %s", call->options->socket, wrong);
            return PAM_AUTHINFO_UNAVAIL;
        }
        if (call->options->debug)
            pam_syslog(call->pam, LOG_DEBUG, "the agent says: %.*s", (int)call->agent.message.kind.length, call->agent.message.kind.at);
        if (text_is(call->agent.message.kind, "result"))
            return result_of(call, is_login);
        if (text_is(call->agent.message.kind, "wait"))
            continue;
        bool is_prompt = text_is(call->agent.message.kind, "prompt");
        char *text = is_prompt || text_is(call->agent.message.kind, "info") ? copy_of(&call->agent.message, "text") : NULL;
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

/* Returns when this connection to sshd began, in milliseconds since the start of the machine, or 0 if nobody can say so.
 * sshd makes a process for each connection, which leads a session. It keeps what it first hears of a name, so the agent
 * must know which of its answers that process can have heard. */
static unsigned long long connection_began(void) {
    char path[32], line[1024];
    long ticks = sysconf(_SC_CLK_TCK);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)getsid(0));
    FILE *file = ticks > 0 ? fopen(path, "re") : NULL;
    if (file == NULL)
        return 0;
    line[fread(line, 1, sizeof line - 1, file)] = '\0';
    fclose(file);
    const char *at = strrchr(line, ')'); /* the end of the second field, which may have blanks */
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at == NULL ? 0 : strtoull(at, NULL, 10) * 1000 / (unsigned long long)ticks;
}

/* Connects, and begins the question. The session of this connection to sshd tells the agent which questions belong
 * together. Returns NULL, or the reason for a failure. */
static const char *begin(struct call *call, const char *kind, const char *user, long total, long silence) {
    char pid[12], began[24];
    snprintf(pid, sizeof pid, "%d", (int)getsid(0));
    snprintf(began, sizeof began, "%llu", connection_began());
    message_begin(&call->agent.sent, kind);
    message_add(&call->agent.sent, "user", user);
    add_item(call, "service", PAM_SERVICE);
    add_item(call, "rhost", PAM_RHOST);
    add_item(call, "tty", PAM_TTY);
    message_add(&call->agent.sent, "pid", pid);
    message_add(&call->agent.sent, "began", began);
    return agent_connect(&call->agent, call->options->socket, total, silence);
}

static int talk(struct call *call, const char *kind, const char *user) {
    char timeout[24];
    const char *methods = pam_getenv(call->pam, "SSH_AUTH_INFO_0");
    const char *wrong = begin(call, kind, user, call->options->timeout * 1000, SILENCE * 1000);
    if (wrong != NULL) {
        pam_syslog(call->pam, LOG_ERR, "%s: %m: %s", call->options->socket, wrong);
        return PAM_AUTHINFO_UNAVAIL;
    }
    snprintf(timeout, sizeof timeout, "%ld", call->options->timeout);
    message_add(&call->agent.sent, "timeout", timeout);
    if (methods != NULL)
        message_add(&call->agent.sent, "ssh_auth_info", methods);
    if (call->options->config != NULL)
        message_add(&call->agent.sent, "config", call->options->config);
    if (!agent_send(&call->agent)) {
        pam_syslog(call->pam, LOG_ERR, "%s: %m", call->options->socket);
        return PAM_AUTHINFO_UNAVAIL;
    }
    return follow(call, strcmp(kind, "login") == 0);
}

/* Tells the agent of a session, and waits until it has heard that. What it answers does not matter. */
static int tell(struct call *call, const char *kind, const char *user) {
    const char *wrong = begin(call, kind, user, SESSION, SESSION);
    if (wrong == NULL)
        wrong = agent_send(&call->agent) ? agent_receive(&call->agent) : "the agent does not listen";
    if (wrong != NULL)
        pam_syslog(call->pam, LOG_WARNING, "%s: %s: it does not know of this session", call->options->socket, wrong);
    return PAM_SUCCESS;
}

/* Whether the name is in a list with commas. */
static bool is_listed(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ',') == NULL ? NULL : strchr(at, ',') + 1)
        if (strcspn(at, ",") == length && strncmp(at, name, length) == 0)
            return true;
    return false;
}

typedef int converse(struct call *call, const char *kind, const char *user);

static int ask(pam_handle_t *pam, int flags, int count, const char **words, const char *kind, converse *speak) {
    struct options options;
    const char *user = NULL;
    if (!parse(pam, count, words, &options))
        return PAM_SYSTEM_ERR;
    if (pam_get_user(pam, &user, NULL) != PAM_SUCCESS || user == NULL || *user == '\0')
        return PAM_USER_UNKNOWN;
    if (strcmp(user, "root") == 0)
        return PAM_IGNORE;
    if (is_listed(options.break_glass, user)) {
        if (speak == talk)
            pam_syslog(pam, LOG_WARNING, "%s is an emergency account (break_glass): host login does not decide", user);
        return PAM_IGNORE;
    }
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return PAM_BUF_ERR;
    call->pam = pam;
    call->options = &options;
    call->is_silent = ((unsigned)flags & PAM_SILENT) != 0;
    int status = speak(call, kind, user);
    agent_close(&call->agent);
    explicit_bzero(call, sizeof *call);
    free(call);
    return status;
}

/* Whether the host itself has the account, and not a name that the agent has reserved for sshd. This module asks the host,
 * because an agent in the hands of an attacker would say anything. */
static bool is_made(pam_handle_t *pam) {
    const char *user = NULL;
    if (pam_get_user(pam, &user, NULL) != PAM_SUCCESS || user == NULL)
        return false;
    const struct passwd *entry = pam_modutil_getpwnam(pam, user);
    if (entry == NULL || strcmp(entry->pw_gecos, NO_ACCOUNT_YET) != 0)
        return true; /* sshd itself refuses a name that nobody knows */
    pam_syslog(pam, LOG_ERR, "this host has no account of this name: no session opens");
    return false;
}

/* --- what libpam calls */

int pam_sm_authenticate(pam_handle_t *pam, int flags, int count, const char **words) {
    return ask(pam, flags, count, words, "login", talk);
}

int pam_sm_acct_mgmt(pam_handle_t *pam, int flags, int count, const char **words) {
    int status = ask(pam, flags, count, words, "account", talk);
    return (status == PAM_SUCCESS || status == PAM_IGNORE) && !is_made(pam) ? PAM_USER_UNKNOWN : status;
}

/* sshd calls this in another process than pam_sm_authenticate. If every module ignores it, sshd ends the login. */
int pam_sm_setcred(pam_handle_t *pam, int flags, int count, const char **words) {
    (void)pam, (void)flags, (void)count, (void)words;
    return PAM_SUCCESS;
}

/* sshd calls both as root, in the process that leads the session of the connection. Whatever happens, they succeed: if
 * every module of the stack ignored the session, libpam would refuse it. */
int pam_sm_open_session(pam_handle_t *pam, int flags, int count, const char **words) {
    ask(pam, flags, count, words, "session_open", tell);
    return PAM_SUCCESS;
}

int pam_sm_close_session(pam_handle_t *pam, int flags, int count, const char **words) {
    ask(pam, flags, count, words, "session_close", tell);
    return PAM_SUCCESS;
}

int pam_sm_chauthtok(pam_handle_t *pam, int flags, int count, const char **words) {
    (void)pam, (void)flags, (void)count, (void)words;
    return PAM_IGNORE;
}
