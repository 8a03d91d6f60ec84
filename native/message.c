#include "message.h"

#include <string.h>

static const char FIRST[] = "sshaft/1 ";

/* --- writing */

static void append(struct buffer *buffer, const char *data, size_t length) {
    if (buffer->full || length > sizeof buffer->data - buffer->length) {
        buffer->full = true;
        return;
    }
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
}

static bool is_plain(unsigned char byte) { return byte >= 0x21 && byte <= 0x7e && byte != '%'; }

void message_begin(struct buffer *buffer, const char *kind) {
    buffer->length = 0;
    buffer->full = false;
    append(buffer, FIRST, strlen(FIRST));
    append(buffer, kind, strlen(kind));
    append(buffer, "\n", 1);
}

void message_add(struct buffer *buffer, const char *name, const char *value) {
    static const char HEX[] = "0123456789ABCDEF";
    append(buffer, name, strlen(name));
    append(buffer, " ", 1);
    for (const char *at = value; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        const char escaped[] = {'%', HEX[byte >> 4], HEX[byte & 15]};
        if (is_plain(byte))
            append(buffer, at, 1);
        else
            append(buffer, escaped, sizeof escaped);
    }
    append(buffer, "\n", 1);
}

void message_end(struct buffer *buffer) { append(buffer, "\n", 1); }

/* --- reading */

size_t message_length(const char *data, size_t length) {
    const char *end = memmem(data, length, "\n\n", 2);
    return end == NULL ? 0 : (size_t)(end - data) + 2;
}

bool text_is(struct text text, const char *word) {
    return text.length == strlen(word) && memcmp(text.at, word, text.length) == 0;
}

const struct text *message_field(const struct message *message, const char *name) {
    for (size_t i = 0; i < message->count; i++)
        if (text_is(message->fields[i].name, name))
            return &message->fields[i].value;
    return NULL;
}

/* Whether the text has lower case letters and `_` only, and at least one letter. */
static bool is_name(struct text text) {
    bool has_letter = false;
    for (size_t i = 0; i < text.length; i++) {
        bool is_letter = text.at[i] >= 'a' && text.at[i] <= 'z';
        if (!is_letter && text.at[i] != '_')
            return false;
        has_letter = has_letter || is_letter;
    }
    return has_letter;
}

static bool is_known(const struct message *message, struct text name) {
    for (size_t i = 0; i < message->count; i++) {
        struct text known = message->fields[i].name;
        if (known.length == name.length && memcmp(known.at, name.at, name.length) == 0)
            return true;
    }
    return false;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* Returns the length of the UTF-8 character at `at`, or 0 (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_length(const unsigned char *at, size_t left) {
    if (at[0] < 0x80)
        return 1;
    size_t length = at[0] >= 0xc2 && at[0] <= 0xdf ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : at[0] >= 0xf0 && at[0] <= 0xf4 ? 4 : 0;
    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] > 0x9f;
    bool beyond = at[0] == 0xf4 && at[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : length;
}

static bool is_utf8(const char *data, size_t length) {
    const unsigned char *at = (const unsigned char *)data;
    while (length > 0) {
        size_t step = utf8_length(at, length);
        if (step == 0)
            return false;
        at += step;
        length -= step;
    }
    return true;
}

static const char *unescape(char *from, size_t length, struct text *value) {
    char *to = from;
    value->at = from;
    for (const char *end = from + length; from < end; from++) {
        if (is_plain((unsigned char)*from)) {
            *to++ = *from;
            continue;
        }
        if (*from != '%')
            return "a byte that should have been escaped";
        int high = end - from > 2 ? hex_digit(from[1]) : -1;
        int low = end - from > 2 ? hex_digit(from[2]) : -1;
        if (high < 0 || low < 0)
            return "not an escaped byte";
        *to++ = (char)(high << 4 | low);
        from += 2;
    }
    value->length = (size_t)(to - value->at);
    return is_utf8(value->at, value->length) ? NULL : "not UTF-8";
}

/* Returns the text before `separator`, or all text. Moves `data` and `length` behind the separator. */
static struct text split(char **data, size_t *length, char separator, bool *found) {
    char *at = memchr(*data, separator, *length);
    struct text before = {*data, at == NULL ? *length : (size_t)(at - *data)};
    size_t taken = before.length + (at != NULL);
    *found = at != NULL;
    *data += taken;
    *length -= taken;
    return before;
}

const char *message_decode(char *data, size_t length, struct message *message) {
    size_t first = strlen(FIRST);
    if (length > MESSAGE_MAX)
        return "message too long";
    if (message_length(data, length) != length || length < first || memcmp(data, FIRST, first) != 0)
        return "not a whole message";
    data += first;
    length -= first + 2;
    message->count = 0;
    bool more;
    message->kind = split(&data, &length, '\n', &more);
    if (!is_name(message->kind))
        return "not a kind of message";
    while (more) {
        char *line = data;
        size_t left = split(&data, &length, '\n', &more).length;
        bool has_value;
        struct field field = {.name = split(&line, &left, ' ', &has_value)};
        if (!has_value || !is_name(field.name) || is_known(message, field.name))
            return "not a field";
        if (message->count == MESSAGE_FIELDS)
            return "too many fields";
        const char *wrong = unescape(line, left, &field.value);
        if (wrong != NULL)
            return wrong;
        message->fields[message->count++] = field;
    }
    return NULL;
}
