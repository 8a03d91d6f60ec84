"""Tests the first login of a name that the host does not know: the reservation, the approval, and the account."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes.openid_provider import CLIENT_ID, OpenIdProvider
from fakes.unix_server import UnixServer, read_question
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
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_agent.host_login.host_login import HostLogin
from sshaft_agent.host_login.realms import NamedRealms
from sshaft_agent.host_login.sshd import Sshd

NEWBIE = {"user": "newbie", "rhost": "192.0.2.7"}
PLACEHOLDER = {"uid": "70000", "gid": "70000", "home": "/home/newbie", "shell": "/bin/bash"}


@dataclass
class Host:
    """A host with an agent, and with a small server in place of sshaft-accounts. `asked` has its questions."""

    directory: Path
    provider: OpenIdProvider
    accounts: dict[str, Account] = field(default_factory=dict)
    reason: str = ""
    """Why sshaft-accounts refuses."""
    lie: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    create: dict[str, Any] = field(default_factory=dict)
    """Members of `create`."""
    now: float = 2_000_000_000.0
    settings: dict[str, Any] = field(default_factory=dict)
    """Other members of host_login."""
    groups: set[str] = field(default_factory=set)
    """The groups of the account."""
    meanwhile: dict[str, Callable[[], object]] = field(default_factory=dict)
    """By the kind of a question: what happens before sshaft-accounts answers it."""

    def __post_init__(self) -> None:
        self.provider.user = {"sub": "subject-1", "preferred_username": "newbie", "name": "New \x07Bie\n"}
        self.provider.is_approved = True
        self.socket = self.directory / "accounts.sock"
        self.login = self.new()

    def new(self, **changes: Any) -> HostLogin:
        pam = self.directory / "pam.d-sshd"
        if not pam.exists():
            pam.write_text("account [success=ok ignore=ignore default=bad] pam_sshaft.so\n")
        create = {"socket": str(self.socket), "pam_file": str(pam)} | self.create | changes
        settings = settings_of(self.provider, self.directory, create=create, **self.settings)
        return HostLogin(
            settings, "web1", self.accounts.get, sshd=Sshd(self.directory / "sshd"), now=lambda: self.now,
            find_groups=lambda _account, groups: frozenset(self.groups.intersection(groups)),
        )  # fmt: skip

    def make(self, connection: socket.socket) -> None:
        """Answers one question as sshaft-accounts does."""
        kind, fields = read_question(connection)
        self.asked.append((kind, fields))
        self.meanwhile.get(kind, lambda: None)()
        if self.reason:
            connection.sendall(messages.encode("refused", {"reason": self.reason}))
            return
        if kind == "groups":
            self.groups |= set(filter(None, fields.get("add", "").split(",")))
            self.groups -= set(fields.get("remove", "").split(","))
        given = fields if kind == "create" else PLACEHOLDER
        done = {"uid": given["uid"], "home": given["home"], "shell": given.get("shell", "/bin/bash")} | self.lie
        if kind == "create":
            self.accounts[fields["user"]] = Account(fields["user"], int(done["uid"]), shell=done["shell"])
        connection.sendall(messages.encode("done", done))

    def later(self) -> None:
        """Lets the reservations end."""
        self.login.close()
        self.now += 600
        self.login = self.new()

    def ask(self, **changes: str) -> tuple[str, dict[str, str]]:
        """Asks for a name as libnss_sshaft does."""
        return asyncio.run(self.login.first_login.answer_name(NEWBIE | changes))

    def run(self, *steps: Callable[[Module], Awaitable[None]]) -> HostLogin:
        run_at(self.login, self.directory, *steps)
        ended, self.login = self.login, self.new()
        return ended


@pytest.fixture
def host(provider: OpenIdProvider, tmp_path: Path) -> Iterator[Host]:  # noqa: F811 - the fixture
    host = Host(tmp_path, provider)
    with UnixServer(host.socket, host.make):
        yield host
    host.login.close()


async def accepted(module: Module) -> None:
    await begun(module, user="newbie")
    module.send("answer", text="")
    assert await module.result() == "success"


def ending(text: str, result: str = "denied") -> Callable[[Module], Awaitable[None]]:
    """Returns a login that ends with this result after this text."""

    async def login(module: Module) -> None:
        await begun(module, user="newbie")
        module.send("answer", text="")
        assert text in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == result

    return login


def account(result: str) -> Callable[[Module], Awaitable[None]]:
    """Returns what sshd asks in the account phase, also after a key or a certificate."""

    async def ask(module: Module) -> None:
        module.send("account", **NEWBIE)
        kind, fields = await module.read()
        while kind != "result":
            kind, fields = await module.read()
        assert fields["result"] == result

    return ask


def bound(host: Host) -> list[tuple[str, str]]:
    return [(each.account, each.subject) for each in host.login._bindings.all()]  # noqa: SLF001 - its state


def test_first_login_makes_the_account_with_the_uid_that_sshd_has(host: Host) -> None:
    assert host.ask() == ("name", PLACEHOLDER)
    assert host.run(accepted, account("success")).outcomes == {"accepted": 1}
    assert host.asked == [("create", {"user": "newbie", "uid": "70000", "gecos": "New Bie", "home": "/home/newbie"})]
    assert bound(host) == [("newbie", "subject-1")]
    assert host.run(accepted).outcomes == {"accepted": 1}
    assert len(host.asked) == 1, "the second login needs nothing of it"


def test_name_without_a_reservation_gets_no_account(host: Host) -> None:
    host.run(ending("was not accepted"))
    assert (host.asked, bound(host)) == ([], [])


def test_reservation_that_has_ended_opens_nothing(host: Host) -> None:
    host.ask()
    host.later()
    host.run(ending("was not accepted"))
    assert (host.asked, bound(host)) == ([], [])


def test_person_who_may_not_have_the_name_makes_no_account(host: Host) -> None:
    host.ask()
    host.provider.user = {"sub": "subject-2", "preferred_username": "mallory"}
    host.run(ending("was not accepted"))
    assert (host.asked, bound(host)) == ([], [])


def test_second_person_of_a_name_makes_no_account(host: Host) -> None:
    """An operator has given the name to somebody before the first login."""
    host.ask()
    host.login.operator._bind({"account": "newbie", "issuer": "https://other.example", "subject": "1"})  # noqa: SLF001
    host.run(ending("was not accepted"))
    assert host.asked == []


def test_key_opens_no_reserved_name(host: Host) -> None:
    host.ask()
    host.run(account("denied"))


def test_key_opens_no_reserved_name_that_an_operator_has_bound(host: Host) -> None:
    """sshd knows the name from the reservation alone. The host has no account yet."""
    host.ask()
    host.login.operator._bind({"account": "newbie", "issuer": host.provider.issuer, "subject": "1"})  # noqa: SLF001
    host.run(account("denied"))
    host.accounts["newbie"] = Account("newbie", 70000)
    host.run(account("success"))


def test_name_that_a_stranger_invented_once_stays_usable_for_an_account_of_the_system(host: Host) -> None:
    """A package has made an account of the system since, and an operator has bound it, so that a key opens it."""
    settings, name = host.login.first_login.settings, "games"
    assert settings is not None
    host.login.first_login._reservations.reserve(name, "192.0.2.7", settings, int(host.now))  # noqa: SLF001
    host.login.operator._bind({"account": name, "issuer": host.provider.issuer, "subject": "1"})  # noqa: SLF001
    assert not host.login.first_login.is_ready(name), "an sshd may have the reserved uid"
    host.later()
    assert host.login.first_login.is_ready(name)


@pytest.mark.parametrize("reason", ["names: this name is not allowed", "user: \x1b[31mgone", ""])
def test_account_that_is_not_made_lets_nobody_in(host: Host, reason: str) -> None:
    host.ask()
    host.reason, host.lie = reason, {"uid": "0"}
    host.run(ending("your account could not be made", "unavailable"), account("denied"))
    assert bound(host) == []


def test_account_with_another_uid_lets_nobody_in(host: Host) -> None:
    host.ask()
    host.lie = {"uid": "70001"}
    host.run(ending("your account could not be made", "unavailable"))
    assert bound(host) == []


def test_uid_that_sshaft_accounts_does_not_give_is_replaced(host: Host) -> None:
    host.ask()
    host.reason = "uid: another account had it before"
    host.run(ending("your account could not be made", "unavailable"))
    host.reason = ""
    assert host.ask() == ("none", {})
    host.later()
    assert host.ask() == ("name", PLACEHOLDER | {"uid": "70001", "gid": "70001"})
    host.run(accepted)


@pytest.mark.parametrize("path", ["/nowhere/accounts.sock", "agent.sock"])
def test_missing_sshaft_accounts_lets_nobody_in(host: Host, path: str) -> None:
    host.login.close()
    host.login = host.new(socket=str(host.directory / path))
    host.ask()
    host.run(ending("your account could not be made", "unavailable"))
    assert bound(host) == []


def test_account_that_others_make_meanwhile_wins(host: Host) -> None:
    """sshd has the reserved uid, which is not that of the account. So this login must end, also its second attempt."""
    host.ask()
    host.accounts["newbie"] = Account("newbie", 1005)
    host.run(account("denied"), ending("Log in again"), ending("Log in again"))
    host.run(ending("Run ssh again"))
    assert (host.asked, bound(host)) == ([], [])
    host.later()
    host.run(accepted, account("success"))
    assert bound(host) == [("newbie", "subject-1")]


def test_lost_answer_of_sshaft_accounts_is_no_loss(host: Host) -> None:
    """The account was made, and the agent was killed before it heard so. Its reservation takes nobody's place."""
    host.create = {"reservations_per_source": 1}
    host.login.close()
    host.login = host.new()
    host.ask()
    host.accounts["newbie"] = Account("newbie", 70000)
    host.run(accepted)
    assert (host.asked, bound(host)) == ([], [("newbie", "subject-1")])
    assert host.ask(user="colleague")[0] == "name"


