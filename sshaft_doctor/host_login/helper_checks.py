"""Asks sshaft-accounts whether it works, as root and as the agent, and compares its policy with `create`."""

import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

from sshaft import messages
from sshaft.daemon.unix_socket import peer_uid
from sshaft_doctor import as_account, paths
from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, error, needs_root, note, warning
from sshaft_doctor.host_login.create import POLICY, Create, Policy

_CHECK = "host.accounts"
_SECONDS = 10.0
_SOCKET = Path("/run/sshaft-accounts.sock")
"""Root asks at no other path. An agent in the wrong hands could name one where root's question does harm."""
_START = "systemctl enable --now sshaft-accounts.socket; journalctl -u sshaft-accounts"


def examine(create: Create, policy: Policy | None, agent: Account | None) -> list[Finding]:
    """Returns findings about accounts.json, and about the way from the agent to sshaft-accounts."""
    if not os.path.lexists(POLICY):
        what = f"{POLICY} is missing: sshaft-accounts refuses every request"
        return [error(_CHECK, what, str(POLICY), f"echo '{{}}' >{POLICY}")]
    if found := paths.examine(_CHECK, POLICY):
        return found
    if policy is not None:
        found = judge_policy(create, policy, agent)
    return found + examine_program(Path(create.socket), agent)


def judge_policy(create: Create, policy: Policy, agent: Account | None) -> list[Finding]:
    """Compares what the agent asks for with what it may ask for."""
    found, where = [], str(POLICY)
    if create.is_uid_of_claim:
        first, last = max(create.uid_first, policy.uid_first), min(create.uid_last, policy.uid_last)
        if first <= last:
            what = f"create and accounts.json share the uids {first} to {last}: a person of such a uid gets no account"
            right = 'create.uid is a claim: "uid_first" and "uid_last" of create must be uids that no person has'
            found.append(warning(_CHECK, what, where, right))
    elif not policy.uid_first <= create.uid_first <= create.uid_last <= policy.uid_last:
        own, allowed = f"{create.uid_first} to {create.uid_last}", f"{policy.uid_first} to {policy.uid_last}"
        what = f"create has the uids {own}, and accounts.json allows only {allowed}: sshaft-accounts refuses the others"
        right = f'"uid_first": {create.uid_first}, "uid_last": {create.uid_last}'
        found.append(error(_CHECK, what, where, right))
    if create.home != policy.home:
        what = f"create has the home {create.home}, and accounts.json {policy.home}: sshaft-accounts refuses all"
        found.append(error(_CHECK, what, where, f'"home": "{create.home}"'))
    if create.shell not in (policy.shell, *policy.shells):
        what = f"create has the shell {create.shell}, and accounts.json does not allow it"
        found.append(warning(_CHECK, what, where, f'"shell": "{create.shell}"'))
    if policy.names is not None and policy.names != create.names:
        what = "names differs in create and accounts.json: sshaft-accounts refuses names that do not fit both"
        found.append(note(_CHECK, what, where, "write the same pattern in both files"))
    if agent is not None and agent.uid != 0 and policy.agent != agent.name:
        what = f"the agent is {agent.name}, and accounts.json allows {policy.agent}: the agent gets no answer"
        found.append(error(_CHECK, what, where, f'"agent": "{agent.name}"'))
    return found


def examine_program(path: Path, agent: Account | None, usual: Path = _SOCKET) -> list[Finding]:
    """Checks that sshaft-accounts answers the agent. If it does not, root asks it, but only at the usual path."""
    if os.geteuid() != 0:
        return [needs_root(_CHECK, "whether sshaft-accounts answers", str(path))]
    if agent is None and path != usual:
        return [note(_CHECK, "not checked: no agent runs that could ask sshaft-accounts", str(path))]
    try:
        reason = as_account.call(agent, partial(_silence, path))["reason"]
    except as_account.ChildError as failure:
        return [note(_CHECK, f"not checked: {failure}", str(path))]
    if not reason:
        return []
    of_root = _silence(path)["reason"] if path == usual else reason
    if of_root or agent is None:
        return [error(_CHECK, f"no account can be made: {of_root}", str(path), _START)]
    what = f"sshaft-accounts answers root, and not the agent's account {agent.name}: {reason}"
    return [error(_CHECK, what, str(path), "SocketGroup of sshaft-accounts.socket must be the agent's group")]


def _silence(path: Path) -> dict[str, Any]:
    """Returns as `reason` why sshaft-accounts would do nothing for this process.

    It asks for no change of root: this is refused by a program that works, and by its accounts.json if it is wrong.
    """
    try:
        kind, fields = messages.decode(_ask(path, messages.encode("groups", {"user": "root"})))
    except (OSError, messages.MessageError) as failure:
        return {"reason": f"sshaft-accounts does not answer: {getattr(failure, 'strerror', None) or failure}"}
    reason = fields.get("reason", kind)
    return {"reason": "" if reason.startswith("user:") else f"sshaft-accounts says: {reason}"}


def _ask(path: Path, question: bytes) -> bytes:
    """Returns the whole answer. The agent trusts none but root's."""
    data = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(str(path))
        uid = peer_uid(connection)
        if uid != 0:
            raise PermissionError(1, f"uid {uid} listens there, and not root")
        connection.sendall(question)
        while not data.endswith(messages.END) and len(data) <= messages.MAX_MESSAGE:
            part = connection.recv(messages.MAX_MESSAGE)
            if not part:
                break
            data += part
    return data
