/* Writes log events of the commands that sshd starts: one JSON line, as sshaft/event.py does.
 *
 * sshd gives its own stderr to the keys command. In a container this is the container's log. Under syslog it is
 * /dev/null, and the line goes to /dev/log instead.
 */
#ifndef SSHAFT_EVENT_H
#define SSHAFT_EVENT_H

struct fact {
    const char *name, *value; /* the value may be foreign text; NULL leaves the fact out */
};

/* Writes one event at level error. `facts` end with a name of NULL. Never fails, and writes at most one line. */
void event_write(const char *program, const char *event, const struct fact *facts);

#endif
