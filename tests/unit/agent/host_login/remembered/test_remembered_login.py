"""Tests logins that a remembered approval opens, from the question of the module to the reports."""

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.approval_server import ApprovalServer
from fakes.identity_server import reply_json
from fakes.openid_provider import CLIENT_ID, OpenIdProvider
from pydantic import ValidationError
from structlog.testing import capture_logs
from unit.agent.host_login.approval.test_approval_login import new_host_login
from unit.agent.host_login.test_host_login import ALICE, Login, Module, begun, run_at

from sshaft_agent.host_login.approval.settings import ApprovalSettings
from sshaft_agent.host_login.auth_info import UsedKey
from sshaft_agent.host_login.conversation import LoginQuestion
from sshaft_agent.host_login.host_login import HostLogin
from sshaft_agent.host_login.settings import HostSettings
from sshaft_oidc.identity import Identity

KEY, OTHER_KEY = public_keys.ed25519("a"), public_keys.ed25519("b")
WITH_KEY = {"ssh_auth_info": f"publickey {KEY}"}
OTHER_LOGIN = LoginQuestion("alice", "192.0.2.8", "sshd", 100, keys=(UsedKey("ssh-ed25519", "SHA256:other"),))
ALICE_AT_SERVICE = Identity("https://id.example", "id-of-alice", {}, frozenset())


@pytest.fixture
def service() -> Iterator[ApprovalServer]:
    with ApprovalServer() as service:
        yield service


def settings(service: ApprovalServer, **changes: Any) -> dict[str, Any]:
    return service.settings(**{"remember": "12h"} | changes)


def host_login_of(service: ApprovalServer, directory: Path, **members: Any) -> HostLogin:
    return new_host_login(directory, **{"approval": settings(service)} | members)


def reload(host_login: HostLogin, directory: Path, **members: Any) -> None:
    host_login.replace_settings(
        HostSettings.model_validate_json(json.dumps({"state_directory": str(directory)} | members))
    )
    host_login.reports.work()


def approved(service: ApprovalServer, **fields: str) -> Login:
    """Returns a login that is approved on the page."""

    async def login(module: Module) -> None:
        await begun(module, **WITH_KEY | fields)
        module.send("answer", text=service.approve())
        assert await module.result() == "success"

    return login


def passing(host_login: HostLogin, **fields: str) -> Login:
    """Returns a login that asks nothing."""

    async def login(module: Module) -> None:
        host_login.reports.work()
        module.send("login", **ALICE | WITH_KEY | fields)
        assert await module.result() == "success"

    return login


def asked(host_login: HostLogin, **fields: str) -> Login:
    """Returns a login at which the person is asked, and leaves."""

    async def login(module: Module) -> None:
        host_login.reports.work()
        await begun(module, **WITH_KEY | fields)

    return login


def test_one_approval_opens_later_logins_with_the_same_key(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = host_login_of(service, tmp_path)
    with capture_logs() as logs:
        run_at(host_login, tmp_path, approved(service), passing(host_login), passing(host_login))
    assert host_login.outcomes == {"accepted": 3}
    assert len(service.approvals) == 1
    accepted = [each for each in logs if each["event"] == "host_login.accepted"]
    assert [(each["by"], each["subject"]) for each in accepted] == [
        ("approval", "id-of-alice"), ("remembered", "id-of-alice"), ("remembered", "id-of-alice"),
    ]  # fmt: skip
    used = [each["approval"] for each in logs if each["event"] == "host_remembered.used"]
    assert used == [service.approvals[0].id] * 2


def test_nothing_is_remembered_by_default(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = host_login_of(service, tmp_path, approval=service.settings())
    run_at(host_login, tmp_path, approved(service), asked(host_login))
    assert len(service.approvals) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"rhost": "198.51.100.7"},
        {"ssh_auth_info": f"publickey {OTHER_KEY}"},
        {"ssh_auth_info": ""},
        {"ssh_auth_info": f"publickey {KEY}\npublickey {OTHER_KEY}"},
        {"service": "sudo"},
    ],
)
def test_login_that_differs_is_asked(service: ApprovalServer, tmp_path: Path, fields: dict[str, str]) -> None:
    host_login = host_login_of(service, tmp_path)
    run_at(host_login, tmp_path, approved(service), asked(host_login, **fields), passing(host_login))
    assert len(service.approvals) == 2


