# Sourced by ./dev: runs long steps with visible progress, and single commands as root.
# shellcheck shell=sh

EX_USAGE=64 EX_NOPERM=77 # sysexits.h
scratch=$(mktemp -d)
log=$scratch/log ticker=
trap 'rm -rf "$scratch"; [ -z "$ticker" ] || kill "$ticker" 2>/dev/null' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%s\n' "$@"; }

stop() { # stop STATUS LINE...
    status=$1
    shift
    printf 'dev: ' >&2
    say "$@" >&2
    exit "$status"
}

timed() { # timed TEXT COMMAND...: prints one line with the time; all output goes to $log and is shown when the command fails
    text=$1 begin=$(date +%s) status=0
    shift
    printf '%s ... ' "$text"
    show_progress 9<&- &
    ticker=$!
    "$@" >"$log" 2>&1 || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    ticker=
    seconds=$(($(date +%s) - begin))
    result="$seconds s"
    [ "$status" -eq 0 ] || result="failed after $result"
    if [ -t 1 ]; then
        result=$(printf '\r%-79s' "$text ... $result")
    elif [ "$seconds" -ge 10 ]; then
        printf '\n    '
    fi
    say "$result"
    [ "$status" -eq 0 ] || cat -- "$log"
    return "$status"
}

show_progress() { # prints the newest line of $log: on a terminal in place each second, else a line every ten seconds
    ticks=0
    while sleep 1 && kill -0 "$$"; do
        ticks=$((ticks + 1))
        seconds=$(($(date +%s) - begin))
        newest=$(tail -n 1 -- "$log")
        if [ -t 1 ]; then
            printf '\r%-79.79s' "$text ... $seconds s  $newest"
        elif [ "$((ticks % 10))" -eq 0 ]; then
            printf '\n    %s s  %.66s' "$seconds" "$newest"
        fi
    done
}

may_sudo() {
    [ "$(id -u)" != 0 ] || return 0
    command -v sudo >/dev/null || return 1
    sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }
}

as_root() { # as_root COMMAND...: with root's home, but with the user's proxies, certificates and package index
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        # shellcheck disable=SC2086,SC2154  # words; tools/environment.sh sets it
        sudo -H "--preserve-env=$(echo $network | tr ' ' ,)" -- "$@"
    fi
}
