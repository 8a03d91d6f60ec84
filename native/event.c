#include "event.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_VALUE = 512, LONGEST_LINE = 4096 };

/* facility 10, severity 4 (RFC 5424 section 6.2.1) */
static const char SYSLOG_AUTHPRIV_WARNING[] = "<84>";

struct line {
    size_t length;
    char data[LONGEST_LINE];
};

/* Leaves out text that does not fit. Three values of the longest kind fit, even if every character is quoted. */
static void append(struct line *line, const char *text, size_t length) {
    if (length < sizeof line->data - line->length) {
        memcpy(line->data + line->length, text, length);
        line->length += length;
    }
}

static void append_text(struct line *line, const char *text) { append(line, text, strlen(text)); }

/* Writes foreign text as at most LONGEST_VALUE characters of printable ASCII, and then quotes it for JSON: a line end
 * becomes \x0a in a terminal and \\x0a in JSON. Python keeps letters outside ASCII; this function does not. */
static void append_value(struct line *line, const char *value) {
    char shown[LONGEST_VALUE + 4]; /* space for one character too many, and the end of the string */
    size_t length = 0;
    for (; *value != '\0' && length <= LONGEST_VALUE; value++) {
        unsigned char byte = (unsigned char)*value;
        const char *format = byte == '\\' ? "\\\\" : byte >= 0x20 && byte <= 0x7e ? "%c" : "\\x%02x";
        char one[5];
        int written = snprintf(one, sizeof one, format, byte);
        for (int i = 0; i < written && length <= LONGEST_VALUE; i++)
            shown[length++] = one[i];
    }
    if (length > LONGEST_VALUE) {
        length = LONGEST_VALUE;
        memcpy(shown + length - 3, "...", 3);
    }
    append_text(line, "\"");
    for (size_t i = 0; i < length; i++) {
        if (shown[i] == '"' || shown[i] == '\\')
            append_text(line, "\\");
        append(line, shown + i, 1);
    }
    append_text(line, "\"");
}

static void append_fact(struct line *line, const char *name, const char *value) {
    append_text(line, line->length == 0 ? "{\"" : ", \"");
    append_text(line, name);
    append_text(line, "\": ");
    append_value(line, value);
}

static void append_timestamp(struct line *line) {
    char day[sizeof "2026-01-01T00:00:00"], stamp[sizeof day + sizeof ".000Z"];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &utc) == NULL || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc) == 0)
        day[0] = '\0';
    snprintf(stamp, sizeof stamp, "%s.%03dZ", day, (int)(now.tv_nsec / 1000000) % 1000);
    append_fact(line, "timestamp", stamp);
}

static void to_syslog(const char *program, const struct line *line) {
    static const struct sockaddr_un log = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    char datagram[LONGEST_LINE + 64];
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int length = snprintf(datagram, sizeof datagram, "%s%s[%ld]: %.*s", SYSLOG_AUTHPRIV_WARNING, program, (long)getpid(),
                          (int)line->length, line->data);
    if (descriptor >= 0 && connect(descriptor, (const struct sockaddr *)&log, sizeof log) == 0)
        (void)!send(descriptor, datagram, (size_t)length, MSG_NOSIGNAL);
    if (descriptor >= 0)
        close(descriptor);
}

void event_write(const char *program, const char *event, const struct fact *facts) {
    struct line line = {.length = 0};
    append_fact(&line, "event", event);
    append_fact(&line, "program", program);
    for (; facts->name != NULL; facts++)
        if (facts->value != NULL)
            append_fact(&line, facts->name, facts->value);
    append_fact(&line, "level", "error");
    append_timestamp(&line);
    append_text(&line, "}");
    struct stat ours, nowhere;
    if (fstat(STDERR_FILENO, &ours) != 0)
        return; /* no place is left to report to */
    if (stat("/dev/null", &nowhere) == 0 && ours.st_rdev == nowhere.st_rdev) {
        to_syslog(program, &line);
        return;
    }
    append_text(&line, "\n");
    (void)!write(STDERR_FILENO, line.data, line.length);
}
