#!/bin/sh
# What the maintainer scripts of several packages share. Exit status 1: not done, and the old state goes on.
#
# maintain replace UNIT: lets a process of the installed version take the place of the running one. Somebody always answers.
# maintain way-back PACKAGE VERSION: says how to go back to this version, and lets the packages of it in.
# maintain take-over FILE[:PACKAGED]...: removes units of an installation by hand, which would hide those of the packages.
set -eu

of() { systemctl show --property="$1" --value "$unit"; }

replace() {
    unit=$1
    [ -d /run/systemd/system ] && systemctl --quiet is-active "$unit" || return 0
    if [ -x /usr/sbin/policy-rc.d ] && ! /usr/sbin/policy-rc.d "$unit" restart; then
        return 0
    fi
    old=$(of MainPID) said=$(of StatusText) tries=600
    systemctl kill --kill-who=main --signal=SIGUSR2 "$unit"
    while [ "$(of MainPID)" = "$old" ]; do
        now=$(of StatusText)
        case $now in
            "$said") ;;
            'A new process did not start'*) return 1 ;;
        esac
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.2
    done
}

# The preinst of the older packages reads the file.
way_back() {
    echo "$2" >"/var/lib/sshaft-upgrade-failed.$1"
    packages=$(dpkg-query --show --showformat='${source:Package} ${db:Status-Want} ${Package}\n' |
        awk '$1 == "sshaft" && $2 == "install" { print $3 }')
    echo "To go back to $2, in the folder with its packages:"
    # shellcheck disable=SC2046,SC2086  # words
    echo "    apt-get install -y --allow-downgrades" $(printf "./%s_$2_*.deb " $packages)
    echo 'To go on after a repair: dpkg --configure -a'
}

take_over() {
    for names in "$@"; do
        name=${names%:*}
        by_hand=/etc/systemd/system/$name packaged=/usr/lib/systemd/system/${names#*:}
        [ -f "$by_hand" ] && [ ! -L "$by_hand" ] && [ -f "$packaged" ] || continue
        sum=$(sha256sum <"$by_hand")
        if sed 's|/usr/lib/sshaft\>|/opt/sshaft|' "$packaged" | cmp -s - "$by_hand" ||
            grep -qxF "${sum%% *} $name" /usr/share/sshaft/units-by-hand; then
            rm -- "$by_hand"
            case $name in
                */*) rmdir --ignore-fail-on-non-empty -- "${by_hand%/*}" ;;
            esac
            # Its link in multi-user.target.wants names the removed file.
            systemctl --quiet reenable "${name%%/*}" 2>/dev/null || true
            echo "sshaft: removed $by_hand, which was installed by hand: the package has this unit now"
        else
            echo "sshaft: $by_hand was changed, and hides the unit of the package. Put your changes into a drop-in" \
                "(systemctl edit $name), and remove the file." >&2
        fi
    done
}

action=$1
shift
case $action in
    replace) replace "$@" ;;
    way-back) way_back "$@" ;;
    take-over) take_over "$@" ;;
    *) exit 64 ;;
esac
