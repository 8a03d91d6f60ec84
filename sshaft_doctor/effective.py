"""What sshd has in force for the login account, by its own word: `sshd -T`, with Match blocks and Includes applied."""

import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sshaft.errors import ConfigurationError, SshaftError
from sshaft_doctor.sources import Line

# Somebody from outside (RFC 5737): a Match Address for the office must not decide what is examined.
PERSON = "host=client.example,addr=192.0.2.1"


class RefusedError(SshaftError):
    """sshd does not take this configuration. Carries sshd's own words."""

    code = "sshd_config"


@dataclass(frozen=True)
class Effective:
    """Settings by keyword in lower case. `lines` are those of the files, to say where a setting stands."""

    values: Mapping[str, tuple[str, ...]]
    file: str = "sshd_config"
    lines: tuple[Line, ...] = ()

    def get(self, keyword: str, default: str = "") -> str:
        """The value as sshd prints it (the first, where there are several lines)."""
        return self.values.get(keyword.lower(), (default,))[0]

    def all(self, keyword: str) -> tuple[str, ...]:
        return self.values.get(keyword.lower(), ())

    def where(self, keyword: str) -> str:
        """`FILE:LINE` of the setting in force, or the file that has no such line."""
        own = [line for line in self.lines if line.keyword == keyword.lower()]
        value = " ".join(self.get(keyword).lower().split())
        same = [line for line in own if " ".join(line.value.lower().split()) == value]
        plain = [line for line in own if not line.match]
        found = same or plain
        return found[0].place if found else f"{self.file}, no such line"


def parse(text: str, file: str = "sshd_config", lines: Iterable[Line] = ()) -> Effective:
    """From the output of `sshd -T`: keywords in lower case (9.2) or CamelCase (10.5)."""
    values: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword:
            values[keyword.lower()] = (*values.get(keyword.lower(), ()), value.strip())
    return Effective(values, file, tuple(lines))


def of_lines(file: str, lines: Iterable[Line], login_user: str = "") -> Effective:
    """Without sshd: the first value of each keyword, `Match User LOGIN_USER` before all. No other Match."""
    values: dict[str, tuple[str, ...]] = {}
    lines = tuple(lines)
    own = [line for line in lines if line.match.lower().split() == ["user", login_user.lower()]]
    for line in [*own, *(line for line in lines if not line.match)]:
        if line.keyword != "match":
            values.setdefault(line.keyword, (line.value,))
    return Effective(values, file, lines)


def ask(sshd: Path, config: Path, login_user: str, lines: Iterable[Line] = ()) -> Effective:
    """What sshd says. Raises `RefusedError` with its words, `ConfigurationError` where it can't be started."""
    said = ""
    for more in ((), ("-G",), None):
        if more is None:
            # An ordinary user can't read the host keys, and 9.2 has no -G: a key of our own will do.
            with tempfile.TemporaryDirectory() as folder:
                key = _make_key(Path(folder) / "key")
                done = _run(sshd, config, login_user, ("-T", "-h", str(key)))
                done.stdout = "".join(line for line in done.stdout.splitlines(keepends=True) if folder not in line)
        else:
            done = _run(sshd, config, login_user, more or ("-T",))
        if done.returncode == 0 and done.stdout:
            return parse(done.stdout, str(config), lines)
        said = said or " ".join(done.stderr.split())
    raise RefusedError(said or "no answer")


def _make_key(path: Path) -> Path:
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
    command = [str(sshd), *how, "-f", str(config), "-C", f"user={login_user},{PERSON}"]
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
