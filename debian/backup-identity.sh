# shellcheck shell=sh
# The preinst of the package sshaft goes on: the programs of the old version are still there, and understand the database.
identity=/var/lib/sshaft-identity
if [ "$1" = upgrade ] && [ -e "$identity/identity.json" ] && command -v sshaft >/dev/null; then
    # Not in the folder of the service: its account could put a link there, and root would follow it.
    sshaft identity backup --force "/var/backups/sshaft-identity-$2.backup"
fi
