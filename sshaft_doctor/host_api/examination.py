"""Examines host-api as a whole, where the host takes access tokens or has host-api.json."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sshaft import exit_status
from sshaft_doctor import accounts, agent, as_account, dry_run, paths
from sshaft_doctor.accounts import Account
from sshaft_doctor.findings import Finding, error, needs_root, note, warning
from sshaft_doctor.host_api import account_checks, service

_INSTALL = "install host-api as docs/host-api.md says, or leave it: then people paste a token at the prompt"
_API_USER = "the agent needs --api-user, see systemd/sshaft-agent-api.conf; then: systemctl daemon-reload; " + (
    agent.RESTART
)


@dataclass(frozen=True)
class Chosen:
    """What the operator named: host-api.json, the account of host-api, and the login account of the SSH factor."""

    config: Path = Path("/etc/sshaft/host-api.json")
    user: str = "sshaft-host-api"
    login_user: str = "mfa"


@dataclass(frozen=True)
class TokenLogin:
    """What is known of token login. `issuers` are those of `host_login.tokens`, and `agent` is the agent's account.

    `private` are the files and folders that only the agent may read.
    """

    issuers: Sequence[str]
    private: Sequence[Path] = ()
    agent: Account | None = None


def examine(chosen: Chosen, tokens: TokenLogin) -> list[Finding]:
    """Returns findings about host-api, or a hint where a host with token login has none."""
    where = str(chosen.config)
    if not os.path.lexists(chosen.config):
        what = "this host takes access tokens, and has no host-api: mccli and `sshaft ssh` cannot log in"
        return [note("api.config", what, where, _INSTALL)] if tokens.issuers else []
    if not tokens.issuers:
        what = "host-api is there, and config.json has no host_login.tokens: host-api can verify nobody"
        return [warning("api.config", what, where, "host_login.tokens in config.json (docs/token-login.md)")]
    user = accounts.find(chosen.user)
    if user is None:
        return [account_checks.missing(chosen.user)]
    found = account_checks.examine(user, tokens.private, tokens.agent)
    found += paths.examine("api.config", chosen.config)
    if dry_run.become(user) is None:
        return [*found, needs_root("api.config", f"what is in {where}", where)]
    refused = check(chosen.config, user)
    return found + (refused or _asked(chosen, user, tokens))


def check(config: Path, user: Account) -> list[Finding]:
    """Lets the program itself check its configuration, and the files that it names, as its account."""
    program = f"import sys; sys.path = {sys.path!r}; from sshaft.__main__ import main; sys.exit(main())"
    words = [sys.executable, "-IS", "-c", program, "host-api", "check", "--config", str(config)]
    done = dry_run.run(words, user, dry_run.become(user) or {})
    said = done.said.strip().rpartition("\n")[2].removeprefix("sshaft: ")
    if done.status in (exit_status.CONFIGURATION, exit_status.USAGE):
        return [error("api.config", f"host-api does not start: {said}", str(config), "correct it as the message says")]
    if done.status != exit_status.OK:
        return [note("api.config", f"not checked: host-api cannot be run as {user.name}: {said}", str(config))]
    return []


def _asked(chosen: Chosen, user: Account, tokens: TokenLogin) -> list[Finding]:
    """Returns findings about the agent's socket and the service. Reads the configuration as the account of host-api."""
    try:
        read = as_account.call(user, partial(service.read_and_ask, chosen.config, tuple(tokens.issuers)))
    except as_account.ChildError as failure:
        return [note("api.info", f"not checked: {failure}", str(chosen.config))]
    found = examine_socket(Path(read["agent_socket"]), user, tokens.agent, accounts.find(chosen.login_user))
    return found + [Finding.of_json(each) for each in read["findings"]]


def examine_socket(path: Path, user: Account, own: Account | None, login: Account | None) -> list[Finding]:
    """Checks that the agent listens for host-api, and that only host-api can enter the folder of the socket."""
    if own is None:
        return []  # another finding says that no agent runs
    if path.parent.exists():
        return agent.examine_socket(path, own, user, login, running=True)
    what = f"the agent does not listen for host-api at {path}"
    return [error("agent.api_socket", what, str(path), _API_USER)]
