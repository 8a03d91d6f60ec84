"""Makes settings from the hardened file, also with changes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sshaft.openssh_version import Version
from sshaft_doctor import effective, hardened, sources
from sshaft_doctor.effective import Effective
from sshaft_doctor.hardened import Choices

OLDEST = Version(9, 2)

Settings = Callable[..., Effective]

SSHD = Path("/usr/sbin/sshd")


@pytest.fixture(scope="session")
def sshd() -> Path:
    """Returns the sshd of this machine, ready to read a configuration."""
    if not SSHD.exists() or not shutil.which("ssh-keygen"):
        pytest.skip("needs Debian's openssh-server")
    if os.geteuid() == 0:  # the boot makes this folder, and sshd of root needs it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return SSHD


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Returns the settings of a version's hardened file. `changes` replace lines (None removes one)."""

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
