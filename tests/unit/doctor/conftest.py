"""Settings as sshd -T says them for our own file, and with one thing changed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sshaft_doctor import effective, hardened, sources
from sshaft_doctor.effective import Effective
from sshaft_doctor.hardened import Choices
from sshaft_doctor.openssh_version import Version

OLDEST = Version(9, 2)

Settings = Callable[..., Effective]

SSHD = Path("/usr/sbin/sshd")


@pytest.fixture(scope="session")
def sshd() -> Path:
    """That of this machine, able to read a configuration."""
    if not SSHD.exists() or not shutil.which("ssh-keygen"):
        pytest.skip("needs Debian's openssh-server")
    if os.geteuid() == 0:  # made at boot where sshd is started; as root it does nothing without
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return SSHD


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The hardened file of a version; keywords given take the place of its own (None: no such line)."""

    def make(version: Version = OLDEST, **changes: str | None) -> Effective:
        path = tmp_path / "sshd_config"
        path.write_text(hardened.write(version, Choices()))
        right = effective.of_lines(str(path), sources.read(path))
        values = dict(right.values)
        for keyword, value in changes.items():
            values.pop(keyword.lower(), None)
            if value is not None:
                values[keyword.lower()] = (value,)
        return Effective(values, right.file, right.lines)

    return make
