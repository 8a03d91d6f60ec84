/* Log events of the commands that sshd starts: one JSON line, as sshaft/event.py writes them.
 *
 * sshd hands its own stderr on to the keys command: in a container that is the container's log; under syslog it is
 * /dev/null, and the line goes to /dev/log instead.
 */
#ifndef SSHAFT_EVENT_H
#define SSHAFT_EVENT_H

struct fact {
    const char *name, *value; /* the value may be anybody's text; NULL: the fact is left out */
};

/* One event at level error. `facts` end with a name of NULL. Never fails, never writes more than one line. */
void event_write(const char *program, const char *event, const struct fact *facts);

#endif
