"""Tests the checks of people who have logged in before: by refresh token, without the person."""

import asyncio
import base64
import io
import json
import shutil
import socket
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider
from fakes.unix_server import UnixServer, read_question
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from unit.agent.host_login.test_host_login import (
    Module,
    begun,
    provider,  # noqa: F401 - a fixture
    run_at,
    settings_of,
)

from sshaft import messages
from sshaft.errors import ConfigurationError
from sshaft_agent import metrics
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.host_login import HostLogin
from sshaft_agent.host_login.realms import NamedRealms
from sshaft_agent.host_login.recheck.rounds import Rounds
from sshaft_agent.host_login.recheck.vault import SealError, open_vault
from sshaft_agent.host_login.sshd import Sshd

HOUR, DAY = 3600, 86400
TOKEN = "opaque-token-of-alice"
GRACE_END = 12 * HOUR + 3 * DAY


@dataclass
class Host:
    """A host with an agent whose clock moves by hand, and a small server in place of sshaft-accounts."""

    directory: Path
    provider: OpenIdProvider
    members: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = time.time()
        self.provider.is_approved = self.provider.gives_refresh_tokens = True
        self.provider.bend_metadata = {"revocation_endpoint": f"{self.provider.issuer}/revoke"}
        for name in ("state", "key"):
            (self.directory / name).mkdir()
        self.login = self.new()

    def settings(self, **changes: Any) -> Any:
        key = str(self.directory / "key/tokens.key")
        recheck = {"every": "12h", "grace": "3d", "key_file": key, "revoke": True}
        create = {"socket": str(self.directory / "accounts.sock")}
        members = {"recheck": recheck, "allow": {"groups": ["ssh"]}, "create": create} | self.members | changes
        return settings_of(self.provider, self.directory / "state", **members)

    def new(self) -> HostLogin:
        """Returns what an agent has that starts now."""
        find = {name: Account(name, 1000 + i) for i, name in enumerate(("alice", "bob", "deploy"))}.get
        return HostLogin(self.settings(), "web1", find, sshd=Sshd(self.directory / "sshd"), now=lambda: self.now)

    def configure(self, **members: Any) -> None:
        self.members = members
        self.login.replace_settings(self.settings())

    def restart(self) -> None:
        self.login.close()
        self.login = self.new()

    def later(self, seconds: float = 12 * HOUR) -> None:
        self.now += seconds
        self.login.rounds.work()

    def run(self, *steps: Callable[[Module], Awaitable[None]]) -> HostLogin:
        """Runs connections of the PAM module, one after the other, and restarts the agent."""
        run_at(self.login, self.directory, *steps)
        ended, self.login = self.login, self.new()
        return ended

    def log_in(self, name: str = "alice") -> None:
        assert self.run(accepted(name)).outcomes == {"accepted": 1}

    def key_opens(self, name: str = "alice") -> bool:
        """Whether a key opens the account: what sshd asks in the account phase."""
        results = []

        async def ask(module: Module) -> None:
            module.send("account", user=name, service="sshd", rhost="192.0.2.7")
            kind, fields = await module.read()
            while kind != "result":
                kind, fields = await module.read()
            results.append(fields["result"])

        self.run(ask)
        return results == ["success"]

    def suspended_by(self, name: str = "alice") -> str:
        record = self.login.life_cycle.of(name)
        return "" if record is None else record.suspended_by

    def refreshed(self) -> int:
        return sum(form.get("grant_type") == "refresh_token" for form in self.provider.forms)

    def ended(self) -> list[str]:
        """Returns the kinds of the tokens that the agent has ended."""
        return [form["token_type_hint"] for form in self.provider.forms if "token_type_hint" in form]

    def rows(self, table: str = "refresh_tokens") -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.directory / "state/host-login.sqlite") as connection:
            return list(connection.execute(f"SELECT * FROM {table}"))

    def answer(self, connection: socket.socket) -> None:
        self.asked.append(read_question(connection))
        connection.sendall(messages.encode("done", {"uid": "1000", "home": "/home/alice", "shell": "/bin/bash"}))


@pytest.fixture
def host(provider: OpenIdProvider, tmp_path: Path) -> Iterator[Host]:  # noqa: F811 - the fixture
    provider.user = {"sub": "subject-1", "preferred_username": "alice", "groups": ["ssh"]}
    host = Host(tmp_path, provider)
    yield host
    host.login.close()


