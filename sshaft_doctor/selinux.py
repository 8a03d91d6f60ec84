"""Names the SELinux rights that the keys command and host login need (mostly on Red Hat's systems)."""

from collections.abc import Collection
from pathlib import Path

from sshaft.openssh_version import Version
from sshaft_doctor.findings import Finding, note, warning

_SPLIT = Version(9, 8)
"""The first version with sshd-session as its own program, which policies run as sshd_session_t."""


def enforcing(root: Path = Path("/")) -> bool | None:
    """Returns True for enforcing, False for permissive, and None without SELinux."""
    try:
        return (root / "sys/fs/selinux/enforce").read_text().strip() == "1"
    except OSError:
        return None


AGENT = "connect to the agent's sockets (connectto, and write on the sock_file)"
SERVICE = "connect to the identity service (name_connect on http_port_t)"
PYTHON = "run Python"
_OURS = "for the agent's sockets: install sshaft-selinux, or selinux/sshaft.te of the project (docs/rpm.md)"
_MORE = "ausearch -m avc -ts recent | audit2allow -M sshaft-local && semodule -i sshaft-local.pp"


def examine(version: Version | None, needed: Collection[str], root: Path = Path("/")) -> list[Finding]:
    """Returns the rights that a policy must give. Only a login and the audit log show whether it gives them."""
    mode = enforcing(root)
    if mode is None:
        return []
    domains = "sshd_t" if version is not None and version < _SPLIT else "sshd_t and sshd_session_t"
    what = (
        f"SELinux is {'enforcing' if mode else 'permissive'}: {domains} must be allowed to {', and to '.join(needed)}"
    )
    remedy = f"{_OURS}; for what is still refused: {_MORE}" if AGENT in needed else _MORE
    found = [note("selinux.domains", what, "/sys/fs/selinux/enforce", remedy)]
    denied = denials(root / "var/log/audit/audit.log")
    if denied:
        found.append(warning("selinux.denied", f"refused: {denied[-1]}", "/var/log/audit/audit.log", remedy))
    return found


def denials(log: Path, tail: int = 512 * 1024) -> list[str]:
    """Returns the last denials that concern sshd and sshaft, or none if the log cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - tail))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if "avc:" in line and "denied" in line and _concerns_us(line)]


def _concerns_us(line: str) -> bool:
    domain = any(f":{name}:" in line for name in ("sshd_t", "sshd_session_t", "sshd_auth_t"))
    return domain and any(word in line for word in ("sshaft", "agent.sock", 'comm="python'))
