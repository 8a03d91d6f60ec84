/* sshaft-keys --agent, step one of a login: takes the offered key from sshd, prints the line that lets it in, or nothing.
 * It does the same as sshaft_keys/__main__.py, but starts faster. Only the Python program has the stand-alone mode.
 *
 * It prints everything at once at the end; sshd discards the output if the exit status is not 0.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "event.h"
#include "message.h"

#ifndef VERSION
#define VERSION "unknown"
#endif

static const char PROGRAM[] = "sshaft-keys";
enum { DEADLINE = 3 }; /* seconds. sshd waits as long as its LoginGraceTime, and the person cannot cancel */

static const char HELP[] =
    "Usage: sshaft-keys --agent SOCKET --fingerprint %f --type %t --key %k\n"
    "\n"
    "The AuthorizedKeysCommand of sshd: prints the authorized_keys line of the offered key if its owner's login is waiting.\n"
    "This is the native client: it asks the agent only. Without one, stand-alone, there is sshaft-keys in Python.\n"
    "\n"
    "  --agent SOCKET      ask the agent that listens there (/run/sshaft/keys/agent.sock)\n"
    "  --fingerprint TEXT  %f of sshd: SHA256:...\n"
    "  --type TEXT         %t of sshd: ssh-ed25519, ...\n"
    "  --key TEXT          %k of sshd: base64\n"
    "  --version, --help\n"
    "\n"
    "Exit status: 0 done (nothing printed: no), 64 usage, 65 the agent gave no usable answer, 69 the identity service or\n"
    "the agent is not available, 70 a fault of this program, 75 not done within 3 seconds.\n";

struct options {
    const char *agent, *fingerprint, *type, *key;
};

static char request_id[33]; /* empty until the agent is asked */

/* --- failures */

_Noreturn static void fail(int status, const char *error, const char *message) {
    const struct fact facts[] = {
        {"error", error}, {"message", message}, {"request_id", request_id[0] == '\0' ? NULL : request_id}, {NULL, NULL}};
    event_write(PROGRAM, "keys.failed", facts);
    _exit(status);
}

_Noreturn static void usage(const char *what, const char *word, const char *rest) {
    char message[640]; /* the event cuts longer messages */
    snprintf(message, sizeof message, "%s%.500s%s; see %s --help", what, word, rest, PROGRAM);
    fail(EX_USAGE, "usage", message);
}

/* Fails if a system call was interrupted, because only the timer interrupts one. */
static void stop_if_late(void) {
    if (errno == EINTR)
        fail(EX_TEMPFAIL, "deadline", "no answer within 3 s");
}

/* Fails after a system call on the way to the agent. */
_Noreturn static void unreachable(const char *agent) {
    stop_if_late();
    char message[640];
    snprintf(message, sizeof message, "no agent answers at %.300s (%s): is `sshaft agent` running?", agent, strerror(errno));
    fail(EX_UNAVAILABLE, "agent_unavailable", message);
}

_Noreturn static void broken_off(const char *agent, const char *why) {
    char message[640];
    snprintf(message, sizeof message, "the agent at %.300s broke off its answer (%s)", agent, why);
    fail(EX_UNAVAILABLE, "agent_unavailable", message);
}

/* --- the steps of one call */

static void wake_up(int number) { (void)number; }

static void start_the_clock(void) {
    /* The signal comes again every 10 ms, to interrupt a call that began right after the first signal too. */
    const struct itimerval late = {.it_value = {.tv_sec = DEADLINE}, .it_interval = {.tv_usec = 10000}};
    const struct sigaction action = {.sa_handler = wake_up}; /* without SA_RESTART */
    sigset_t alarm;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    if (sigaction(SIGALRM, &action, NULL) != 0 || sigprocmask(SIG_UNBLOCK, &alarm, NULL) != 0 ||
        setitimer(ITIMER_REAL, &late, NULL) != 0)
        fail(EX_SOFTWARE, "timer", strerror(errno));
}

