"""Examines the agent: whether it answers, and which accounts can reach its sockets."""

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sshaft import agent_socket
from sshaft_doctor import accounts, paths
from sshaft_doctor.accounts import Account
from sshaft_doctor.alarm import alarm
from sshaft_doctor.findings import Finding, error, needs_root, ok, warning

SECONDS = 5
START, RESTART = "systemctl start sshaft-agent", "systemctl restart sshaft-agent"


@dataclass(frozen=True)
class Sockets:
    """The paths of the agent's sockets. `runtime` has keys/agent.sock, login/agent.sock and status.sock."""

    runtime: Path
    keys: Path

    @property
    def login(self) -> Path:
        """The socket of the agent that has started last. After an upgrade it has a number in its name."""
        folder = self.runtime / "login"
        found: list[Path] = []
        with suppress(OSError):
            found = sorted(folder.glob("agent*.sock"), key=lambda path: path.lstat().st_mtime)
        return found[-1] if found else folder / "agent.sock"

    @property
    def status(self) -> Path:
        return self.runtime / "status.sock"


def sockets(named: str, runtime: Path | None) -> Sockets:
    """Returns the paths from `--agent` of the keys command, or from the operator's runtime directory."""
    keys = Path(named) if named else (runtime or Path("/run/sshaft")) / "keys" / "agent.sock"
    return Sockets(runtime or keys.parent.parent, keys)


def account(at: Sockets) -> Account | None:
    """Returns the account of the agent (the owner of its folders), or None without an agent."""
    for path in (at.status, at.keys.parent, at.runtime):
        try:
            return accounts.of_uid(path.lstat().st_uid)
        except OSError:
            continue
    return None


def usual_account() -> Account | None:
    """Returns the account that the unit of the agent names, for an agent that has not started yet."""
    return accounts.find("sshaft")


def examine(at: Sockets, keys_user: Account | None, login: Account | None) -> list[Finding]:
    """Returns findings about the agent's answer, its account, its folders and its sockets."""
    own = account(at)
    if own is None:
        return [error("agent.status", f"no agent: {at.runtime} is not there", str(at.runtime), START)]
    found = [status(at, own)]
    running = found[0].severity < error("", "").severity
    found += judge_account(own, keys_user, login)
    found += paths.examine("agent.folder", at.runtime, {0, own.uid})
    for path, user, other in ((at.keys, keys_user, login), (at.login, login, keys_user)):
        found += examine_socket(path, own, user, other, running=running)
    return found


def status(at: Sockets, own: Account) -> Finding:
    """Returns a finding about the agent's answer."""
    where = str(at.status)
    if os.geteuid() not in (0, own.uid):
        return needs_root("agent.status", "the agent's status", where)
    try:
        facts = _ask(where)
    except (agent_socket.AgentUnavailableError, TimeoutError) as failure:
        return error("agent.status", str(failure), where, START)
    except (KeyError, TypeError, ValueError):
        return error("agent.status", "what answers there gives no status", where, START)
    if facts.get("identity_service") == "down":
        what = "the agent can't reach the identity service"
        return error("agent.service", what, where, "journalctl -u sshaft-agent")
    if facts.get("refused_configuration"):
        what = f"the agent refused a new configuration and works with the old one: {facts['refused_configuration']}"
        return warning("agent.status", what, where, "correct the file, then: systemctl reload sshaft-agent")
    service = f" (identity service: {facts['identity_service']})" if "identity_service" in facts else ""
    return ok("agent.status", f"the agent answers{service}", where)


def _ask(path: str) -> dict[str, Any]:
    with alarm(SECONDS):
        _kind, answer = agent_socket.ask_as_owner(path, "status", {})
    return dict(json.loads(answer["json"]))


def judge_account(own: Account, keys_user: Account | None, login: Account | None) -> list[Finding]:
    """Checks that no other program runs as the agent's account, because that account can read the secret."""
    remedy = "run the agent as an account of its own, in the groups of the two it serves"
    if own.uid == 0:
        return [warning("agent.account", "the agent runs as root", "", remedy)]
    for other, role in ((login, "that people log in to"), (keys_user, "that runs the keys command")):
        if other is not None and other.uid == own.uid:
            what = f"the agent runs as {own.name}, the account {role}: it could read the client secret"
            return [error("agent.account", what, "", remedy)]
    return []


def examine_socket(
    path: Path, own: Account, user: Account | None, other: Account | None, *, running: bool
) -> list[Finding]:  # fmt: skip
    """Checks that only the agent and the socket's user can enter the socket's folder."""
    check, folder = f"agent.{path.parent.name}_socket", path.parent
    try:
        found = paths.part(folder)
    except OSError as failure:
        return [error(check, f"{folder}: {failure.strerror}", str(folder), RESTART)] if running else []
    if found.uid not in (0, own.uid) or found.mode & 0o027 or not stat.S_ISDIR(found.mode):
        what = f"{folder} is open to more than its user (uid {found.uid}, mode {stat.S_IMODE(found.mode):04o})"
        return [error(check, what, str(folder), f"chmod 0710 {folder}; {RESTART}")]
    if other is not None and user is not None and other.uid not in (0, user.uid, own.uid) and found.lets(other, 1):
        what = f"{other.name} can enter {folder}, which is for {user.name}"
        return [error(check, what, str(folder), f"gpasswd --delete {other.name} {user.name}")]
    return _reach(check, path, user, running=running)


def _reach(check: str, path: Path, user: Account | None, *, running: bool) -> list[Finding]:
    """Checks that the socket exists (if the agent runs), and that its user can use it."""
    try:
        path.lstat()
    except PermissionError:
        return [needs_root(check, f"who can reach {path}")]
    except OSError:
        return [error(check, f"{path} is missing", str(path), RESTART)] if running else []
    if user is None:
        return []
    return paths.reach(check, path, user, 6, f"start the agent with the user that sshd's settings name: {user.name}")
