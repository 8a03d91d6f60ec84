"""Tests `create.approve`: a person waits until an operator has approved the account, and nobody else profits."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.openid_provider import OpenIdProvider
from fakes.unix_server import UnixServer
from pydantic import ValidationError
from unit.agent.host_login.test_first_login import Host, accepted, account, bound, ending
from unit.agent.host_login.test_host_login import (
    Module,
    begun,
    provider,  # noqa: F401 - a fixture
)

from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.bindings import Bindings
from sshaft_agent.host_login.first_login.approvals import Approvals
from sshaft_agent.host_login.first_login.settings import CreateSettings
from sshaft_oidc.identity import Identity

OP = "https://op.example"
SECOND = {"sub": "subject-2", "preferred_username": "newbie", "name": "New Bie"}
NOW = 2_000_000_000
WAITS, DENIED, REFUSED = "must approve your account", "has denied your request", "was not accepted"


@pytest.fixture
def host(provider: OpenIdProvider, tmp_path: Path) -> Iterator[Host]:  # noqa: F811 - the fixture
    host = Host(tmp_path, provider, create={"approve": True})
    with UnixServer(host.socket, host.make):
        host.ask()
        yield host
    host.login.close()


def requests(host: Host) -> list[dict[str, Any]]:
    """Returns the requests as `sshaft host accounts list` gets them."""
    return list(asked(host, "requests"))


def decide(host: Host, kind: str = "approve", account: str = "newbie", reference: str = "") -> str:
    return str(asked(host, kind, account=account, reference=reference)["outcome"])


def asked(host: Host, kind: str, **fields: str) -> Any:
    _kind, answer = asyncio.run(host.login.operator.answers()[kind](fields))
    return json.loads(answer["json"])


def identity(subject: str = "1", **claims: Any) -> Identity:
    return Identity(OP, subject, claims, frozenset())


def waiting(references: list[str]) -> Callable[[Module], Awaitable[None]]:
    """Returns a login that is told to wait. It adds the reference that the person reads."""

    async def login(module: Module) -> None:
        await begun(module, user="newbie")
        module.send("answer", text="")
        text = await module.prompt()
        assert WAITS in text
        references.extend(re.findall("Reference: ([0-9a-f]{8})\n", text))
        module.send("answer", text="")
        assert await module.result() == "denied"

    return login


def test_person_waits_for_an_operator_and_then_gets_the_account(host: Host) -> None:
    references: list[str] = []
    host.run(waiting(references), waiting(references), account("denied"))
    assert (host.asked, bound(host)) == ([], [])
    (request,) = requests(host)
    claims = '{"preferred_username": "newbie", "sub": "1"}'
    assert "when an operator has approved it" in asked(host, "explain", user="newbie", claims=claims)[0]["detail"]
    assert references == [request["reference"]] * 2, "it stays the same"
    assert (request["account"], request["subject"], request["state"]) == ("newbie", "subject-1", "waiting")
    assert request["name"] == "New \x07Bie\n"
    assert decide(host) == "approved"
    host.run(account("denied"), accepted, account("success"), accepted)
    assert [fields["user"] for _kind, fields in host.asked] == ["newbie"]
    assert (bound(host), requests(host)) == ([("newbie", "subject-1")], [])


def test_another_identity_of_the_name_gets_nothing_from_an_approval(host: Host) -> None:
    host.run(ending(WAITS))
    decide(host)
    host.provider.user = SECOND
    host.run(ending(REFUSED))
    assert (host.asked, requests(host)) == ([], [])
    host.provider.user = {"sub": "subject-1", "preferred_username": "newbie"}
    host.run(accepted)


def test_operator_chooses_between_two_identities_of_one_name(host: Host) -> None:
    host.run(ending(WAITS))
    host.provider.user = SECOND
    host.run(ending(WAITS))
    assert decide(host) == "several"
    assert decide(host, reference="00000000") == "none"
    references = {each["subject"]: each["reference"] for each in requests(host)}
    assert decide(host, account="other", reference=references["subject-2"]) == "none"
    assert decide(host, reference=references["subject-2"]) == "approved"
    assert bound(host) == [("newbie", "subject-2")]
    assert decide(host) == "taken", "subject-1 waits in vain"
    assert bound(host) == [("newbie", "subject-2")]
    host.run(accepted)


def test_denied_person_may_ask_again_when_the_request_has_ended(host: Host) -> None:
    host.run(ending(WAITS))
    (request,) = requests(host)
    assert decide(host, "deny") == "denied"
    host.run(ending(DENIED))
    assert decide(host) == "none", "only the reference changes an operator's mind"
    host.now += 30 * 86400
    host.ask()
    host.run(ending(WAITS))
    (again,) = requests(host)
    assert again["reference"] != request["reference"]
    assert decide(host, "deny") == "denied"
    assert decide(host, reference=again["reference"]) == "approved"
    host.run(accepted)


def test_request_that_has_ended_cannot_be_approved(host: Host) -> None:
    host.run(ending(WAITS))
    (request,) = requests(host)
    host.now += 30 * 86400
    assert (decide(host), decide(host, reference=request["reference"])) == ("none", "none")
    assert (bound(host), requests(host)) == ([], [])


@pytest.mark.parametrize("subject", [{"preferred_username": "mallory"}, {"groups": ["others"]}])
def test_person_who_may_not_have_the_account_asks_no_operator(host: Host, subject: dict[str, Any]) -> None:
    host.provider.user = {"sub": "subject-2", "preferred_username": "newbie", "groups": ["users"]} | subject
    host.login.replace_settings(
        host.login._realm.settings.model_copy(  # noqa: SLF001 - only the groups differ
            update={"allow": host.login._realm.settings.allow.model_copy(update={"groups": ("users",)})}  # noqa: SLF001
        )
    )
    host.run(ending(REFUSED))
    assert (requests(host), host.asked) == ([], [])


def test_identity_that_an_operator_has_bound_needs_no_approval(host: Host) -> None:
    asked(host, "bind", account="newbie", issuer=host.provider.issuer, subject="subject-1")
    host.run(accepted)
    assert requests(host) == []


def test_account_that_the_host_has_needs_no_approval(host: Host) -> None:
    host.later()
    host.accounts["newbie"] = Account("newbie", 1005)
    host.run(accepted)
    assert (requests(host), host.asked) == ([], [])


def test_operator_takes_an_approval_back(host: Host) -> None:
    host.run(ending(WAITS))
    decide(host)
    asked(host, "unbind", account="newbie")
    host.run(ending(WAITS))
    assert host.asked == []


def test_one_identity_uses_up_no_places_of_others(tmp_path: Path) -> None:
    """A person who can change the claim that names the account asks for one name after the other."""
    approvals, settings = Approvals(tmp_path, Bindings(tmp_path)), CreateSettings(approve=True, requests=7)
    for i in range(10):
        assert (approvals.request(f"name{i}", identity(), "", settings, NOW) is not None) is (i < 5)
    assert approvals.request("name0", identity(), "", settings, NOW) is not None, "it has its place"
    assert approvals.request("name9", identity("2"), "", settings, NOW) is not None
    assert approvals.request("name9", identity("3"), "", settings, NOW) is not None
    assert approvals.request("name9", identity("4"), "", settings, NOW) is None, "it is full"
    assert approvals.request("name9", identity("4"), "", settings, NOW + 30 * 86400) is not None
    assert len(approvals.all(NOW + 30 * 86400)) == 1, "the others have ended"
    approvals.forget_ended(NOW + 60 * 86400)
    assert approvals.all(0) == []


def test_person_is_told_that_too_many_wait(host: Host) -> None:
    host.create = {"approve": True, "requests": 1}
    host.run(ending(WAITS))
    host.provider.user = SECOND
    host.run(ending("too many"))


@pytest.mark.parametrize("claim", ["\ud800", "n" * 100_000, "\0", ["a"], {}, 1, True, None])
def test_request_is_recorded_whatever_the_provider_says_of_the_person(tmp_path: Path, claim: Any) -> None:
    approvals = Approvals(tmp_path, Bindings(tmp_path))
    person = identity(name=claim, email=claim, email_verified="true")
    assert approvals.request("newbie", person, "", CreateSettings(approve=True), NOW) is not None
    (request,) = approvals.all(NOW)
    assert len(json.dumps(request.facts())) < 2000
    assert request.facts()["email_verified"] is False


def test_approval_that_a_crash_interrupted_is_given_again(tmp_path: Path) -> None:
    """The agent was killed between the binding and the end of the request."""
    bindings = Bindings(tmp_path)
    approvals = Approvals(tmp_path, bindings)
    approvals.request("newbie", identity(), "", CreateSettings(approve=True), NOW)
    with closing(sqlite3.connect(bindings.path)) as database:
        rows = database.execute("SELECT * FROM requests").fetchall()
        approvals.approve("newbie", "", NOW)
        assert approvals.has("newbie", identity())
        database.execute(f"INSERT INTO requests VALUES ({', '.join('?' * len(rows[0]))})", rows[0])
        database.commit()
    assert approvals.approve("newbie", "", NOW)[0] == "approved"
    assert approvals.all(NOW) == []


def test_approval_of_a_shared_account_leaves_it_to_the_others_of_the_map(tmp_path: Path) -> None:
    bindings = Bindings(tmp_path)
    approvals, settings = Approvals(tmp_path, bindings), CreateSettings(approve=True)
    for subject, person in (("1", "alice"), ("2", "bob"), ("3", "alice")):
        approvals.request("deploy", identity(subject), person, settings, NOW)
    references = {each.subject: each.reference for each in approvals.all(NOW)}
    outcomes = [approvals.approve("deploy", references[each], NOW)[0] for each in ("1", "2", "3")]
    assert outcomes == ["approved", "approved", "taken"]


def test_request_is_told_once(tmp_path: Path) -> None:
    approvals, settings = Approvals(tmp_path, Bindings(tmp_path)), CreateSettings(approve=True)
    first = approvals.request("newbie", identity(), "", settings, NOW)
    assert first is not None
    assert approvals.untold(NOW) == [first]
    approvals.told(first)
    again = approvals.request("newbie", identity(), "", settings, NOW + 9)
    assert again is not None
    assert replace(first, last_at=NOW + 9, is_told=True) == again
    assert approvals.untold(NOW) == []


@pytest.mark.parametrize(
    ("notify", "fault"),
    [
        ({}, "either command or email"),
        ({"command": ["/bin/true"], "email": "ops@example.org"}, "either command or email"),
        ({"command": []}, "command"),
        ({"command": ["mail"]}, "absolute path"),
        ({"command": "/bin/true"}, "command"),
        ({"command": ["/bin/true"], "smtp_host": "mail.example.org"}, "belong to email"),
        ({"email": "ops@example.org, other@example.org"}, "address"),
        ({"email": "ops@example.org\nBcc: eve@example.org"}, "address"),
        ({"email": "ops@example.org", "sender": "-oQ/tmp"}, "address"),
        ({"email": "ops@example.org", "smtp_port": 0}, "smtp_port"),
    ],
)
def test_notify_that_tells_nobody_is_refused(notify: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        CreateSettings.model_validate_json(json.dumps({"approve": True, "notify": notify}))


def test_notify_without_approve_is_refused() -> None:
    with pytest.raises(ValidationError, match="notify needs approve"):
        CreateSettings.model_validate_json('{"notify": {"email": "ops@example.org"}}')