static void choose_request_id(void) {
    unsigned char bytes[(sizeof request_id - 1) / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        stop_if_late();
        fail(EX_SOFTWARE, "random", strerror(errno));
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(request_id + 2 * i, 3, "%02x", bytes[i]);
}

/* Parses `--name value` and `--name=value`, each at most once. */
static struct options parse(int count, char **words) {
    struct options options = {NULL, NULL, NULL, NULL};
    const struct {
        const char *name;
        const char **value;
    } known[] = {
        {"agent", &options.agent}, {"fingerprint", &options.fingerprint}, {"type", &options.type}, {"key", &options.key}};
    const size_t all = sizeof known / sizeof known[0];
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        size_t length = strcspn(word, "=");
        size_t which = 0;
        while (which < all && !(length == strlen(known[which].name) + 2 && strncmp(word, "--", 2) == 0 &&
                                strncmp(word + 2, known[which].name, length - 2) == 0))
            which++;
        if (which == all)
            usage("unknown option ", word, "");
        if (*known[which].value != NULL)
            usage("--", known[which].name, " is given twice");
        if (word[length] == '=')
            *known[which].value = word + length + 1;
        else if (i + 1 < count)
            *known[which].value = words[++i];
        else
            usage("--", known[which].name, " needs a value");
    }
    if (options.agent == NULL)
        usage("give --agent SOCKET", "", "");
    for (size_t i = 0; i < all; i++)
        if (*known[i].value == NULL)
            usage("--agent needs --", known[i].name, " too");
    return options;
}

static int connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    int agent = -1;
    if (length >= sizeof address.sun_path)
        errno = ENAMETOOLONG;
    else {
        memcpy(address.sun_path, path, length);
        agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    if (agent < 0 || connect(agent, (struct sockaddr *)&address, sizeof address) != 0)
        unreachable(path);
    return agent;
}

/* Sends the content of `buffer` and receives the answer into it. */
static void exchange(const char *path, struct buffer *buffer) {
    int agent = connect_to(path);
    for (size_t sent = 0; sent < buffer->length;) {
        ssize_t step = send(agent, buffer->data + sent, buffer->length - sent, MSG_NOSIGNAL);
        if (step < 0)
            unreachable(path);
        sent += (size_t)step;
    }
    buffer->length = 0;
    while (message_length(buffer->data, buffer->length) == 0 && buffer->length < sizeof buffer->data) {
        ssize_t step = recv(agent, buffer->data + buffer->length, sizeof buffer->data - buffer->length, 0);
        if (step < 0)
            unreachable(path);
        if (step == 0)
            break;
        buffer->length += (size_t)step;
    }
    close(agent);
}

static void print(const char *data, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, data, length);
        if (written < 0) {
            stop_if_late();
            if (errno == EPIPE) /* sshd stops reading when it has found its line */
                return;
            fail(EX_SOFTWARE, "output", strerror(errno));
        }
        data += written;
        length -= (size_t)written;
    }
}

static void ask_agent(const struct options *options) {
    static struct buffer buffer;
    static struct message answer;
    choose_request_id();
    message_begin(&buffer, "keys");
    message_add(&buffer, "fingerprint", options->fingerprint);
    message_add(&buffer, "type", options->type);
    message_add(&buffer, "key", options->key);
    message_add(&buffer, "request_id", request_id);
    message_end(&buffer);
    if (buffer.full)
        fail(EX_UNAVAILABLE, "agent_unavailable", "the offered key is too long for the agent");
    exchange(options->agent, &buffer);
    const char *wrong = message_decode(buffer.data, buffer.length, &answer);
    if (wrong != NULL)
        broken_off(options->agent, wrong);
    const struct text *lines = message_field(&answer, "lines");
    if (!text_is(answer.kind, "keys") || lines == NULL) {
        const struct text *reason = message_field(&answer, "reason");
        char shown[513];
        snprintf(shown, sizeof shown, "%.*s", reason == NULL ? 0 : (int)reason->length, reason == NULL ? "" : reason->at);
        fail(text_is(answer.kind, "error") ? EX_UNAVAILABLE : EX_DATAERR, reason == NULL ? "unknown answer" : shown,
             "the agent gives no keys");
    }
    print(lines->at, lines->length);
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 2 && strcmp(words[1], "--help") == 0) {
        print(HELP, strlen(HELP));
        return EX_OK;
    }
    if (count == 2 && strcmp(words[1], "--version") == 0) {
        static const char line[] = "sshaft-keys " VERSION " (native)\n";
        print(line, strlen(line));
        return EX_OK;
    }
    struct options options = parse(count, words);
    start_the_clock();
    ask_agent(&options);
    return EX_OK;
}
