"""Defines the exit statuses of all programs. The numbers from 64 on are those of sysexits.h. ssh itself uses 255.

sshd reads any status but 0 as "no keys". ssh exits with the status of sshaft-login. docs/commands.md has the table.
"""

OK = 0
"""Success. `sshaft-login`: the identity service has accepted."""
FAILED = 1
"""A check failed, or you answered no."""
WRONG_CODE = 1
"""`sshaft-login`: the code was wrong."""
NO_LOGIN = 2
"""`sshaft-login`: no login is waiting, or it is over (expired, cancelled, already used)."""
DENIED = 3
"""`sshaft-login`: the person rejected the login."""
TOO_MANY = 4
"""`sshaft-login`: too many wrong codes."""

USAGE = 64
"""Wrong usage: an unknown command, option or value."""
DATA = 65
"""The input is wrong, or what it names does not exist."""
UNAVAILABLE = 69
"""A service, a file or an address that is needed cannot be used now."""
SOFTWARE = 70
"""A fault of the program, or a package that is missing."""
TEMPORARY = 75
"""A time limit has passed. Another try may help."""
NO_PERMISSION = 77
"""This account may not do that."""
CONFIGURATION = 78
"""The configuration or the host is wrong."""
INTERRUPTED = 130
"""Ctrl-C ended the program."""
NO_READER = 141
"""The reader of the output has gone, as behind `| head`."""
NO_LOGIN_BY_SSH = 255
"""`sshaft ssh`, `scp`, `sftp`, `info`: no token, or no usable answer of the host. ssh itself ends so, too."""
