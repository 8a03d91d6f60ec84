# shellcheck shell=sh
# The preinst of the package sshaft goes on: the programs of the old version are still there, and understand the database.
identity=/var/lib/sshaft-identity
# After a failed upgrade the backup is there, and the programs may not work.
if [ "$1" = upgrade ] && [ -e "$identity/identity.json" ] && [ -x /usr/bin/sshaft ] &&
    [ -z "$(find /var/lib -maxdepth 1 -name 'sshaft-upgrade-failed.*')" ]; then
    # Not in the folder of the service: its account could put a link there, and root would follow it.
    if ! /usr/bin/sshaft identity backup --force "/var/backups/sshaft-identity-$2.backup"; then
        echo 'sshaft: the database of the identity service was not saved, so nothing was changed.' >&2
        echo 'Repair it, or upgrade without a backup: SSHAFT_NO_BACKUP=yes apt-get install ...' >&2
        [ -n "${SSHAFT_NO_BACKUP-}" ] || exit 1
    fi
fi
