#!/bin/sh
# Starts sshaft by the Python version that its packages were made for.
python=/usr/lib/sshaft/bin/python3
if [ ! -x "$python" ]; then
    needed=$(readlink -f "$python")
    echo "sshaft: $needed is missing, which this package of sshaft was built for. Install ${needed##*/}, or the package of" \
        "sshaft for this version of Debian." >&2
    exit 69 # EX_UNAVAILABLE
fi
exec "$python" -I -m sshaft "$@"
