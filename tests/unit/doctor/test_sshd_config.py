"""Tests `sshaft sshd-config`: the file, the lines of each version and the operator's choices."""

import re
import subprocess
from pathlib import Path

import pytest

from sshaft import openssh_version
from sshaft.__main__ import main
from sshaft.errors import ConfigurationError
from sshaft.openssh_version import Version
from sshaft_doctor import effective, hardened, sources
from sshaft_doctor.effective import Effective
from sshaft_doctor.hardened import Choices

CHECKOUT = Path(__file__).resolve().parent.parent.parent.parent
NEWEST = Version(10, 5)

Capture = pytest.CaptureFixture[str]


def settings(text: str, tmp_path: Path) -> Effective:
    path = tmp_path / "sshd_config"
    path.write_text(text)
    return effective.of_lines(str(path), sources.read(path))


def test_file_at_the_top_of_the_checkout_is_what_the_command_writes_for_the_oldest_tested_version() -> None:
    assert (CHECKOUT / "sshd_config").read_text() == hardened.write(Version(9, 2), Choices())


@pytest.mark.parametrize("version", ["9.2", "9.2p1", "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026"])
def test_command_writes_the_file_for_every_spelling_of_a_version(version: str, capsys: Capture) -> None:
    assert main(["sshd-config", "--for", version]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ((CHECKOUT / "sshd_config").read_text(), "")


def test_file_has_no_setting_twice() -> None:
    for version in (Version(8, 7), Version(9, 2), Version(9, 8), NEWEST):
        keywords = re.findall(r"(?m)^([A-Za-z]+) ", hardened.write(version, Choices()))
        assert len(keywords) == len(set(keywords))


def test_file_of_each_version_has_the_settings_that_the_version_knows(tmp_path: Path) -> None:
    def own(version: Version) -> set[str]:
        return set(settings(hardened.write(version, Choices()), tmp_path).values)

    base = own(Version(9, 2))
    assert own(Version(9, 7)) == base
    assert own(Version(9, 8)) - base == {"persourcepenalties"}
    assert own(NEWEST) == own(Version(9, 8))
    assert base - own(Version(9, 1)) == {"channeltimeout", "unusedconnectiontimeout"}
    assert base - own(Version(9, 0)) == {"channeltimeout", "unusedconnectiontimeout", "requiredrsasize"}


def test_choices_replace_the_words_of_the_file(tmp_path: Path, capsys: Capture) -> None:
    chosen = ["--port", "22", "--login-user", "factor", "--keys-command", "/usr/libexec/sshaft/sshaft-keys"]
    chosen += ["--keys-user", "keys", "--host-key", "/etc/a", "--host-key", "/etc/b"]
    assert main(["sshd-config", "--for", "10.0", *chosen]) == 0
    path = tmp_path / "sshd_config"
    path.write_text(capsys.readouterr().out)
    lines = sources.read(path)
    got = effective.of_lines(str(path), lines)
    assert [line.value for line in lines if line.keyword == "hostkey"] == ["/etc/a", "/etc/b"]
    assert (got.get("Port"), got.get("AllowUsers"), got.get("AuthorizedKeysCommandUser")) == ("22", "factor", "keys")
    command = "/usr/libexec/sshaft/sshaft-keys --agent /run/sshaft/keys/agent.sock --fingerprint %f --type %t --key %k"
    assert got.get("AuthorizedKeysCommand") == command
    others = {"port", "allowusers", "authorizedkeyscommanduser", "authorizedkeyscommand", "hostkey"}
    plain = settings(hardened.write(Version(10, 0), Choices()), tmp_path)
    assert {k: v for k, v in got.values.items() if k not in others} == {
        k: v for k, v in plain.values.items() if k not in others
    }


@pytest.mark.parametrize(
    "choices",
    [
        Choices(login_user="mfa\nPermitRootLogin yes"),
        Choices(login_user="a b"),
        Choices(login_user=""),
        Choices(keys_command="keys"),
        Choices(keys_command="/a --x"),
        Choices(host_keys=["key"]),
        Choices(keys_user="x#"),
    ],
)
def test_value_of_several_words_is_refused(choices: Choices) -> None:
    with pytest.raises(ConfigurationError):
        hardened.write(Version(9, 2), choices)


def test_version_that_is_too_old_is_refused(capsys: Capture) -> None:
    """Case old_openssh: `sshaft doctor` refuses the same versions."""
    assert main(["sshd-config", "--for", "8.6p1"]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sshaft: OpenSSH 8.6 is older than 8.7")
    assert main(["sshd-config", "--for", "8.7p1"]) == 0


def test_version_of_this_host_is_the_default(tmp_path: Path, capsys: Capture) -> None:
    sshd = tmp_path / "sshd"
    sshd.write_text("#!/bin/sh\necho 'OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.1 1 Jul 2025' >&2\n")
    sshd.chmod(0o755)
    assert main(["sshd-config", "--sshd", str(sshd)]) == 0
    assert capsys.readouterr().out == hardened.write(Version(10, 0), Choices())
    assert main(["sshd-config", "--sshd", str(tmp_path / "none")]) == 78


def test_real_sshd_accepts_the_file_of_its_version(sshd: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    path = tmp_path / "sshd_config"
    path.write_text(hardened.write(openssh_version.installed(sshd), Choices(host_keys=[str(key)])))
    done = subprocess.run([sshd, "-t", "-f", path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