def accepted(name: str = "alice") -> Callable[[Module], Awaitable[None]]:
    async def login(module: Module) -> None:
        await begun(module, user=name)
        module.send("answer", text="")
        assert await module.result() == "success"

    return login


def ending(text: str) -> Callable[[Module], Awaitable[None]]:
    """Returns a login that is refused with this text."""

    async def login(module: Module) -> None:
        await begun(module)
        module.send("answer", text="")
        assert text in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "denied"

    return login


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the provider runs in a thread
            await asyncio.sleep(0.01)


# --- a person who is still good


def test_person_is_checked_each_time_with_the_token_of_the_last_check(host: Host) -> None:
    host.log_in()
    assert host.ended() == [], "the end of the access token could be the end of the refresh token (RFC 7009 §2.1)"
    host.later(12 * HOUR - 60)
    assert host.refreshed() == 0, "it is not due yet"
    for count in range(1, 4):
        host.later()
        assert host.refreshed() == count
        host.later(60)
        assert host.refreshed() == count, "a minute later it is not due again"
        host.restart()
    assert (host.login.rounds.outcomes, host.suspended_by(), host.key_opens()) == ({}, "", True)


def test_good_check_keeps_keys_usable(host: Host) -> None:
    host.log_in()
    for _ in range(10):
        host.later(DAY)
    assert host.key_opens()


def test_time_of_a_check_is_measured_as_one_of_the_provider(host: Host) -> None:
    calls: list[tuple[str, float]] = []
    host.log_in()
    host.login.close()
    host.login = HostLogin(host.settings(), "web1", {"alice": Account("alice", 1000)}.get, now=lambda: host.now,
                           observe=lambda *call: calls.append(call))  # fmt: skip
    host.later()
    ((call, seconds),) = calls
    assert call == "recheck"
    assert 0 < seconds < 60
    metrics.observer(CollectorRegistry())(call, seconds)


def test_provider_that_does_not_rotate_refresh_tokens(host: Host) -> None:
    host.provider.keeps_refresh_tokens = True
    host.log_in()
    host.later()
    host.later()
    assert host.login.rounds.outcomes == {"good": 2}


def test_login_asks_for_offline_access_only_where_people_are_checked_again(host: Host) -> None:
    host.log_in()
    assert host.provider.forms[0]["scope"] == "openid profile offline_access"
    host.configure(recheck=None)
    host.log_in()
    scopes = [form["scope"] for form in host.provider.forms if "scope" in form]
    assert scopes == ["openid profile offline_access", "openid profile"]