@pytest.mark.slow
def test_reports_carry_what_is_remembered_and_their_answer_ends_it(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = host_login_of(service, tmp_path)

    async def reported(module: Module) -> None:
        host_login.periodic.start()
        await approved(service)(module)
        (row,) = await asyncio.to_thread(service.wait_for_report, 1)
        assert (row["approval"], row["account"]) == (service.approvals[0].id, "alice")
        assert service.reports[-1]["host"] == "web1"
        service.end_remembered = True
        host_login.remembered.remember(OTHER_LOGIN, "approval-2", ALICE_AT_SERVICE)
        await asyncio.to_thread(service.wait_for_report, 0)  # the answer is applied, and the agent says so

    run_at(host_login, tmp_path, reported, asked(host_login))
    assert host_login.remembered.listed() == []


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_service_that_takes_no_reports_remembers_nothing(service: ApprovalServer, tmp_path: Path, status: int) -> None:
    service.replies["/api/v1/approvals/report"] = reply_json({"error": "refused"}, status)
    host_login = host_login_of(service, tmp_path)
    run_at(host_login, tmp_path, approved(service), asked(host_login))


def test_login_waits_for_the_first_report_of_a_new_agent(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = host_login_of(service, tmp_path)
    run_at(host_login, tmp_path, approved(service))
    host_login = host_login_of(service, tmp_path)

    async def login(module: Module) -> None:
        module.send("login", **ALICE | WITH_KEY)
        host_login.periodic.start()
        assert await module.result() == "success"

    run_at(host_login, tmp_path, login)


@pytest.mark.slow
def test_suspended_account_is_asked_and_stays_closed(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = host_login_of(service, tmp_path)

    async def refused(module: Module) -> None:
        host_login.life_cycle.suspend("alice", "on leave")
        await begun(module, **WITH_KEY)
        module.send("answer", text=service.approve())
        assert "Your account on this host is closed now." in await module.prompt()
        module.send("answer", text="")
        assert await module.result() == "denied"

    async def asked_after_resume(module: Module) -> None:
        host_login.life_cycle.resume("alice")
        await begun(module, **WITH_KEY)

    run_at(host_login, tmp_path, approved(service), refused, asked_after_resume)


def test_rule_that_changes_counts_for_what_is_remembered(service: ApprovalServer, tmp_path: Path) -> None:
    """A remembered login learns nothing new: the rules judge what was known when the person was approved."""
    host_login = host_login_of(service, tmp_path)
    run_at(host_login, tmp_path, approved(service), passing(host_login))
    host_login = host_login_of(service, tmp_path)
    stricter = settings(service, allow={"everyone": True, "amr": ["hwk"]})
    reload(host_login, tmp_path, approval=stricter)
    run_at(host_login, tmp_path, asked(host_login))
    host_login = host_login_of(service, tmp_path)
    run_at(host_login, tmp_path, asked(host_login))  # it is forgotten


def test_rule_about_the_sign_in_is_fulfilled_by_that_of_the_approval(service: ApprovalServer, tmp_path: Path) -> None:
    service.verified = {"amr": ["hwk"], "acr": "gold"}
    rules = {"everyone": True, "amr": ["hwk"], "acr": ["gold"], "publickey": True}
    host_login = host_login_of(service, tmp_path, approval=settings(service, allow=rules))
    run_at(host_login, tmp_path, approved(service), passing(host_login))


def test_another_identity_service_has_approved_nothing(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = host_login_of(service, tmp_path)
    run_at(host_login, tmp_path, approved(service))
    with ApprovalServer() as other:
        host_login = host_login_of(other, tmp_path)
        run_at(host_login, tmp_path, asked(host_login))
        assert len(other.approvals) == 1


def test_change_of_whose_the_accounts_are_ends_what_is_remembered(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = host_login_of(service, tmp_path)
    run_at(host_login, tmp_path, approved(service))
    tokens = [{"issuer": service.url, "client_id": CLIENT_ID, "audience": "a", "allow": {"everyone": True}}]
    changes = {"methods": ["approval"], "tokens": tokens}
    linked = host_login_of(service, tmp_path, approval=settings(service, identity="linked"), **changes)
    run_at(linked, tmp_path, asked(linked))
    again = host_login_of(service, tmp_path)
    run_at(again, tmp_path, asked(again))


def test_host_of_another_name_has_approved_nothing(service: ApprovalServer, tmp_path: Path) -> None:
    host_login = host_login_of(service, tmp_path)
    run_at(host_login, tmp_path, approved(service))
    find = host_login.first_login._find  # noqa: SLF001 - the accounts of the host
    copy = HostLogin(
        HostSettings.model_validate_json(json.dumps({"state_directory": str(tmp_path), "approval": settings(service)})),
        "web2",
        find,
    )
    run_at(copy, tmp_path, asked(copy))


def test_remembered_login_comes_before_the_prompt_for_a_token(service: ApprovalServer, tmp_path: Path) -> None:
    with OpenIdProvider(lambda: datetime.now(UTC), "") as provider:
        tokens = [{"issuer": provider.issuer, "client_id": CLIENT_ID, "audience": "a", "allow": {"everyone": True}}]
        host_login = host_login_of(service, tmp_path)
        run_at(host_login, tmp_path, approved(service))
        host_login = host_login_of(service, tmp_path, tokens=tokens)
        run_at(host_login, tmp_path, passing(host_login))


@pytest.mark.parametrize(
    "changes",
    [
        {"remember": "1m"},
        {"remember": "31d"},
        {"remember": 12},
        {"remember_without_key": True},
        {"offline_seconds": 0},
        {"offline_seconds": 100_000},
    ],
)
def test_setting_that_is_wrong_is_refused(changes: dict[str, Any]) -> None:
    wrong = {"url": "https://id.example", "client_id": "c", "client_secret": "s", "allow": {"everyone": True}} | changes
    with pytest.raises(ValidationError, match=re.escape(next(iter(changes)))):
        ApprovalSettings.model_validate_json(json.dumps(wrong))
