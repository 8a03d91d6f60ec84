"""Tests for which sshd a person needs no Enter."""

from pathlib import Path

import pytest

from sshaft_agent.host_login.sshd import Sshd


def write(path: Path, script: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(f"#!/bin/sh\n{script}\n")
    new.chmod(0o755)
    new.replace(path)


def saying(text: str) -> str:
    return f"echo x >> $0.asked; echo '{text}' >&2; exit 1"


@pytest.mark.parametrize(
    ("script", "shows"),
    [
        (saying("OpenSSH_9.2p1 Debian-2+deb12u7, OpenSSL 3.0.17"), False),
        (saying("OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.0"), False),
        (saying("OpenSSH_10.2p1"), False),
        (saying("OpenSSH_10.3p1, OpenSSL 3.5.0"), True),
        (saying("OpenSSH_10.10p1"), True),
        (saying("OpenSSH_11.0"), True),
        (saying("unknown option -- V\nOpenSSH_8.4p1 Debian-5, OpenSSL 1.1.1w"), False),
        (saying("Dropbear v2025.88"), False),
        (saying("OpenSSH_for_nobody"), False),
        ("exit 0", False),
        ("head -c 100000 /dev/zero", False),
        (r"printf '\377'", False),
        ("exec sleep 60", False),
    ],
)
def test_only_openssh_from_10_3_on_shows_text_at_once(tmp_path: Path, script: str, *, shows: bool) -> None:
    write(tmp_path / "sshd", script)
    assert Sshd(tmp_path / "sshd", seconds=0.2 if "sleep" in script else 5).shows_text_at_once("sshd") is shows


@pytest.mark.parametrize(
    ("service", "shows"),
    [("sshd", True), ("sshd-home", True), ("sshd.test", True), ("sshdx", False), ("login", False), ("", False)],
)
def test_only_services_of_sshd_count(tmp_path: Path, service: str, *, shows: bool) -> None:
    write(tmp_path / "sshd", saying("OpenSSH_10.6p1"))
    assert Sshd(tmp_path / "sshd").shows_text_at_once(service) is shows


def test_missing_or_unusable_program_shows_nothing(tmp_path: Path) -> None:
    assert not Sshd(tmp_path / "sshd").shows_text_at_once("sshd")
    (tmp_path / "sshd").write_text("no program")
    assert not Sshd(tmp_path / "sshd").shows_text_at_once("sshd")


def test_sshd_is_asked_again_only_after_an_upgrade(tmp_path: Path) -> None:
    sshd = Sshd(tmp_path / "sshd")
    for text, shows in (("OpenSSH_9.2", False), ("OpenSSH_10.6", True), ("garbage", False)):
        write(tmp_path / "sshd", saying(text))
        assert [sshd.shows_text_at_once("sshd") for _ in range(3)] == [shows] * 3
    assert (tmp_path / "sshd.asked").read_text() == "x\n" * 3
