"""Tests which version of OpenSSH is read from what sshd says."""

import re
import subprocess
from pathlib import Path

import pytest

from sshaft import openssh_version
from sshaft.errors import ConfigurationError
from sshaft.openssh_version import Version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("9.2", (9, 2)),
        ("9.8p1", (9, 8)),
        ("10.0p2", (10, 0)),
        ("OpenSSH_10.0p2 Debian-7", (10, 0)),
        ("OpenSSH_9.2, OpenSSL 3.0.19 27 Jan 2026", (9, 2)),
        ("OpenSSH_8.9p1 Ubuntu-3ubuntu0.10, OpenSSL 3.0.2 15 Mar 2022\n", (8, 9)),
    ],
)
def test_version_is_read_in_every_spelling(text: str, version: tuple[int, int]) -> None:
    assert openssh_version.parse(text) == version


@pytest.mark.parametrize("text", ["", "9", "nine.two", "-9.2", "9.2\x1b[31m", "9.1000"])
def test_text_that_is_no_version_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        openssh_version.parse(text)
    assert str(caught.value).isprintable()


def test_version_ten_is_newer_than_version_nine() -> None:
    assert Version(10, 0) > Version(9, 9) > Version(9, 2)


def test_error_about_a_missing_sshd_says_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name sshd by --sshd"):
        openssh_version.installed(tmp_path / "sshd")


def test_installed_version_comes_from_sshd() -> None:
    sshd = Path("/usr/sbin/sshd")
    if not sshd.exists():
        pytest.skip("needs sshd")
    said = subprocess.run([sshd, "-V"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"OpenSSH_(\d+\.\d+)", said)
    assert found
    assert str(openssh_version.installed(sshd)) == found[1]
