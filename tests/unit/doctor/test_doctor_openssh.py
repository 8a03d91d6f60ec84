"""Tests configuration files of sshd, also with the real sshd of this machine."""

import os
import re
from pathlib import Path

import pytest

from sshaft.errors import ConfigurationError
from sshaft.openssh_version import Version
from sshaft_doctor import effective, lint, sources
from sshaft_doctor.effective import RefusedError


def test_settings_come_with_their_place_through_includes_and_match_blocks(tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text("LogLevel=VERBOSE # loud\nMatch User root\n UsePAM yes\n")
    (tmp_path / "a.conf").write_text('Banner "a # b"\n')
    top = tmp_path / "sshd_config"
    top.write_text(f"# top\n\nPort\t22\nInclude {tmp_path}/*.conf\nLogLevel INFO\nMatch User mfa\n  PermitTTY no\n")
    lines = sources.read(top)
    told = [(line.path.name, line.number, line.keyword, line.value, line.match) for line in lines]
    assert told == [
        ("sshd_config", 3, "port", "22", ""),
        ("a.conf", 1, "banner", '"a # b"', ""),
        ("b.conf", 1, "loglevel", "VERBOSE", ""),
        ("b.conf", 2, "match", "User root", ""),
        ("b.conf", 3, "usepam", "yes", "User root"),
        ("sshd_config", 5, "loglevel", "INFO", ""),
        ("sshd_config", 6, "match", "User mfa", ""),
        ("sshd_config", 7, "permittty", "no", "User mfa"),
    ]
    assert [path.name for path in sources.files(top, lines)] == ["sshd_config", "a.conf", "b.conf"]


def test_reading_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    top = tmp_path / "sshd_config"
    top.write_text(f"Port 22\nInclude {top}\n")
    assert [line.keyword for line in sources.read(top)] == ["port"] * 17


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        sources.read(tmp_path / "none")


def test_pipe_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sshd_config")
    with pytest.raises(ConfigurationError, match="can't be read: it is a pipe"):
        sources.read(tmp_path / "sshd_config")


# --- settings in force


def test_keywords_are_read_in_either_case() -> None:
    old = effective.parse("loglevel INFO\nhostkey /a\nhostkey /b\nchanneltimeout session:*=60\n")
    new = effective.parse("LogLevel INFO\nHostKey /a\nHostKey /b\nChannelTimeout session:*=60\n")
    assert old == new
    assert new.get("loglevel") == "INFO"
    assert new.all("HOSTKEY") == ("/a", "/b")
    assert new.get("Banner", "none") == "none"


def test_place_of_a_setting_is_the_line_whose_value_is_in_force(tmp_path: Path) -> None:
    top = tmp_path / "sshd_config"
    top.write_text("LogLevel INFO\nMatch User mfa\nLogLevel VERBOSE\n")
    lines = sources.read(top)
    assert effective.parse("loglevel VERBOSE", str(top), lines).where("LogLevel") == f"{top}:3"
    assert effective.parse("loglevel INFO", str(top), lines).where("LogLevel") == f"{top}:1"
    assert effective.parse("usepam no", str(top), lines).where("UsePAM") == f"{top}, no such line"


def test_first_line_of_a_keyword_counts_without_sshd(tmp_path: Path) -> None:
    top = tmp_path / "sshd_config"
    top.write_text("LogLevel INFO\nLogLevel VERBOSE\nMatch User mfa\nPermitTTY no\n")
    found = effective.of_lines(str(top), sources.read(top))
    assert (found.get("loglevel"), found.get("permittty")) == ("INFO", "")
    assert effective.of_lines(str(top), sources.read(top), "mfa").get("permittty") == "no"


@pytest.fixture
def real_config(tmp_path: Path) -> Path:
    path = tmp_path / "sshd_config"
    # the host key is missing, as for a user that may not read it
    path.write_text(
        "Port 2222\nHostKey /nowhere\nMatch User mfa\nLogLevel VERBOSE\nMatch Address 127.0.0.0/8\nBanner /x\n"
    )
    return path


def test_real_sshd_reports_the_settings_of_the_login_user_from_outside(sshd: Path, real_config: Path) -> None:
    lines = sources.read(real_config)
    mine = effective.ask(sshd, real_config, "mfa", lines)
    assert (mine.get("LogLevel"), mine.get("Banner"), mine.get("Port")) == ("VERBOSE", "none", "2222")
    assert mine.where("LogLevel") == f"{real_config}:4"
    assert mine.all("HostKey") == ("/nowhere",)  # the temporary key is not listed
    assert effective.ask(sshd, real_config, "root", lines).get("LogLevel") == "INFO"


def test_real_sshd_that_refuses_its_file_is_quoted(sshd: Path, real_config: Path) -> None:
    real_config.write_text("Port 2222\nHostKey /nowhere\nNoSuchKeyword yes\n")
    with pytest.raises(RefusedError, match="NoSuchKeyword"):
        effective.ask(sshd, real_config, "mfa")


def test_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        effective.ask(tmp_path / "sshd", tmp_path / "sshd_config", "mfa")


def test_configuration_of_the_manual_for_a_hosts_own_sshd_has_only_a_note(sshd: Path, real_config: Path) -> None:
    manual = (Path(__file__).resolve().parents[3] / "docs" / "install-by-hand.md").read_text()
    block = re.search(r"(?m)^    Match User mfa\n(?:        .*\n)+", manual)
    assert block
    real_config.write_text(f"HostKey /nowhere\nUsePAM yes\nX11Forwarding yes\nAcceptEnv LANG LC_*\n{block[0]}")
    settings = effective.ask(sshd, real_config, "mfa", sources.read(real_config))
    version = Version(9, 7)  # before PerSourcePenalties, which cannot stand in a Match block
    assert [finding.check for finding in lint.lint(settings, version)] == ["sshd.unusedconnectiontimeout"]
