/* What the commands that sshd starts and the agent say to each other, over a UNIX socket, one request and one answer:
 *
 *     sshaft/1 KIND\n
 *     NAME VALUE\n        VALUE in UTF-8, every byte outside 0x21-0x7e and `%` itself as %XX
 *     \n                  the end: what comes without it was cut off and is refused
 *
 * The same format as sshaft/messages.py. Nothing here allocates, reads or writes anything: a PAM module can take it as
 * it is.
 */
#ifndef SSHAFT_MESSAGE_H
#define SSHAFT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

enum { MESSAGE_MAX = 64 * 1024, MESSAGE_FIELDS = 32 };

/* Not terminated; a value may hold any byte, NUL as well. */
struct text {
    const char *at;
    size_t length;
};

struct field {
    struct text name, value;
};

struct message {
    struct text kind;
    size_t count;
    struct field fields[MESSAGE_FIELDS];
};

struct buffer {
    size_t length;
    bool full; /* something did not fit: what is here must not be used */
    char data[MESSAGE_MAX];
};

/* A message is begun, given its fields and ended. Kind and names are ours, the values anybody's. */
void message_begin(struct buffer *buffer, const char *kind);
void message_add(struct buffer *buffer, const char *name, const char *value);
void message_end(struct buffer *buffer);

/* Whether what has come so far ends as a message does. */
bool message_has_ended(const char *data, size_t length);

/* Takes one whole message apart. The values are unescaped where they stand in `data`, so `message` is good as long as
 * that is. Returns NULL, or why it is none; then `message` must not be used. */
const char *message_decode(char *data, size_t length, struct message *message);

bool text_is(struct text text, const char *word);

/* The value of the field of this name, or NULL. */
const struct text *message_field(const struct message *message, const char *name);

#endif
