/* The target of libFuzzer for the message format: `make fuzz` with clang. Checks that no byte outside the message is
 * touched, and that a decoded message is the same after it was encoded and decoded again. */
#include "message.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check(bool is_so) {
    if (!is_so)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = malloc(size + (size == 0)); /* exactly as long, so that the sanitizer sees one byte too many */
    struct message first, second;
    static struct buffer buffer;
    check(copy != NULL);
    memcpy(copy, data, size);
    if (message_decode(copy, size, &first) == NULL) {
        bool has_nul = false;
        char word[MESSAGE_MAX + 1];
        memcpy(word, first.kind.at, first.kind.length);
        word[first.kind.length] = '\0';
        message_begin(&buffer, word);
        for (size_t i = 0; i < first.count; i++) {
            char name[MESSAGE_MAX + 1];
            const struct field *field = &first.fields[i];
            check(field->value.at >= copy && field->value.at + field->value.length <= copy + size);
            has_nul = has_nul || memchr(field->value.at, '\0', field->value.length) != NULL;
            memcpy(name, field->name.at, field->name.length);
            name[field->name.length] = '\0';
            memcpy(word, field->value.at, field->value.length);
            word[field->value.length] = '\0';
            message_add(&buffer, name, word);
        }
        message_end(&buffer);
        if (!has_nul && !buffer.full) { /* C strings have no NUL, and an escaped message may be too long */
            check(message_decode(buffer.data, buffer.length, &second) == NULL);
            check(first.count == second.count);
            for (size_t i = 0; i < first.count; i++) {
                struct text one = first.fields[i].value, two = second.fields[i].value;
                check(one.length == two.length && memcmp(one.at, two.at, one.length) == 0);
            }
        }
    }
    free(copy);
    return 0;
}