@pytest.mark.parametrize(
    "name",
    [
        "sshd",
        "root",
        "daemon",
        "sudo",
        "Newbie",
        "9bie",
        "new bie",
        "newbie.",
        "-x",
        "",
        "n" * 33,
        "n\u00e9wbie",
        "new.bie",
    ],
)
def test_no_uid_is_reserved_for_other_names(host: Host, name: str) -> None:
    assert host.ask(user=name) == ("none", {})


@pytest.mark.parametrize(
    "stack",
    [
        "auth required pam_sshaft.so\naccount required pam_unix.so\n",
        "#account required pam_sshaft.so\n",
        "account required pam_unix.so # not pam_sshaft.so\n",
        "-account required pam_sshaft.so\n",
        "account required pam_sshaft.so debug break_glass=rescue,newbie\n",
        "account [success=ok ignore=ignore default=bad] \\\n pam_sshaft.so \\\n [break_glass=newbie]\n",
        None,
    ],
)
def test_no_uid_is_reserved_for_a_name_that_the_account_phase_does_not_ask_for(host: Host, stack: str | None) -> None:
    """A certificate would open the name, which sshd knows from us alone."""
    pam = host.directory / "pam.d-sshd"
    pam.unlink()
    if stack is not None:
        pam.write_text(stack)
    assert host.ask() == ("none", {})
    pam.write_text("account  required  /lib/security/pam_sshaft.so debug\n")
    assert host.ask() == ("name", PLACEHOLDER)


