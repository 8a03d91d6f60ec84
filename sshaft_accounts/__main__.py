"""Starts `python -m sshaft_accounts`, with the socket of systemd, or with one that it makes."""

import argparse
import os
import pwd
import signal
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from sshaft_accounts import policy, ssh_sessions
from sshaft_accounts.accounts import Accounts, Done, Refused
from sshaft_accounts.host import ToolError
from sshaft_accounts.record import Record, overview
from sshaft_accounts.requests import Adopt, EndSessions, Request
from sshaft_accounts.server import log, serve

SOCKET = Path("/run/sshaft-accounts.sock")
SYSTEMD_SOCKET = 3  # sd_listen_fds(3)
IDLE = 30.0  # systemd starts it again when a request comes
EX_NOPERM, EX_UNAVAILABLE, EX_CONFIG = 77, 69, 78  # sysexits.h


def main(words: Sequence[str] | None = None) -> int:
    """Serves requests until the program has been idle for a while, if systemd started it. Returns the exit status."""
    options = _options(words)
    if os.geteuid() != 0:
        log("sshaft-accounts must run as root")
        return EX_NOPERM
    if options.list:
        return _list(options.state_directory)
    os.umask(0o077)
    try:
        accounts = Accounts(Record(options.state_directory))
        by_systemd = os.environ.get("LISTEN_PID") == str(os.getpid())
        # With systemd, a wrong accounts.json is told to the agent. After several failed starts the socket would fail.
        listening = socket.socket(fileno=SYSTEMD_SOCKET) if by_systemd else _listen(options.socket, options.config)
        listening.set_inheritable(False)
    except policy.PolicyError as error:
        log(f"{error}")
        return EX_CONFIG
    except (OSError, sqlite3.Error) as error:
        log(f"sshaft-accounts cannot start: {error}")
        return EX_UNAVAILABLE
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    service = _Service(accounts, options.config)
    service.complete()
    serve(listening, service.may_ask, service.handle, IDLE if by_systemd else None)
    return 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sshaft-accounts", description="Creates the accounts of first logins.")
    parser.add_argument("--config", type=Path, default="/etc/sshaft/accounts.json", help="default: %(default)s")
    parser.add_argument(
        "--state-directory", type=Path, default="/var/lib/sshaft-accounts", help="must exist; default: %(default)s"
    )
    parser.add_argument("--socket", type=Path, default=SOCKET, help="without systemd; default: %(default)s")
    parser.add_argument("--list", action="store_true", help="print name, uid and state of its accounts, and end")
    return parser.parse_args(words)


def _list(state_directory: Path) -> int:
    try:
        for facts in overview(state_directory):
            sys.stdout.write(" ".join(map(str, facts)) + "\n")
    except (OSError, sqlite3.Error) as error:
        log(f"sshaft-accounts cannot read its accounts: {error}")
        return EX_UNAVAILABLE
    return 0


def _listen(path: Path, config: Path) -> socket.socket:
    """Returns a socket that root and the group of the agent can reach. Another process that served it loses it."""
    agent = policy.read(config).agent
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    try:
        os.chown(path, 0, pwd.getpwnam(agent).pw_gid)
        path.chmod(0o660)
    except KeyError:
        log(f"no account named {agent}: only root can ask")
    listening.listen()
    return listening


class _Service:
    """Reads accounts.json at each request, so that a change counts at once, and turns failures into refusals."""

    def __init__(self, accounts: Accounts, config: Path) -> None:
        self._accounts = accounts
        self._config = config

    def complete(self) -> None:
        try:
            for entry, ended in self._accounts.complete():
                log(f"interrupted work: {entry}: {ended}")
        except (OSError, ValueError, sqlite3.Error) as error:
            log(f"interrupted work: {error}")

    def may_ask(self, uid: int) -> bool:
        """Whether root or the account of the agent asks."""
        if uid == 0:
            return True
        try:
            return uid == pwd.getpwnam(policy.read(self._config).agent).pw_uid
        except (KeyError, policy.PolicyError):
            return False

    def handle(self, request: Request, uid: int) -> Done | Refused:
        if isinstance(request, Adopt) and uid != 0:  # an agent in the wrong hands could take any account
            return Refused("user: only root may have an account adopted")
        try:
            if isinstance(request, EndSessions):
                return _end_sessions(request)
            return self._accounts.answer(policy.read(self._config), request)
        except policy.PolicyError as error:
            return Refused(f"accounts.json: {error}")
        except ToolError as error:
            return Refused(f"{error}")
        except (OSError, ValueError, sqlite3.Error) as error:  # a full disk, a line of /etc/passwd that is none
            return Refused(f"the host failed: {error}")


def _end_sessions(request: EndSessions) -> Done | Refused:
    """Ends ssh sessions of any person's account: the agent reports and ends also those that it has not made."""
    uid = ssh_sessions.uid_of(request.user)
    if uid is None:
        return Refused("user: not the account of a person")
    if not ssh_sessions.end(uid, request.leaders):
        return Refused("sessions: some processes go on")
    return Done(uid, "", "")


if __name__ == "__main__":
    sys.exit(main())
