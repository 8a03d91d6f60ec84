#!/bin/sh
# The beginning of the preinst of all packages: a package that is refused must not leave the others half installed.
set -e

# A failed upgrade has written the version whose database is still in use. The way back to that version is open.
if [ "$1" = upgrade ] && [ -n "$3" ] && dpkg --compare-versions "$2" gt "$3" &&
    ! grep -qsxF "$3" /var/lib/sshaft-upgrade-failed.*; then
    echo "sshaft: $2 is installed, and $3 is older: it may not understand the databases. The downgrade is refused." >&2
    echo 'To go back: save /etc/sshaft, purge the packages, install the older ones, and restore a backup of the database.' >&2
    exit 1
fi
