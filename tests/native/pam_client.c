/* A program with PAM, as sshd is: pam_client [-m] [-s] SERVICE USER PHASE ROUNDS [ANSWER...]
 *
 * PHASE is auth, account, setcred, open or close.
 *
 * It prints what the modules say, what libpam returns for the last round, how much the memory has grown since the
 * tenth round, and how many descriptors are open that were not open before. Without an answer for a prompt, its
 * conversation fails.
 *
 * -m prints how often an answer is in the memory afterwards. -s: signals interrupt the system calls all the time.
 */
#include <security/pam_appl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "own_resources.h"

/* The answers, hidden: only the conversation makes copies that can be read. */
static char **hidden;

struct answers {
    char **next;
    int is_loud;
};

static char *mask(char *word) {
    for (char *at = word; *at != '\0'; at++)
        *at = (char)~*at;
    return word;
}

static int converse(int count, const struct pam_message **messages, struct pam_response **responses, void *data) {
    struct answers *answers = data;
    struct pam_response *all = calloc((size_t)count, sizeof *all);
    for (int i = 0; i < count; i++) {
        int style = messages[i]->msg_style;
        if (answers->is_loud)
            printf("%s: %s\n", style == PAM_PROMPT_ECHO_ON ? "echo" : style == PAM_PROMPT_ECHO_OFF ? "hidden" : "info",
                   messages[i]->msg);
        if (style != PAM_PROMPT_ECHO_ON && style != PAM_PROMPT_ECHO_OFF)
            continue;
        if (*answers->next == NULL) {
            free(all);
            return PAM_CONV_ERR;
        }
        all[i].resp = mask(strdup(*answers->next++));
    }
    *responses = all;
    return PAM_SUCCESS;
}

/* Returns how often the last bytes of an answer are in the memory that this process can write to. free() itself
 * overwrites the first bytes of what it gets. */
static int answers_in_memory(void) {
    char line[512];
    int count = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *from, *to, rights[5];
        if (sscanf(line, "%p-%p %4s", (void **)&from, (void **)&to, rights) != 3 || strncmp(rights, "rw", 2) != 0)
            continue;
        for (char **word = hidden; *word != NULL; word++) {
            size_t length = strnlen(*word, 8), same = 0;
            const char *end = *word + strlen(*word) - length;
            for (char *at = from; at < to; at++) {
                same = *at == (char)~end[same] ? same + 1 : *at == (char)~end[0];
                if (same == length) {
                    count++;
                    same = 0;
                }
            }
        }
    }
    fclose(file);
    return count;
}

static void ignore(int number) { (void)number; }

static void interrupt_all_the_time(void) {
    struct sigaction action = {.sa_handler = ignore}; /* without SA_RESTART */
    struct itimerval each = {{0, 300}, {0, 300}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &each, NULL);
}

static int call(pam_handle_t *pam, const char *phase) {
    static const struct {
        const char *name;
        int (*function)(pam_handle_t *, int);
        int flags;
    } phases[] = {
        {"auth", pam_authenticate, 0},     {"account", pam_acct_mgmt, 0},      {"setcred", pam_setcred, PAM_ESTABLISH_CRED},
        {"open", pam_open_session, 0},     {"close", pam_close_session, 0},
    };
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++)
        if (strcmp(phases[i].name, phase) == 0)
            return phases[i].function(pam, phases[i].flags);
    return PAM_ABORT;
}

int main(int count, char **words) {
    int has_memory = 0;
    for (int option; (option = getopt(count, words, "+ms")) != -1;)
        if (option == 'm')
            has_memory = 1;
        else if (option == 's')
            interrupt_all_the_time();
        else
            return 2;
    if (count - optind < 4)
        return 2;
    const char *service = words[optind], *user = words[optind + 1], *phase = words[optind + 2];
    int status = PAM_ABORT, open_before = open_descriptors();
    long before = 0, rounds = atol(words[optind + 3]);
    hidden = words + optind + 4;
    for (char **word = hidden; *word != NULL; word++)
        mask(*word);
    for (long round = 0; round < rounds; round++) {
        struct answers answers = {hidden, round == rounds - 1};
        struct pam_conv conversation = {converse, &answers};
        pam_handle_t *pam = NULL;
        if (pam_start(service, user, &conversation, &pam) != PAM_SUCCESS)
            return 2;
        pam_set_item(pam, PAM_RHOST, "192.0.2.7");
        pam_set_item(pam, PAM_TTY, "ssh");
        pam_putenv(pam, "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA");
        status = call(pam, phase);
        if (round == rounds - 1)
            printf("result: %d %s\n", status, pam_strerror(pam, status));
        pam_end(pam, status);
        if (round == 10)
            before = resident_pages();
    }
    if (rounds > 10)
        printf("grown: %ld kB\n", (resident_pages() - before) * (sysconf(_SC_PAGESIZE) / 1024));
    printf("opened: %d\n", open_descriptors() - open_before);
    if (has_memory)
        printf("answers in memory: %d\n", answers_in_memory());
    return 0;
}
