"""Tests the first login of a person whose account gets another uid or shell than sshd has heard of the name.

sshd keeps what it has heard. So this connection opens nothing, and the next one does.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from fakes.openid_provider import CLIENT_ID
from unit.agent.host_login.test_first_login import (
    NEWBIE,
    Host,
    bound,
)
from unit.agent.host_login.test_host_login import (
    Module,
    begun,
)

from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.first_login.first_login import uptime

READY = "Your account on this host is ready. Log in again"
DAY = 86400


def log_in(text: str = "", began: float = 0, kind: str = "login") -> Callable[[Module], Awaitable[None]]:
    """Returns a login whose connection began then. It succeeds, or ends with `text`."""

    async def login(module: Module) -> None:
        if kind == "account":
            module.send("account", **NEWBIE, began=str(int(began * 1000)))
            said = await module.read()
            assert (said[0] == "info") == bool(text), said
            return
        await begun(module, user="newbie", began=str(int(began * 1000)))
        module.send("answer", text="")
        if text:
            assert text in await module.prompt()
            module.send("answer", text="")
        assert await module.result() == ("denied" if text else "success")

    return login


def set_up(host: Host, claims: dict[str, Any], create: dict[str, Any], *roles: dict[str, Any]) -> None:
    host.provider.user = host.provider.user | claims
    host.settings, host.create = {"roles": list(roles)}, create
    host.login.close()
    host.login = host.new()
    host.ask()


def by_claim(host: Host, uid: Any = 20001) -> None:
    set_up(host, {"uidNumber": uid}, {"uid": {"claim": "uidNumber"}})


def by_role(host: Host) -> None:
    set_up(host, {"team": "web"}, {}, {"claims": {"team": ["web"]}, "shell": "/bin/rbash"})


@pytest.mark.parametrize(("set_up", "made"), [(by_claim, (20001, "/bin/bash")), (by_role, (70000, "/bin/rbash"))])
def test_first_connection_makes_the_account_and_the_second_opens_it(
    host: Host,
    set_up: Callable[[Host], None],
    made: tuple[int, str],
) -> None:
    before, long_after = uptime(), uptime() + DAY
    set_up(host)
    host.run(
        log_in(READY, before), log_in(READY, before), log_in(READY, 0), log_in("approved", before, "account"),
        log_in("", long_after), log_in("", long_after, "account"),
    )  # fmt: skip
    account = host.accounts["newbie"]
    assert ((account.uid, account.shell), bound(host)) == (made, [("newbie", "subject-1")])
    assert [kind for kind, _ in host.asked] == ["create"]


@pytest.mark.parametrize("set_up", [by_claim, by_role])
def test_agent_that_was_killed_keeps_the_first_connection_out(
    host: Host,
    set_up: Callable[[Host], None],
) -> None:
    """The new agent does not know when the account was made. The reservation of the name ends."""
    set_up(host)
    host.run(log_in(READY))
    host.run(log_in("Run ssh again", uptime() + DAY), log_in("approved", uptime() + DAY, "account"))
    host.later()
    host.run(log_in(""), log_in("", kind="account"))


def test_account_that_an_operator_makes_keeps_older_connections_out(host: Host) -> None:
    """Connections have heard of a reserved uid. Then an operator makes an account, removes it, and makes another."""
    older = uptime()
    host.ask()
    between = uptime()

    async def make(_module: Module) -> None:
        host.accounts["newbie"] = Account("newbie", 1005)

    async def make_again(_module: Module) -> None:
        del host.accounts["newbie"]
        assert (await host.login.first_login.answer_name(NEWBIE))[0] == "name"
        host.accounts["newbie"] = Account("newbie", 1006)

    def refused(began: float) -> Sequence[Callable[[Module], Awaitable[None]]]:
        return log_in(READY, began), log_in("approved", began, "account")

    host.run(make, *refused(older), make_again, *refused(older), *refused(between), log_in("", uptime() + DAY))


def test_names_of_strangers_end_no_knowledge_of_a_name_that_is_reserved(host: Host) -> None:
    by_claim(host)
    for i in range(20):
        host.ask(user=f"invented{i}", rhost=f"192.0.2.{i}")
    host.run(log_in(READY), log_in("", uptime() + DAY))


def test_shell_of_accounts_json_counts(host: Host) -> None:
    """sshd has heard of `create.shell`. An operator may have given everybody a narrower one."""
    host.ask()
    host.lie = {"shell": "/usr/sbin/nologin"}
    host.run(log_in(READY))


@pytest.mark.parametrize(
    "uid",
    [None, "", "x", 0, "0", -1, 999, 20001.0, True, [20001], 65534, 61184, 600000, 2**31, 2**40, 70000, 99999, "70001"],
)
def test_uid_that_is_not_for_people_makes_no_account(host: Host, uid: Any) -> None:
    """70000 to 99999 are those that sshd has for names of strangers."""
    by_claim(host, uid)
    host.run(ending_unavailable)
    assert (host.asked, host.accounts, bound(host)) == ([], {}, [])


async def ending_unavailable(module: Module) -> None:
    await begun(module, user="newbie")
    module.send("answer", text="")
    assert "could not be made" in await module.prompt()
    module.send("answer", text="")
    assert await module.result() == "unavailable"


def test_claim_of_another_configuration_gives_no_uid(host: Host) -> None:
    """A PAM line may name another provider, whose people must not choose the uids of ours."""
    by_claim(host)
    members = {"issuer": host.provider.issuer, "client_id": CLIENT_ID, "allow": {"everyone": True}}
    file = host.directory / "other.json"
    file.write_text(json.dumps({"host_login": members}))
    file.chmod(0o600)

    async def by_config(module: Module) -> None:
        await begun(module, user="newbie", config=str(file))
        module.send("answer", text="")
        assert "could not be made" in await module.prompt()

    host.run(by_config)
    assert (host.asked, bound(host)) == ([], [])


def test_operator_is_told_which_uid_a_claim_gives(host: Host) -> None:
    by_claim(host)
    for uid, passed in ((20001, True), ("20001", True), (0, False), (70000, False), (None, False)):
        claims = json.dumps({"preferred_username": "newbie", "sub": "1", "uidNumber": uid})
        check = host.login.operator._explain({"user": "newbie", "claims": claims})[-1]  # noqa: SLF001
        assert (check["rule"], check["passed"]) == ("create.uid", passed)


def test_uid_that_somebody_else_has_or_had_makes_no_account(host: Host) -> None:
    """The name keeps its place: as soon as the provider says another uid, the person gets in."""
    by_claim(host)
    host.reason = "uid: another account had it before"
    host.run(ending_unavailable)
    assert (host.accounts, bound(host)) == ({}, [])
    host.reason, host.provider.user["uidNumber"] = "", "20002"
    host.ask()
    host.run(log_in(READY), log_in("", uptime() + DAY))
    assert host.accounts["newbie"].uid == 20002


def test_uid_of_the_claim_does_not_count_for_an_account_that_is_there(host: Host) -> None:
    host.accounts["newbie"] = Account("newbie", 1005)
    by_claim(host, 20001)
    host.later()
    host.run(log_in(""))
    assert (host.asked, host.accounts["newbie"].uid) == ([], 1005)


def test_expiry_of_a_role_replaces_that_of_create(host: Host) -> None:
    set_up(host, {"team": "web"}, {"temporary": "90d"}, {"claims": {"team": ["web"]}, "temporary": "30d"})
    host.run(log_in(""))
    assert host.asked[0][1]["expires"] == "2033-06-18"
    record = host.login.life_cycle.of("newbie")
    assert record is not None
    assert record.expires_at == host.now + 30 * DAY
