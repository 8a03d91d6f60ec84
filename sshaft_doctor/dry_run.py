"""Runs the keys command once as sshd would: as its account, with its environment, for a key that nobody has.

This finds commands that work by hand and fail under sshd. sshd gives a command four variables, `/` and /dev/null.
"""

import base64
import os
import re
import secrets
import signal
import struct
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sshaft import public_key
from sshaft.text import printable
from sshaft_doctor import keys_command
from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, error, needs_root, ok, warning

_STANDARD_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # _PATH_STDPATH
DEADLINE = 10.0
SLOW = 2.0
_MAX_OUTPUT = 64 * 1024

_AGENT = "sshaft agent status; journalctl -u sshaft-agent"
_REPLACE = "sshaft install-commands /usr/libexec/sshaft, and name the new file in AuthorizedKeysCommand"
_MEANINGS = {
    64: ("it does not take these arguments", "correct the arguments of AuthorizedKeysCommand"),
    65: ("the agent gave no usable answer", "systemctl restart sshaft-agent, so that both have the same version"),
    69: ("the agent or the identity service is not available", _AGENT),
    70: ("a fault of the program", "report it with the command's message"),
    75: ("no answer in time", _AGENT),
    78: ("the configuration is not right", "correct the file that the message names"),
    126: ("the account may not run the file or its interpreter", _REPLACE),
    127: ("the file or its interpreter is missing, or closed to the account", _REPLACE),
}
"""Exit statuses: what each means, and what to do."""


@dataclass(frozen=True)
class Run:
    """The result of a run. `status` is negative for a signal, and None if the run had to be ended."""

    status: int | None
    seconds: float
    output: str = ""
    said: str = ""


def become(account: Account) -> dict[str, Any] | None:
    """Returns the arguments of Popen that change to this account, or None if this process may not change."""
    if os.geteuid() == account.uid:
        return {}
    if os.geteuid() != 0:
        return None
    return {"user": account.uid, "group": account.gid, "extra_groups": sorted(account.groups)}


def throwaway_key() -> public_key.PublicKey:
    """Returns a well-formed Ed25519 key that nobody has."""
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (b"ssh-ed25519", secrets.token_bytes(32)))
    return public_key.from_blob("ssh-ed25519", base64.b64encode(blob).decode())


def examine(words: list[str], login: Account | None, keys_user: Account) -> list[Finding]:
    """Runs the command and returns a finding about the run."""
    as_user = become(keys_user)
    if as_user is None:
        return [needs_root("keys.dry_run", f"a dry run of the keys command as {keys_user.name}")]
    key = throwaway_key()
    name = login.name if login else "mfa"
    values = {
        "f": key.fingerprint,
        "t": key.type,
        "k": base64.b64encode(key.blob).decode(),
        "u": name,
        "h": login.home if login else "/",
        "U": str(login.uid) if login else "0",
        "C": "192.0.2.2 22 192.0.2.1 40000",
        "D": "",
    }
    command = [keys_command.expand(word, values) for word in words]
    return [judge(run(command, keys_user, as_user), keys_user.name, key)]


def run(command: list[str], account: Account, as_user: dict[str, Any], deadline: float = DEADLINE) -> Run:
    """Runs the command to its end, or for `deadline` seconds. Starts and ends a process group, as sshd does."""
    began = time.monotonic()
    environment = {"PATH": _STANDARD_PATH, "USER": account.name, "LOGNAME": account.name, "HOME": account.home}
    try:
        process = subprocess.Popen(  # noqa: S603 - the command and the account of sshd
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
            **as_user,
        )
    except OSError as failure:
        return Run(127, time.monotonic() - began, said=failure.strerror or "")
    status: int | None = None
    output = said = b""
    try:
        output, said = process.communicate(timeout=deadline)
        status = process.returncode
    except subprocess.TimeoutExpired as late:
        output, said = late.stdout or b"", late.stderr or b""
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also processes that the command left behind
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    seconds = time.monotonic() - began
    return Run(status, seconds, _text(output), _text(said))


def judge(run: Run, account: str, key: public_key.PublicKey) -> Finding:
    """Returns a finding about a run that asked for `key`."""
    check, where, said = "keys.dry_run", f"as {account}", _first_line(run.said)
    if run.status is None:
        what = f"it did not end in {run.seconds:.0f} s, and sshd waits for it until LoginGraceTime{said}"
        return error(check, what, where, "see what it waits for: the agent's log, the network")
    if run.status != 0:
        meaning, remedy = _MEANINGS.get(run.status, ("", _AGENT))
        how = f"status {run.status}" if run.status > 0 else f"signal {-run.status}"
        what = f"it ended with {how}{meaning and f': {meaning}'}; sshd takes that as no keys{said}"
        return error(check, what, where, remedy)
    if run.output and not _may_only_enrol(run.output, key):
        what = f"it printed a line for a key that nobody has: {printable(run.output, 120)}"
        return error(check, what, where, "AuthorizedKeysCommand must be sshaft-keys, asked with %f %t %k")
    took = f"{run.seconds:.2f} s"
    if run.seconds > SLOW:
        slow = f"it took {took}; sshd runs it for every key that is offered, and once more"
        return warning(check, slow, where, "see the agent's log for what is slow")
    if run.output:
        what = f"run as sshd would: status 0, {took}; an invitation is open, so an unknown key may present its code"
        return ok(check, what, where)
    return ok(check, f"run as sshd would: status 0, {took}, no line for a key that nobody has", where)


def _may_only_enrol(output: str, key: public_key.PublicKey) -> bool:
    """Whether this is one line of the agent for `key`. While an invitation is open, the agent gives one to every key.

    The forced command of the line can present the code of an invitation, because no user owns the key.
    """
    pattern = rf'restrict,pty,command="[^"\n]* --ticket [A-Za-z0-9_-]+" {re.escape(str(key))}\n'
    return re.fullmatch(pattern, output) is not None


def _first_line(said: str) -> str:
    line = next((line for line in said.splitlines() if line.strip()), "")
    return f"; it said: {printable(line, 300)}" if line else ""


def _text(data: bytes) -> str:
    return data[:_MAX_OUTPUT].decode(errors="replace")