def test_refresh_token_stands_nowhere_unencrypted(host: Host) -> None:
    host.log_in()
    (token,) = host.provider.refresh_tokens
    files = [path for path in host.directory.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert not [path for path in files if token.encode() in path.read_bytes()]


def test_new_id_token_without_acr_is_good(host: Host) -> None:
    """The claim speaks of the login, and the provider does not repeat it."""
    host.configure(allow={"everyone": True, "acr": ["gold"], "amr": ["otp"]})
    host.provider.bend_claims = {"acr": "gold", "amr": ["otp"]}
    host.log_in()
    host.provider.bend_claims = {}
    host.later()
    assert host.login.rounds.outcomes == {"good": 1}
    host.provider.bend_claims = {"acr": "tin"}
    host.later()
    assert host.suspended_by() == "recheck"


def test_userinfo_speaks_where_the_provider_gives_no_new_id_token(host: Host) -> None:
    host.log_in()
    host.provider.bend_refresh = {"id_token": None}
    host.later()
    assert host.login.rounds.outcomes == {"failed": 1}
    host.provider.bend_userinfo = dict(host.provider.user)
    host.restart()
    host.later()
    assert host.login.rounds.outcomes == {"good": 1}
    host.provider.bend_userinfo["groups"] = ["others"]
    host.later()
    assert host.suspended_by() == "recheck"


@pytest.mark.parametrize("identity_from", ["introspection", "userinfo"])
def test_person_is_checked_as_at_the_login(host: Host, identity_from: str) -> None:
    host.provider.public = False
    host.provider.bend_userinfo = dict(host.provider.user)
    host.provider.bend_introspection = host.provider.user | {"scope": "openid profile", "username": "alice"}
    secret = {"client_secret": CLIENT_SECRET, "token_endpoint_auth_method": "client_secret_basic"}
    host.configure(identity_from=identity_from, **secret)
    host.log_in()
    host.later()
    assert host.login.rounds.outcomes == {"good": 1}
    host.provider.bend_userinfo["groups"] = host.provider.bend_introspection["groups"] = ["others"]
    host.later()
    assert (host.login.rounds.outcomes, host.suspended_by()) == ({"good": 1, "refused": 1}, "recheck")


# --- a person who is not good any more


def test_person_whom_the_provider_disables_loses_account_and_sessions(host: Host) -> None:
    host.log_in()
    host.provider.refresh_tokens.clear()
    with UnixServer(host.directory / "accounts.sock", host.answer):
        host.later()
    assert host.asked == [("lock", {"user": "alice", "sessions": "end"})]
    assert host.suspended_by() == "recheck"
    assert not host.key_opens()
    assert (host.rows(), host.ended()) == ([], []), "there is nothing left to end"
    host.later()
    assert host.refreshed() == 1


def test_account_is_refused_also_while_sshaft_accounts_is_away(host: Host, events: io.StringIO) -> None:
    host.log_in()
    host.provider.refresh_tokens.clear()
    host.later()
    assert "the account is suspended" in events.getvalue()
    assert "sshaft-accounts does not answer" in events.getvalue()
    assert not host.key_opens()


@pytest.mark.parametrize(
    "change",
    [
        {"groups": ["others"]},
        {"groups": None},
        {"groups": "ssh"},
        {"preferred_username": "bob"},
        {"preferred_username": None},
    ],
)
def test_person_who_is_not_allowed_any_more_loses_the_account(host: Host, change: dict[str, Any]) -> None:
    host.log_in()
    host.provider.user = host.provider.user | change
    host.later()
    assert (host.suspended_by(), host.key_opens()) == ("recheck", False)
    host.later(60)
    assert (host.ended(), host.rows(), host.provider.refresh_tokens) == (["refresh_token"], [], {})


def test_stricter_configuration_counts_at_the_next_check(host: Host) -> None:
    host.log_in()
    host.configure(allow={"users": ["bob"]})
    host.later()
    assert host.suspended_by() == "recheck"


def test_token_that_is_inactive_as_soon_as_it_is_given_is_that_of_no_good_person(host: Host) -> None:
    host.provider.public = False
    host.provider.bend_introspection = host.provider.user | {"scope": "openid profile", "username": "alice"}
    host.configure(identity_from="introspection", client_secret=CLIENT_SECRET)
    host.log_in()
    host.provider.bend_introspection["active"] = False
    host.later()
    assert host.suspended_by() == "recheck"


def test_next_good_login_of_the_person_opens_the_account_again(host: Host) -> None:
    host.log_in()
    host.provider.refresh_tokens.clear()
    host.later()
    host.provider.user = host.provider.user | {"groups": []}
    host.run(ending("was not accepted"))
    assert host.suspended_by() == "recheck", "the approval of a person who is not allowed lifts nothing"
    host.provider.user = host.provider.user | {"groups": ["ssh"]}
    with UnixServer(host.directory / "accounts.sock", host.answer):
        host.log_in()
    assert host.asked == [("unlock", {"user": "alice"})]
    assert (host.suspended_by(), host.key_opens()) == ("", True)
    host.later()
    assert host.login.rounds.outcomes == {"good": 1}


def by_token(result: str) -> Callable[[Module], Awaitable[None]]:
    """Returns a login with an access token."""

    async def login(module: Module) -> None:
        assert "Access Token:" in await begun(module)
        module.send("answer", text=TOKEN)
        kind, fields = await module.read()
        while kind != "result":
            module.send("answer", text="")
            kind, fields = await module.read()
        assert fields["result"] == result

    return login


def taking_tokens(host: Host, **members: Any) -> None:
    host.provider.bend_userinfo = dict(host.provider.user)
    host.provider.good_tokens.add(TOKEN)
    taken = {"issuer": host.provider.issuer, "any_audience": True, "form": "userinfo", "allow": {"everyone": True}}
    host.configure(tokens=[taken], **members)


def test_access_token_lifts_nothing(host: Host) -> None:
    """It may be from before the end of the person's account at the provider."""
    host.log_in()
    taking_tokens(host)
    host.run(by_token("success"))
    host.provider.refresh_tokens.clear()
    host.later()
    assert host.suspended_by() == "recheck"
    host.run(by_token("final"))
    assert (host.suspended_by(), host.key_opens()) == ("recheck", False)
    asked = {"token": TOKEN, "client_ip": "192.0.2.7"}
    for kind, more in (("api_verify", {"user": "alice", "password": ""}), ("api_user", {"action": "deploy"})):
        answer = asyncio.run(host.login.api.answers()[kind](asked | more))[1]
        assert (answer["state"], answer.get("verified", "")) == ("suspended", ""), answer
    host.login.life_cycle.resume("alice")
    host.run(by_token("final"))
    assert not host.key_opens(), "only an approval shows that the person is good again"


def test_access_token_of_one_of_several_people_who_left_opens_nothing(host: Host) -> None:
    host.configure(map={"alice": "alice"})
    host.log_in()
    taking_tokens(host)
    host.login.operator._bindings.bind("alice", host.provider.issuer, "2", datetime.now(UTC), "bob")  # noqa: SLF001
    host.provider.refresh_tokens.clear()
    host.later()
    assert (host.suspended_by(), host.key_opens()) == ("", True), "another person has the account, too"
    host.run(by_token("final"))


def test_login_with_an_access_token_counts_as_a_check(host: Host) -> None:
    taking_tokens(host)
    host.run(by_token("success"))
    host.later(GRACE_END - 60)
    assert host.key_opens()
    host.run(by_token("success"))
    host.later(GRACE_END - 60)
    assert host.key_opens()
    host.later(120)
    assert not host.key_opens()


def test_suspension_by_an_operator_outlives_checks_and_logins(host: Host) -> None:
    host.log_in()
    host.login.life_cycle.suspend("alice", "left")
    host.provider.refresh_tokens.clear()
    host.later()
    assert host.suspended_by() == "operator"
    host.run(ending("Your account on this host is closed"))
    assert host.suspended_by() == "operator"


def test_login_of_another_person_lifts_nothing(host: Host) -> None:
    """An operator has given the account to another identity meanwhile, or to nobody."""
    host.log_in()
    host.provider.refresh_tokens.clear()
    host.later()
    host.login.operator._unbind({"account": "alice"})  # noqa: SLF001 - as the command asks
    host.provider.user = host.provider.user | {"sub": "subject-2"}
    host.run(ending("was not accepted"))
    assert host.suspended_by() == "recheck"


def test_operator_opens_an_account_for_a_login_but_not_for_keys(host: Host) -> None:
    host.log_in()
    host.provider.refresh_tokens.clear()
    host.later()
    host.login.life_cycle.resume("alice")
    host.later(60)
    assert (host.suspended_by(), host.key_opens()) == ("", False)
    host.log_in()
    assert host.key_opens()


def test_account_that_is_locked_stays_locked_and_loses_its_sessions(host: Host) -> None:
    """A login opens what a check has closed, but not what has closed for another reason."""
    host.log_in()
    host.login.life_cycle.adopted("alice")
    pam = host.directory / "pam.d-sshd"
    pam.write_text("account required pam_sshaft.so\n")
    create = {"socket": str(host.directory / "accounts.sock"), "lock_after": "1d", "pam_file": str(pam)}
    host.members = {"create": create}
    host.restart()
    with UnixServer(host.directory / "accounts.sock", host.answer):
        host.now += 2 * DAY
        host.login.life_cycle.work()
        host.asked.clear()
        host.provider.refresh_tokens.clear()
        host.later(0)
    assert host.asked == [("lock", {"user": "alice", "sessions": "end"})]
    host.run(ending("Your account on this host is closed"))
    assert not host.key_opens()


def test_operator_sees_the_checks(host: Host) -> None:
    def listed() -> tuple[Any, Any]:
        (row,) = host.login.operator._more["accounts"]({})  # noqa: SLF001 - as the command asks
        return row["checked_at"], row["unchecked"]

    def explained() -> dict[str, bool]:
        fields = {"user": "alice", "claims": json.dumps(host.provider.user)}
        return {each["rule"]: each["passed"] for each in host.login.operator._explain(fields)}  # noqa: SLF001 - as above

    host.log_in()
    checked_at, unchecked = listed()
    assert (int(datetime.fromisoformat(checked_at).timestamp()), unchecked) == (int(host.now), None)
    host.provider.refresh_tokens.clear()
    host.later()
    assert "invalid_grant" in listed()[1]
    assert all(explained().values()), "a login opens the account again"
    host.login.life_cycle.suspend("alice", "left")
    assert explained()["life cycle"] is False
    host.configure(recheck=None)
    assert listed() == (None, None)


def test_one_of_several_people_leaves(host: Host, events: io.StringIO) -> None:
    host.configure(map={"alice": "deploy", "bob": "deploy"})
    host.log_in("deploy")
    alice = set(host.provider.refresh_tokens)
    host.now += HOUR
    host.provider.user = host.provider.user | {"sub": "subject-2", "preferred_username": "bob"}
    host.log_in("deploy")
    for token in alice:
        del host.provider.refresh_tokens[token]
    host.later(12 * HOUR)
    assert host.login.rounds.outcomes == {"refused": 1, "good": 1}
    assert "others share the account: it stays open" in events.getvalue()
    assert (host.suspended_by("deploy"), host.key_opens("deploy")) == ("", True)
    host.provider.refresh_tokens.clear()
    host.later()
    assert (host.suspended_by("deploy"), host.key_opens("deploy")) == ("recheck", False)


# --- a provider that says neither yes nor no


def test_provider_that_is_away_changes_nothing_until_the_grace_ends(host: Host, events: io.StringIO) -> None:
    host.provider.keeps_refresh_tokens = True
    host.log_in()
    host.provider.status["/token"] = 503
    host.later()
    asked = host.provider.calls.count("/token")
    host.later(60)
    assert host.provider.calls.count("/token") == asked, "it is not asked again at once"
    host.later(3 * DAY - 120)
    assert (host.suspended_by(), host.key_opens()) == ("", True)
    host.later(120)
    assert (host.suspended_by(), host.key_opens()) == ("", False)
    assert "the last good check of subject-1 was at" in events.getvalue()
    del host.provider.status["/token"]
    host.later(HOUR)
    assert host.key_opens(), "the provider is back, and the person is good"


@pytest.mark.parametrize(
    "error",
    [
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "interaction_required",
        "temporarily_unavailable",
    ],
)
def test_other_error_of_the_provider_suspends_nobody(host: Host, error: str) -> None:
    host.log_in()
    host.provider.errors.append(error)
    host.later()
    assert (host.login.rounds.outcomes, host.suspended_by()) == ({"failed": 1}, "")
    assert host.rows()[0][-1] == 0, "an invalid_grant of the next check counts"
    host.later(HOUR)
    assert host.login.rounds.outcomes == {"failed": 1, "good": 1}, "the token is as good as before"


def test_provider_that_is_away_is_asked_about_one_person(host: Host) -> None:
    host.log_in()
    host.provider.user = {"sub": "subject-2", "preferred_username": "bob", "groups": ["ssh"]}
    host.log_in("bob")
    host.provider.status["/token"] = 500
    host.later()
    host.later(299)
    assert host.refreshed() == 1
    host.later(1)
    assert host.refreshed() == 2, "the other person's turn"


@pytest.mark.parametrize(("error", "asked"), [("invalid_client", 1), ("interaction_required", 2)])
def test_provider_that_refuses_this_client_is_asked_about_one_person(host: Host, error: str, asked: int) -> None:
    host.log_in()
    host.provider.user = {"sub": "subject-2", "preferred_username": "bob", "groups": ["ssh"]}
    host.log_in("bob")
    host.provider.errors += [error] * 2
    host.later()
    assert (host.refreshed(), host.login.rounds.outcomes) == (asked, {"failed": asked})


@pytest.mark.parametrize("path", ["/token", "/jwks", "/.well-known/openid-configuration"])
@pytest.mark.parametrize("fault", [302, 404, 500, b"", b"[]", b'{"error": "invalid_grant"}'])
def test_broken_answer_suspends_nobody(host: Host, path: str, fault: int | bytes) -> None:
    host.log_in()
    host.restart()
    broken: dict[str, Any] = host.provider.status if isinstance(fault, int) else host.provider.raw
    broken[path] = fault
    host.later()
    assert (host.login.rounds.outcomes["good"], host.suspended_by()) == (0, "")
    del broken[path]
    host.later(GRACE_END)
    assert host.suspended_by() == ""


@pytest.mark.parametrize(
    "claims",
    [{"sub": "subject-2"}, {"iss": "https://other.example"}, {"aud": "other"}, {"exp": 1}, {"nonce": "other"}],
)
def test_token_that_proves_nothing_is_no_good_check(host: Host, claims: dict[str, Any]) -> None:
    host.log_in()
    host.provider.bend_claims = claims
    host.later()
    assert (host.login.rounds.outcomes, host.suspended_by()) == ({"failed": 1}, "")
    host.later(GRACE_END)
    assert not host.key_opens()


@pytest.mark.parametrize("status", [500, 302])
def test_lost_answer_of_a_provider_that_rotates_suspends_nobody(host: Host, status: int) -> None:
    """The provider has taken the token, and takes it for stolen when it comes again (RFC 9700 §4.14.2)."""
    host.log_in()
    host.provider.status["/token"] = status
    host.later()
    del host.provider.status["/token"]
    host.later(HOUR)
    assert host.refreshed() == 2
    assert (host.login.rounds.outcomes, host.suspended_by(), host.rows()) == ({"failed": 2}, "", [])
    assert host.key_opens()
    host.later(GRACE_END)
    assert not host.key_opens(), "the person has to log in again"


def test_token_that_was_not_sent_is_as_good_as_before(host: Host) -> None:
    host.log_in()
    host.provider.close()
    host.restart()
    host.later()
    assert host.refreshed() == 0
    (row,) = host.rows()
    assert row[-1] == 0, "an invalid_grant of the next check counts"


def test_agent_that_is_killed_while_the_provider_answers_suspends_nobody(host: Host) -> None:
    host.log_in()
    before = host.directory / "before.sqlite"
    database = host.directory / "state/host-login.sqlite"
    host.provider.on_call["/token"] = lambda: shutil.copy(database, before)
    host.later()
    host.provider.on_call.clear()
    shutil.copy(before, database)
    host.restart()
    host.later(HOUR)
    assert (host.login.rounds.outcomes, host.suspended_by()) == ({"failed": 1}, "")


def test_host_without_the_account_suspends_nobody(host: Host) -> None:
    """The source of accounts may be away for a moment."""
    host.log_in()
    host.login.rounds = Rounds(host.login.recheck, lambda: host.login._realm, {}.get, host.login.life_cycle)  # noqa: SLF001
    host.later()
    assert (host.login.rounds.outcomes, host.suspended_by()) == ({"failed": 1}, "")


def test_database_that_is_broken_ends_a_round_quietly(host: Host, events: io.StringIO) -> None:
    host.log_in()
    (host.directory / "state/host-login.sqlite").write_bytes(b"no database" * 100)
    host.later()
    assert "host_recheck.failed" in events.getvalue()
    assert host.refreshed() == 0


def test_two_agents_use_a_token_once(host: Host) -> None:
    host.log_in()
    other = host.new()
    host.provider.on_call["/token"] = lambda: other.rounds.work() if host.refreshed() == 0 else None
    host.later()
    other.close()
    assert (host.refreshed(), host.login.rounds.outcomes, other.rounds.outcomes) == (1, {"good": 1}, {})


def test_clock_that_was_wrong_for_a_while_keeps_nobody_in(host: Host) -> None:
    host.now += 365 * DAY
    host.log_in()
    host.now -= 365 * DAY
    assert not host.key_opens()
    host.later(0)
    assert host.key_opens(), "the check is due at once"


def test_login_during_a_check_that_refuses_wins(host: Host) -> None:
    host.log_in()
    old = dict(host.provider.refresh_tokens)

    def log_in() -> None:
        host.provider.on_call.clear()
        other = host.new()
        run_at(other, host.directory, accepted())
        for token in old:
            del host.provider.refresh_tokens[token]

    host.provider.on_call["/token"] = log_in
    host.later()
    assert (host.suspended_by(), host.key_opens()) == ("", True)
    host.later()
    assert host.login.rounds.outcomes["good"] == 1


def test_login_while_the_account_is_being_closed_wins(host: Host) -> None:
    """The agent has asked sshaft-accounts already when the token of a new login comes."""
    host.log_in()
    host.provider.refresh_tokens.clear()

    def answer(connection: socket.socket) -> None:
        if not host.asked:
            identity = "alice", host.provider.issuer, "subject-1", CLIENT_ID
            host.login.recheck.checks.keep(*identity, b"sealed", int(host.now))
        host.answer(connection)

    with UnixServer(host.directory / "accounts.sock", answer):
        host.later()
    assert [kind for kind, _ in host.asked] == ["lock", "unlock"]
    assert (host.suspended_by(), host.key_opens()) == ("", True)


def test_agent_that_stops_begins_no_check(host: Host) -> None:
    host.log_in()
    host.login.stop()
    host.later()
    assert host.refreshed() == 0


# --- tokens that nobody needs any more


def test_newer_token_ends_the_older_one(host: Host) -> None:
    host.log_in()
    (old,) = host.provider.refresh_tokens
    host.log_in()
    host.later(60)
    assert old not in host.provider.refresh_tokens
    assert (host.ended(), len(host.provider.refresh_tokens), len(host.rows())) == (["refresh_token"], 1, 1)
    assert host.login.rounds.outcomes == {"good": 1}, "the new token is tried: some providers end all of them at once"


def test_provider_that_ends_all_tokens_at_once_suspends_nobody(host: Host, events: io.StringIO) -> None:
    host.provider.ends_all = True
    host.log_in()
    host.log_in()
    host.later(60)
    assert (host.login.rounds.outcomes, host.suspended_by()) == ({"failed": 1}, "")
    assert "see recheck.revoke" in events.getvalue()
    assert host.key_opens()


def test_tokens_are_only_forgotten_where_the_operator_says_so(host: Host) -> None:
    recheck = {"every": "12h", "grace": "3d", "key_file": str(host.directory / "key/tokens.key")}
    host.provider.ends_all = True
    host.configure(recheck=recheck)
    host.log_in()
    host.log_in()
    host.provider.user = host.provider.user | {"groups": []}
    host.run(ending("was not accepted"))
    host.later(60)
    assert (host.ended(), len(host.rows())) == ([], 1)


def test_unbound_account_ends_its_token(host: Host) -> None:
    host.log_in()
    host.login.operator._unbind({"account": "alice"})  # noqa: SLF001 - as the command asks
    host.later(60)
    assert (host.ended(), host.rows(), host.rows("checks")) == (["refresh_token"], [], [])
    assert host.refreshed() == 0


def test_token_is_ended_also_after_the_provider_was_away(host: Host) -> None:
    host.log_in()
    host.login.operator._unbind({"account": "alice"})  # noqa: SLF001 - as the command asks
    host.provider.status["/revoke"] = 503
    host.later(60)
    host.later(60)
    assert (len(host.rows()), len(host.ended())) == (1, 1), "it is not tried again at once"
    del host.provider.status["/revoke"]
    host.restart()
    host.later(HOUR)
    assert (host.rows(), host.provider.refresh_tokens) == ([], {})


def test_token_that_cannot_be_ended_is_forgotten_in_the_end(host: Host) -> None:
    host.log_in()
    host.login.operator._unbind({"account": "alice"})  # noqa: SLF001 - as the command asks
    host.provider.status["/revoke"] = 503
    host.later(60)
    host.later(8 * DAY)
    assert host.rows() == []


def test_revocation_that_fails_delays_no_check(host: Host) -> None:
    host.log_in()
    host.log_in()
    host.provider.status["/revoke"] = 503
    host.later()
    assert host.login.rounds.outcomes == {"good": 1}


def test_login_that_is_refused_keeps_no_token(host: Host) -> None:
    async def login(module: Module) -> None:
        await ending("was not accepted")(module)
        await until(lambda: len(host.ended()) == 2)

    host.provider.user = host.provider.user | {"groups": []}
    host.run(login)
    assert (host.ended(), host.rows()) == (["refresh_token", "access_token"], [])


def test_person_who_leaves_before_enter_leaves_no_token(host: Host) -> None:
    async def leave(module: Module) -> None:
        await begun(module)
        await until(lambda: bool(host.provider.refresh_tokens))
        await asyncio.sleep(0.1)
        module.writer.close()
        await until(lambda: len(host.ended()) == 2)

    host.run(leave)
    assert (host.rows(), host.provider.refresh_tokens) == ([], {})


def test_login_without_a_refresh_token_counts_as_a_check(host: Host, events: io.StringIO) -> None:
    host.provider.gives_refresh_tokens = False
    host.log_in()
    assert "host_recheck.no_token" in events.getvalue()
    host.later(GRACE_END - 60)
    assert host.key_opens()
    host.later(120)
    assert not host.key_opens()


# --- before and after people are checked


def test_accounts_from_before_keep_their_keys_for_every_and_grace(host: Host) -> None:
    host.configure(recheck=None)
    host.log_in()
    host.later(30 * DAY)
    assert host.key_opens()
    host.members = {}
    host.restart()
    host.later(GRACE_END - 60)
    assert host.key_opens()
    host.restart()
    host.later(120)
    assert not host.key_opens(), "a restart gives no new time"


def test_account_that_an_operator_binds_is_counted_from_then(host: Host) -> None:
    host.login.operator._bind({"account": "bob", "issuer": host.provider.issuer, "subject": "2"})  # noqa: SLF001
    assert host.key_opens("bob")
    host.later(GRACE_END + 60)
    assert not host.key_opens("bob")


def test_restart_gives_no_new_time_to_an_account_that_an_operator_has_bound(host: Host) -> None:
    host.login.operator._bind({"account": "bob", "issuer": host.provider.issuer, "subject": "2"})  # noqa: SLF001
    host.later(60)
    host.now += GRACE_END
    host.restart()
    assert not host.key_opens("bob")


def test_account_that_an_operator_has_just_bound_is_counted_from_then(host: Host) -> None:
    """The agent has made no round since."""
    host.login.operator._bind({"account": "bob", "issuer": host.provider.issuer, "subject": "2"})  # noqa: SLF001
    assert host.login.recheck.refusal("bob") is None
    host.now += GRACE_END + 60
    assert host.login.recheck.refusal("bob") is not None


def test_account_that_nobody_has_stays_closed(host: Host) -> None:
    assert not host.key_opens("bob")


def test_configuration_of_a_pam_line_checks_nobody(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(f'{{"host_login": {{"issuer": "{host.provider.issuer}", "client_id": "{CLIENT_ID}", '
                    '"allow": {"everyone": true}, "recheck": {"every": "12h", "grace": "3d"}}}')  # fmt: skip
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="recheck belongs"):
        NamedRealms().realm(str(file))


# --- the key


def test_copy_of_the_database_opens_with_its_key_alone(host: Host, events: io.StringIO) -> None:
    host.log_in()
    (host.directory / "key/tokens.key").unlink()
    host.restart()
    host.later()
    assert (host.refreshed(), host.suspended_by(), host.rows()) == (0, "", [])
    assert "key_file has another key" in events.getvalue()


def test_token_that_was_moved_to_another_account_does_not_open(host: Host) -> None:
    host.log_in()
    host.login.operator._bind({"account": "bob", "issuer": host.provider.issuer, "subject": "subject-1"})  # noqa: SLF001
    host.restart()
    with sqlite3.connect(host.directory / "state/host-login.sqlite") as connection:
        connection.execute("UPDATE refresh_tokens SET account = 'bob'")
    host.later()
    assert (host.refreshed(), host.login.rounds.outcomes) == (0, {"failed": 1})


def test_agent_makes_a_key_that_nobody_else_can_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.key"
    sealed = open_vault(path).seal("secret", "alice")
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_vault(path).open(sealed, "alice") == "secret"
    assert [each.name for each in tmp_path.iterdir()] == ["tokens.key"]
    for changed in (sealed[:-1], b"", sealed[:12], bytes([sealed[0] ^ 1]) + sealed[1:]):
        with pytest.raises(SealError):
            open_vault(path).open(changed, "alice")


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(b"k" * 31).decode(), "k" * 5000])
def test_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError):
        open_vault(path)


