/* A connection to the agent, for what sshd loads: the PAM module and the NSS module.
 *
 * The agent belongs to another account than sshd. It may be silent, slow or replaced, so each call has a deadline and
 * the way to the socket is checked first. sshaft/messages.py has the format of the messages.
 */
#ifndef SSHAFT_AGENT_SOCKET_H
#define SSHAFT_AGENT_SOCKET_H

#include <time.h>

#include "message.h"

/* The comment of an entry that the NSS module gives to sshd. The PAM module opens no session for such an entry. */
#define NO_ACCOUNT_YET "no account yet (sshaft)"

struct agent {
    int fd; /* -1 without a connection */
    struct timespec end; /* CLOCK_MONOTONIC */
    long silence; /* the milliseconds that one wait for the agent may take */
    size_t used; /* the bytes of the first message in `received`, which has been read */
    struct message message;
    struct buffer sent, received;
};

/* Connects to the socket at `path`. All calls for this connection end after `total` milliseconds, and each wait after
 * `silence`. Returns NULL, or the reason for a failure; then errno says more. Call agent_close in both cases. */
const char *agent_connect(struct agent *agent, const char *path, long total, long silence);

/* Ends the message in `sent` and sends it. A failure sets errno. */
bool agent_send(struct agent *agent);

/* Reads the next message into `message`. Returns NULL, or the reason for a failure. */
const char *agent_receive(struct agent *agent);

void agent_close(struct agent *agent);

#endif
