"""Starts programs as sshd would and measures their time. calls.py runs it as the account of the keys command.

Each line of standard input is JSON: `[COUNT, WORDS]`. The answer is a line of JSON with a pair for each start:
`[[wall seconds, CPU seconds], ...]`.
"""

import json
import os
import sys
import time

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
DEV_NULL = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)]


def start(words: list[str]) -> tuple[float, float]:
    began = time.perf_counter()
    process = os.posix_spawn(words[0], words, ENVIRONMENT, file_actions=DEV_NULL)
    _, status, used = os.wait4(process, 0)
    taken = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"{' '.join(words)}: status {status}")
    return taken, used.ru_utime + used.ru_stime


for line in sys.stdin:
    count, words = json.loads(line)
    print(json.dumps([start(words) for _ in range(count)]), flush=True)
