"""SELinux: which domain runs the keys command, and what that domain must be allowed (Red Hat's family, mostly)."""

from pathlib import Path

from sshaft_doctor.findings import Finding, note, warning
from sshaft_doctor.openssh_version import Version

SPLIT = Version(9, 8)
"""From here on sshd-session is a program of its own, and policies give it sshd_session_t."""


def enforcing(root: Path = Path("/")) -> bool | None:
    """True, False for permissive, None where SELinux is off or not there."""
    try:
        return (root / "sys/fs/selinux/enforce").read_text().strip() == "1"
    except OSError:
        return None


def examine(version: Version | None, root: Path = Path("/"), *, with_agent: bool = True) -> list[Finding]:
    """What an enforcing host needs. Whether its policy has it only a login shows, and the audit log."""
    mode = enforcing(root)
    if mode is None:
        return []
    domains = "sshd_t" if version is not None and version < SPLIT else "sshd_t and sshd_session_t"
    needed = (
        "connect to the agent's sockets (connectto, and write on the sock_file)"
        if with_agent
        else "connect to the identity service (name_connect on http_port_t)"
    )
    what = (
        f"SELinux is {'enforcing' if mode else 'permissive'}: {domains} must be allowed to {needed}, and to run Python"
    )
    remedy = "ausearch -m avc -ts recent | audit2allow -M sshaft && semodule -i sshaft.pp"
    found = [note("selinux.domains", what, "/sys/fs/selinux/enforce", remedy)]
    denied = denials(root / "var/log/audit/audit.log")
    if denied:
        found.append(warning("selinux.denied", f"refused: {denied[-1]}", "/var/log/audit/audit.log", remedy))
    return found


def denials(log: Path, tail: int = 512 * 1024) -> list[str]:
    """The last refusals that concern sshd's domains and what we are made of; none where the log can't be read."""
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
