"""Logs in once with a key line of ours: an sshd that does not know an option of the line lets nobody in.

The sshd is the one of this host, but it has settings of its own and no port. `sshd -t` reads no key lines.
"""

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from sshaft import authorized_keys, public_key
from sshaft.errors import ConfigurationError
from sshaft.text import printable
from sshaft_doctor.accounts import Account
from sshaft_doctor.effective import make_key
from sshaft_doctor.findings import Finding, error, needs_root, note, ok

SECONDS = 20
_PRINTED = "understood"
_SETTINGS = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PidFile none
LogLevel DEBUG1
"""


def examine(sshd: Path, login: Account) -> list[Finding]:
    """Logs in as the login account, with a line that the agent could write."""
    if os.geteuid() != 0:
        return [needs_root("keys.line", "whether sshd understands a key line")]
    try:
        with tempfile.TemporaryDirectory(prefix="sshaft-doctor-") as name:
            folder = Path(name)
            key = public_key.parse(make_key(folder / "key").with_suffix(".pub").read_text())
            line = authorized_keys.line(key, ("/bin/echo", _PRINTED))
            return [judge(*log_in(sshd, folder, line, login.name))]
    except (ConfigurationError, OSError, subprocess.SubprocessError) as failure:
        return [note("keys.line", f"not checked: whether sshd understands a key line ({failure})")]


def log_in(sshd: Path, folder: Path, line: str, account: str) -> tuple[str, str]:
    """Logs in with the key `folder`/key. Returns what the forced command printed, and the messages of sshd and ssh."""
    host_key = make_key(folder / "host_key").with_suffix(".pub").read_text()
    (folder / "known_hosts").write_text(f"localhost {host_key}")
    (folder / "sshd_config").write_text(_SETTINGS.format(folder=folder))
    (folder / "authorized_keys").write_text(line + "\n")
    (folder / "authorized_keys").chmod(0o644)
    folder.chmod(0o711)  # sshd reads the line as the account
    by_pipe = shlex.join([str(sshd), "-i", "-e", "-f", f"{folder}/sshd_config"]).replace("%", "%%")
    options = {
        "ProxyCommand": by_pipe, "IdentityFile": f"{folder}/key", "IdentitiesOnly": "yes", "IdentityAgent": "none",
        "UserKnownHostsFile": f"{folder}/known_hosts", "StrictHostKeyChecking": "yes", "BatchMode": "yes",
        "ControlPath": "none",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(  # noqa: S603 - the operator's sshd
        ["ssh", "-F", "none", "-T", *words, f"{account}@localhost"],  # noqa: S607 - of this machine
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "SHELL": "/bin/sh"},
        timeout=SECONDS,
        check=False,
    )
    return done.stdout, done.stderr


def judge(printed: str, said: str) -> Finding:
    """Returns a finding about such a login."""
    if printed.strip() == _PRINTED:
        return ok("keys.line", "sshd understands the key line")
    refused = re.search(r"bad key options: (.*)", said)
    if refused:
        what = f"sshd does not understand the key line, so nobody can log in: {printable(refused[1].strip(), 120)}"
        return error("keys.line", what, "", "update OpenSSH, or sshaft if OpenSSH is the newer one")
    last = next((line for line in reversed(said.splitlines()) if line.strip() and "debug1:" not in line), "no message")
    return note("keys.line", f"not checked: whether sshd understands a key line ({printable(last, 200)})")
