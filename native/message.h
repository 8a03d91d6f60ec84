/* The messages between the agent and what sshd starts or loads, over a UNIX socket:
 *
 *     sshaft/1 KIND\n
 *     NAME VALUE\n        VALUE in UTF-8, every byte outside 0x21-0x7e and `%` itself as %XX
 *     \n                  the end: a message without it was cut off and is refused
 *
 * The keys client sends one and gets one. The PAM module and the agent send several, in turn, on one connection.
 * sshaft/messages.py has the same format. No function here allocates, reads or writes anything.
 */
#ifndef SSHAFT_MESSAGE_H
#define SSHAFT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

enum { MESSAGE_MAX = 64 * 1024, MESSAGE_FIELDS = 32 };

/* Text without a NUL at its end; a value may have any byte, also NUL. */
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
    bool full; /* something did not fit, so `data` must not be used */
    char data[MESSAGE_MAX];
};

/* Write a message: begin it, add its fields, end it. Kind and names are constants; values may be foreign text. */
void message_begin(struct buffer *buffer, const char *kind);
void message_add(struct buffer *buffer, const char *name, const char *value);
void message_end(struct buffer *buffer);

/* Returns the length of the first message in the data, or 0 if it has not ended yet. */
size_t message_length(const char *data, size_t length);

/* Decodes one whole message. The values are unescaped inside `data`, so `message` is valid as long as `data` is.
 * Returns NULL, or the reason for a failure; then `message` must not be used. */
const char *message_decode(char *data, size_t length, struct message *message);

bool text_is(struct text text, const char *word);

/* Returns the value of the field of this name, or NULL. */
const struct text *message_field(const struct message *message, const char *name);

#endif
