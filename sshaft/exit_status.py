"""Defines the exit statuses of all programs. The numbers from 64 on are those of sysexits.h. ssh itself uses 255.

sshd reads any status but 0 as "no keys". ssh exits with the status of sshaft-login.
"""

OK = 0
"""Success. `sshaft-login`: the identity service has accepted."""
WRONG_CODE = 1
"""`sshaft-login`: the code was wrong."""
NO_LOGIN = 2
"""`sshaft-login`: no login is waiting, or it is over (expired, cancelled, already used)."""
DENIED = 3
"""`sshaft-login`: the person rejected the login."""
TOO_MANY = 4
"""`sshaft-login`: too many wrong codes."""

USAGE = 64
DATA = 65
UNAVAILABLE = 69
SOFTWARE = 70
TEMPORARY = 75
NO_PERMISSION = 77
CONFIGURATION = 78
