"""Starts programs as sshd would and takes their time. Runs as the account of the keys command; for calls.py.

Each line of standard input is JSON, `[COUNT, WORDS]`; the answer to each is a line of
`[[wall seconds, CPU seconds], ...]`.
"""

import json
import os
import sys
import time

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
NOWHERE = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)]


def call(words: list[str]) -> tuple[float, float]:
    began = time.perf_counter()
    process = os.posix_spawn(words[0], words, ENVIRONMENT, file_actions=NOWHERE)
    _, status, used = os.wait4(process, 0)
    taken = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"{' '.join(words)}: status {status}")
    return taken, used.ru_utime + used.ru_stime


for line in sys.stdin:
    count, words = json.loads(line)
    print(json.dumps([call(words) for _ in range(count)]), flush=True)
