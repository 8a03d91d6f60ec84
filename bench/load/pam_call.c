/* One authentication in a fresh process: pam_call FOLDER SERVICE USER
 *
 * FOLDER holds the file of the PAM service. It prints the nanoseconds from pam_start to pam_end, the nanoseconds of CPU
 * meanwhile, and the largest memory of the process in kB. The exit status is 1 if a module does not let the user in.
 */
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int converse(int count, const struct pam_message **messages, struct pam_response **responses, void *data) {
    (void)count, (void)messages, (void)responses, (void)data;
    return PAM_CONV_ERR;
}

static long long nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Not by getrusage(): its maximum includes the process that started this one. */
static long largest_memory(void) {
    char line[256];
    long kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL)
        exit(2);
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "VmHWM: %ld", &kilobytes) != 1)
        continue;
    fclose(file);
    return kilobytes;
}

int main(int count, char **words) {
    struct pam_conv conversation = {converse, NULL};
    pam_handle_t *pam = NULL;
    if (count != 4)
        return 2;
    long long began = nanoseconds(CLOCK_MONOTONIC), used = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    if (pam_start_confdir(words[2], words[3], &conversation, words[1], &pam) != PAM_SUCCESS)
        return 2;
    int status = pam_authenticate(pam, 0);
    if (status == PAM_SUCCESS)
        status = pam_acct_mgmt(pam, 0);
    pam_end(pam, status);
    used = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - used;
    printf("%lld %lld %ld\n", nanoseconds(CLOCK_MONOTONIC) - began, used, largest_memory());
    return status != PAM_SUCCESS;
}
