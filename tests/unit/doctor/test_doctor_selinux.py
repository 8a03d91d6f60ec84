"""Tests the SELinux checks with files below another root."""

from pathlib import Path

import pytest

from sshaft.openssh_version import Version
from sshaft_doctor import selinux
from sshaft_doctor.findings import Severity

DENIED = (
    'type=AVC msg=audit(1.2:3): avc:  denied  { connectto } for  pid=7 comm="python3" '
    'path="/run/sshaft/keys/agent.sock" '
    "scontext=system_u:system_r:sshd_session_t:s0 tcontext=system_u:system_r:unconfined_service_t:s0"
)


def host(tmp_path: Path, enforce: str | None, audit: str = "") -> Path:
    if enforce is not None:
        (tmp_path / "sys/fs/selinux").mkdir(parents=True)
        (tmp_path / "sys/fs/selinux/enforce").write_text(enforce)
    (tmp_path / "var/log/audit").mkdir(parents=True)
    (tmp_path / "var/log/audit/audit.log").write_text(audit)
    return tmp_path


def test_host_without_selinux_has_no_finding(tmp_path: Path) -> None:
    assert selinux.examine(Version(9, 9), [selinux.AGENT], host(tmp_path, None, DENIED)) == []


@pytest.mark.parametrize(
    ("version", "domains"), [(Version(9, 2), ": sshd_t must"), (Version(9, 8), ": sshd_t and sshd_session_t must")]
)
def test_finding_names_the_domains_of_the_version(tmp_path: Path, version: Version, domains: str) -> None:
    (found,) = selinux.examine(version, [selinux.AGENT], host(tmp_path, "1"))
    assert (found.check, found.severity) == ("selinux.domains", Severity.NOTE)
    assert domains in found.what
    assert "connectto" in found.what
    assert "enforcing" in found.what


def test_advice_for_the_sockets_is_the_policy_module_of_the_project(tmp_path: Path) -> None:
    (found,) = selinux.examine(Version(9, 9), [selinux.AGENT, selinux.PYTHON], host(tmp_path, "1"))
    assert "install sshaft-selinux" in found.remedy
    rules = (Path(__file__).parents[3] / "selinux" / "sshaft.te").read_text()
    assert "allow sshd_session_t sshaft_sshd_var_run_t:sock_file write;" in rules
    assert "audit2allow -M sshaft-local " in found.remedy  # a module with our name would replace ours


def test_stand_alone_mode_needs_the_network(tmp_path: Path) -> None:
    (found,) = selinux.examine(None, [selinux.SERVICE, selinux.PYTHON], host(tmp_path, "0"))
    assert "name_connect" in found.what
    assert "permissive" in found.what
    assert "sshaft-selinux" not in found.remedy


def test_denials_in_the_audit_log_have_a_finding(tmp_path: Path) -> None:
    found = selinux.examine(Version(9, 9), [selinux.AGENT], host(tmp_path, "1", f"type=LOGIN x\n{DENIED}\n"))
    assert [f.check for f in found] == ["selinux.domains", "selinux.denied"]
    assert found[1].severity == Severity.WARNING


@pytest.mark.parametrize("line", ["", DENIED.replace("denied", "granted"), DENIED.replace("sshd_session_t", "httpd_t")])
def test_other_lines_of_the_audit_log_have_no_finding(tmp_path: Path, line: str) -> None:
    assert len(selinux.examine(Version(9, 9), [selinux.AGENT], host(tmp_path, "1", line))) == 1
