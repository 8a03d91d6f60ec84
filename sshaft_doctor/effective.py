"""Asks `sshd -T` for the settings of the login account, with Match blocks and Includes applied."""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sshaft.errors import ConfigurationError, SshaftError
from sshaft_doctor.sources import Line

# A client from outside (RFC 5737): the settings of a Match Address for the office must not be examined instead.
_PERSON = "host=client.example,addr=192.0.2.1"


class RefusedError(SshaftError):
    """sshd refuses this configuration. The message has sshd's own words."""

    code = "sshd_config"


@dataclass(frozen=True)
class Effective:
    """The settings by keyword in lower case. `lines` are the lines of the files, which show the place of a setting."""

    values: Mapping[str, tuple[str, ...]]
    file: str = "sshd_config"
    lines: tuple[Line, ...] = ()

    def get(self, keyword: str, default: str = "") -> str:
        """Returns the value as sshd prints it (the first of several lines)."""
        return self.values.get(keyword.lower(), (default,))[0]

    def all(self, keyword: str) -> tuple[str, ...]:
        return self.values.get(keyword.lower(), ())

    def where(self, keyword: str) -> str:
        """Returns `FILE:LINE` of the setting in force, or says that the file has no such line."""
        own = [line for line in self.lines if line.keyword == keyword.lower()]
        value = " ".join(self.get(keyword).lower().split())
        same = [line for line in own if " ".join(line.value.lower().split()) == value]
        plain = [line for line in own if not line.match]
        found = same or plain
        return found[0].place if found else f"{self.file}, no such line"


def parse(text: str, file: str = "sshd_config", lines: Iterable[Line] = ()) -> Effective:
    """Parses the output of `sshd -T`. Its keywords are in lower case (9.2) or CamelCase (10.5)."""
    values: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword:
            values[keyword.lower()] = (*values.get(keyword.lower(), ()), value.strip())
    return Effective(values, file, tuple(lines))


def seconds(value: str) -> float:
    """Returns the seconds of `45`, `2m` or `1h30m`. sshd -T prints plain seconds."""
    parts = re.findall(r"(\d+)([smhdw]?)", value.lower())
    return float(sum(int(n) * {"m": 60, "h": 3600, "d": 86400, "w": 604800}.get(unit, 1) for n, unit in parts))


def of_lines(file: str, lines: Iterable[Line], login_user: str = "") -> Effective:
    """Returns the first value of each keyword, without sshd. Applies `Match User LOGIN_USER` and no other Match."""
    values: dict[str, tuple[str, ...]] = {}
    lines = tuple(lines)
    own = [line for line in lines if line.match.lower().split() == ["user", login_user.lower()]]
    for line in [*own, *(line for line in lines if not line.match)]:
        if line.keyword != "match":
            values.setdefault(line.keyword, (line.value,))
    return Effective(values, file, lines)


def ask(sshd: Path, config: Path, login_user: str, lines: Iterable[Line] = ()) -> Effective:
    """Asks sshd. Raises `RefusedError` with its words, or `ConfigurationError` if sshd cannot be started."""
    said = ""
    for more in ((), ("-G",), None):
        if more is None:
            # An ordinary user can't read the host keys, and 9.2 has no -G, so sshd gets a temporary key.
            with tempfile.TemporaryDirectory() as folder:
                key = make_key(Path(folder) / "key")
                done = _run(sshd, config, login_user, ("-T", "-h", str(key)))
                done.stdout = "".join(line for line in done.stdout.splitlines(keepends=True) if folder not in line)
        else:
            done = _run(sshd, config, login_user, more or ("-T",))
        if done.returncode == 0 and done.stdout:
            return parse(done.stdout, str(config), lines)
        said = said or " ".join(done.stderr.split())
    raise RefusedError(said or "no answer")


def make_key(path: Path) -> Path:
    """Makes an Ed25519 key pair without a passphrase. Returns the path. Raises `ConfigurationError`."""
    try:
        subprocess.run(  # noqa: S603
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)],  # noqa: S607 - of this machine
            check=True,
            capture_output=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError) as failure:
        raise ConfigurationError(f"ssh-keygen: {failure}") from None
    return path


def _run(sshd: Path, config: Path, login_user: str, how: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    command = [str(sshd), *how, "-f", str(config), "-C", f"user={login_user},{_PERSON}"]
    try:
        return subprocess.run(  # noqa: S603 - the operator's sshd
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise ConfigurationError(f"{sshd}: {getattr(failure, 'strerror', None) or 'no answer'}") from None
