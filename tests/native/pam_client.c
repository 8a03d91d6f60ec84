/* A program with PAM, as sshd is: pam_client SERVICE USER auth|account ROUNDS [ANSWER...]
 *
 * It prints what the modules say, what libpam returns for the last round, and how much the memory has grown since the
 * tenth round. Without an answer for a prompt, its conversation fails.
 */
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct answers {
    char **words;
    int is_loud;
};

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
        if (*answers->words == NULL) {
            free(all);
            return PAM_CONV_ERR;
        }
        all[i].resp = strdup(*answers->words++);
    }
    *responses = all;
    return PAM_SUCCESS;
}

static long resident_pages(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        exit(2);
    fclose(file);
    return pages;
}

int main(int count, char **words) {
    if (count < 5)
        return 2;
    int status = PAM_ABORT;
    long before = 0, rounds = atol(words[4]);
    for (long round = 0; round < rounds; round++) {
        struct answers answers = {words + 5, round == rounds - 1};
        struct pam_conv conversation = {converse, &answers};
        pam_handle_t *pam = NULL;
        if (pam_start(words[1], words[2], &conversation, &pam) != PAM_SUCCESS)
            return 2;
        pam_set_item(pam, PAM_RHOST, "192.0.2.7");
        pam_set_item(pam, PAM_TTY, "ssh");
        pam_putenv(pam, "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAA");
        status = strcmp(words[3], "auth") == 0 ? pam_authenticate(pam, 0) : pam_acct_mgmt(pam, 0);
        if (round == rounds - 1)
            printf("result: %d %s\n", status, pam_strerror(pam, status));
        pam_end(pam, status);
        if (round == 10)
            before = resident_pages();
    }
    if (rounds > 10)
        printf("grown: %ld kB\n", (resident_pages() - before) * (sysconf(_SC_PAGESIZE) / 1024));
    return 0;
}