@pytest.mark.parametrize(("mode", "fault"), [(0o604, "open to everybody"), (0o620, "others can write")])
def test_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int, fault: str) -> None:
    path = tmp_path / "tokens.key"
    open_vault(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=fault):
        open_vault(path)


@pytest.mark.parametrize("path", ["/nowhere/tokens.key", "tokens.key", "/dev/null"])
def test_place_without_a_key_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError):
        open_vault(Path(path))


@pytest.mark.parametrize(
    ("recheck", "fault"),
    [
        ({"every": "1m"}, "every"),
        ({"every": "31d"}, "every"),
        ({"every": 12}, "number and m, h or d"),
        ({"grace": "91d"}, "grace"),
        ({"key_file": "STATE/tokens.key"}, "both"),
        ({"key_file": "STATE/deep/tokens.key"}, "both"),
        ({"other": 1}, "other"),
    ],
)
def test_settings_that_could_not_work_are_refused(host: Host, recheck: dict[str, Any], fault: str) -> None:
    recheck = {"every": "12h", "grace": "3d"} | recheck
    if "key_file" in recheck:
        recheck["key_file"] = recheck["key_file"].replace("STATE", str(host.directory / "state"))
    with pytest.raises(ValidationError, match=fault):
        host.settings(recheck=recheck)


def test_reload_with_a_key_that_cannot_be_used_changes_nothing(host: Host) -> None:
    recheck = {"every": "1h", "grace": "3d", "key_file": str(host.directory / "nowhere/tokens.key")}
    with pytest.raises(ConfigurationError, match="cannot be made"):
        host.configure(recheck=recheck)
    host.members = {}
    host.log_in()
    host.later()
    assert host.login.rounds.outcomes == {"good": 1}