def test_name_that_the_host_has_is_not_answered(host: Host) -> None:
    assert host.ask(user="nobody") == ("none", {})


def test_names_that_strangers_invent_are_counted(host: Host) -> None:
    answers = [host.ask(user=f"invented{i}")[0] for i in range(12)]
    assert answers == ["name"] * 10 + ["none"] * 2
    assert host.ask(rhost="2001:db8::1")[0] == "name"
    status = host.login.status()
    assert (status["host_names_reserved"], status["host_names_full"]) == (11, 2)


def test_database_that_is_broken_answers_none(host: Host) -> None:
    (host.directory / "host-login.sqlite").write_bytes(b"no database" * 100)
    assert host.ask() == ("none", {})


def test_without_create_no_name_is_answered_and_no_account_made(host: Host) -> None:
    host.ask()
    host.login.replace_settings(settings_of(host.provider, host.directory))
    assert host.ask() == ("none", {})
    host.run(ending("was not accepted"), account("denied"))
    assert host.asked == []


def test_operator_is_told_that_the_first_login_makes_the_account(host: Host) -> None:
    fields = {"user": "newbie", "claims": '{"preferred_username": "newbie", "sub": "1"}'}
    explained = host.login.operator._explain(fields)  # noqa: SLF001 - as the command asks
    assert [each["passed"] for each in explained] == [True, True, True]
    assert "the first login makes the account" in explained[0]["detail"]


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"uid_first": 60000, "uid_last": 60005}, "60001 to 60513"),
        ({"uid_first": 70000, "uid_last": 600000}, "enclose"),
        ({"uid_first": 70001, "uid_last": 70000}, "above"),
        ({"uid_first": 0, "uid_last": 10}, "enclose"),
        ({"home": "/home/all"}, "user"),
        ({"home": "home/{user}"}, "absolute"),
        ({"home": "/home/{user}:x"}, "colon"),
        ({"shell": "bash"}, "absolute"),
        ({"names": "("}, "regular expression"),
        ({"reservations": 4097}, "4096"),
        ({"other": 1}, "other"),
    ],
)
def test_settings_that_could_harm_the_host_are_refused(members: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        CreateSettings(**members)


def test_rule_by_uid_makes_no_accounts(host: Host) -> None:
    """A stranger could invent names until the reserved uid is the one of the claim."""
    with pytest.raises(ValidationError, match="create needs a rule"):
        settings_of(host.provider, host.directory, create={}, uid_claim="uid")


def test_configuration_of_a_pam_line_makes_no_accounts(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(f'{{"host_login": {{"issuer": "{host.provider.issuer}", "client_id": "{CLIENT_ID}", '
                    '"allow": {"everyone": true}, "create": {}}}')  # fmt: skip
    file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="create belongs"):
        NamedRealms().realm(str(file))


def test_module_asks_over_its_own_socket(host: Host) -> None:
    """`agent.sock` knows no names: the kind of question belongs to names.sock."""

    async def ask(module: Module) -> None:
        module.send("name", **NEWBIE)
        assert await module.read() == ("error", {"reason": "bad_message"})

    host.run(ask)


def test_temporary_account_expires_at_the_host_and_at_the_agent(host: Host) -> None:
    host.login.close()
    host.login = host.new(temporary="30d")
    host.ask()
    host.run(accepted)
    assert host.asked[0][1]["expires"] == "2033-06-18"
    host.now += 30 * 86400 - 1
    host.run(account("success"), accepted)
    host.now += 1
    host.run(account("denied"), ending("Your account on this host is closed now."))


def test_account_that_could_not_be_made_is_made_much_later(host: Host) -> None:
    host.login.close()
    host.login = host.new(temporary="30d")
    host.ask()
    host.reason = "names: not allowed"
    host.run(ending("your account could not be made", "unavailable"))
    host.now += 40 * 86400
    host.reason = ""
    host.login.life_cycle.work()
    host.login.close()
    host.login = host.new(temporary="30d")
    host.ask()
    host.run(accepted, account("success"))


def test_owner_of_a_suspended_account_reads_so_and_others_do_not(host: Host) -> None:
    host.ask()
    host.run(accepted)
    host.login.life_cycle.suspend("newbie", "left")
    host.run(account("denied"), ending("Your account on this host is closed now."))
    host.provider.user = host.provider.user | {"sub": "subject-2"}
    host.run(ending("This login was not accepted."))
    host.login.life_cycle.resume("newbie")
    host.run(account("success"), ending("This login was not accepted."))


def test_operator_is_told_that_an_account_is_suspended(host: Host) -> None:
    host.login.life_cycle.suspend("newbie", "left")
    fields = {"user": "newbie", "claims": '{"preferred_username": "newbie", "sub": "1"}'}
    explained = host.login.operator._explain(fields)  # noqa: SLF001 - as the command asks
    assert explained[-1] == {
        "rule": "life cycle", "passed": False, "detail": "the account is suspended by operator: left"
    }  # fmt: skip


def test_name_that_is_suspended_before_its_first_login_gets_no_account(host: Host) -> None:
    host.ask()
    host.login.life_cycle.suspend("newbie", "left")
    host.asked.clear()
    host.run(ending("This login was not accepted."))
    assert (host.asked, bound(host)) == ([], [])


@pytest.mark.parametrize("step", [accepted, account("success")])
def test_each_login_counts_as_a_use_of_the_account(host: Host, step: Callable[[Module], Awaitable[None]]) -> None:
    host.ask()
    host.run(accepted)
    host.now += 7200
    host.run(step)
    record = host.login.life_cycle.of("newbie")
    assert record is not None
    assert (record.last_login_at, record.is_managed) == (int(host.now), True)


def test_login_that_is_refused_counts_as_no_use(host: Host) -> None:
    """A stranger must not keep the account of a person who has left from being locked."""
    host.ask()
    host.run(accepted)
    began, host.now = int(host.now), host.now + 7200
    host.provider.user = host.provider.user | {"sub": "subject-2"}
    host.run(ending("This login was not accepted."))
    record = host.login.life_cycle.of("newbie")
    assert record is not None
    assert record.last_login_at == began
