/* The target of libFuzzer for the PAM module: `make fuzz TARGET=fuzz_pam` with clang. The input is what an agent says.
 *
 * Checks that a person gets in only if the result is `success`, every message before it follows the rules, and the host
 * has the account. What was typed is never in freed memory or in the log. The descriptor is closed. A session opens
 * whatever the agent says.
 */
#include "fuzz_agent.h"

#include <malloc.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <stdarg.h>

enum { ACCOUNT = 1, QUIET = 2, DEBUG = 4, PERSON_LEAVES = 32, NOT_MADE = AGENT_IS_SLOW };
/* The rules below know no deadline, so the agent is never slow. */

static bool is_not_made;

static bool is_clean(const void *memory, size_t length) {
    return memmem(memory, length, world.typed, strlen(world.typed)) == NULL;
}

static void fake_free(void *memory) {
    check(memory == NULL || is_clean(memory, malloc_usable_size(memory)));
    free(memory);
}

#define free fake_free
#include "agent_socket.c"
#include "pam_sshaft.c"
#undef free

/* --- libpam, which is not linked */

int pam_get_user(pam_handle_t *pam, const char **user, const char *prompt) {
    (void)pam, (void)prompt;
    *user = "alice";
    return PAM_SUCCESS;
}

int pam_get_item(const pam_handle_t *pam, int item, const void **value) {
    (void)pam;
    *value = item == PAM_TTY ? NULL : "192.0.2.7 \xff%";
    return PAM_SUCCESS;
}

struct passwd *pam_modutil_getpwnam(pam_handle_t *pam, const char *user) {
    static char made[] = "Alice", reserved[] = NO_ACCOUNT_YET;
    static struct passwd entry;
    (void)pam;
    check(strcmp(user, "alice") == 0);
    entry.pw_gecos = is_not_made ? reserved : made;
    return &entry;
}

const char *pam_getenv(pam_handle_t *pam, const char *name) {
    (void)pam, (void)name;
    return "publickey ssh-ed25519 AAAA";
}

int pam_prompt(pam_handle_t *pam, int style, char **response, const char *format, ...) {
    char *text = NULL;
    va_list values;
    (void)pam;
    va_start(values, format);
    check(vasprintf(&text, format, values) >= 0);
    va_end(values);
    free(text);
    if (style == PAM_TEXT_INFO)
        return PAM_SUCCESS;
    if ((world.options & PERSON_LEAVES) != 0)
        return PAM_CONV_ERR;
    *response = strdup(world.typed);
    return PAM_SUCCESS;
}

void pam_syslog(const pam_handle_t *pam, int priority, const char *format, ...) {
    char *text = NULL;
    va_list values;
    (void)pam, (void)priority;
    va_start(values, format);
    int length = vasprintf(&text, format, values);
    va_end(values);
    check(length >= 0 && is_clean(text, (size_t)length));
    free(text);
}

/* --- the rules, once more */

/* Whether this agent lets the person in. `said` is a copy, which changes. */
static bool is_success(char *said, size_t length) {
    static struct message message;
    for (size_t used; (used = message_length(said, length)) > 0; said += used, length -= used) {
        if (message_decode(said, used, &message) != NULL)
            return false;
        const struct text *result = message_field(&message, "result"), *text = message_field(&message, "text");
        if (text_is(message.kind, "result"))
            return result != NULL && text_is(*result, "success");
        bool is_prompt = text_is(message.kind, "prompt");
        if (text_is(message.kind, "wait"))
            continue;
        if ((!is_prompt && !text_is(message.kind, "info")) || text == NULL || memchr(text->at, '\0', text->length) != NULL)
            return false;
        if (is_prompt && (world.options & (PERSON_LEAVES | AGENT_IS_DEAF)) != 0)
            return false;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint64_t seed;
    const char *words[] = {"timeout=30", "debug"};
    if (size == 0)
        return 0;
    begin_world(data, size);
    is_not_made = (world.options & NOT_MADE) != 0;
    world.options &= (uint8_t)~AGENT_IS_SLOW;
    snprintf(world.typed, sizeof world.typed, "%016llx", (unsigned long long)(++seed * 0x9e3779b97f4a7c15));
    int flags = (world.options & QUIET) != 0 ? PAM_SILENT : 0, count = (world.options & DEBUG) != 0 ? 2 : 1;
    bool is_account = (world.options & ACCOUNT) != 0;
    int status = (is_account ? pam_sm_acct_mgmt : pam_sm_authenticate)((pam_handle_t *)&world, flags, count, words);
    check(world.open == 0);
    char *copy = malloc(size);
    memcpy(copy, world.said, world.length);
    check((status == PAM_SUCCESS) == (is_success(copy, world.length) && !(is_account && is_not_made)));
    free(copy);
    world.read = 0;
    check(pam_sm_open_session((pam_handle_t *)&world, flags, count, words) == PAM_SUCCESS && world.open == 0);
    return 0;
}
