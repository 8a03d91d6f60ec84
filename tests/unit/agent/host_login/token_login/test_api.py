"""Tests what sshaft-host-api may ask for people with an access token: what the agent says, does and refuses."""

import asyncio
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from fakes.openid_provider import AUDIENCE, OpenIdProvider
from unit.agent.host_login.test_first_login import Host, host  # noqa: F401 - a fixture
from unit.agent.host_login.test_host_login import Module, run_at

from sshaft import log
from sshaft_agent.host_login.accounts import Account
from sshaft_agent.host_login.host_login import HostLogin
from sshaft_agent.server import Message

ALICE = {"sub": "subject-1", "preferred_username": "alice"}
IP = "192.0.2.7"


@dataclass
class Api:
    """Asks the agent of a host that makes accounts, and that has one: alice."""

    host: Host
    provider: OpenIdProvider

    def __post_init__(self) -> None:
        self.host.accounts["alice"] = Account("alice", 1000, shell="/bin/bash")
        self.provider.user = dict(ALICE)
        self.configure()

    def configure(self, create: dict[str, Any] | None = None, **changes: Any) -> None:
        entry = {"issuer": self.provider.issuer, "audience": AUDIENCE, "allow": {"everyone": True}} | changes
        self.host.settings["tokens"] = [entry]
        self.host.login.close()
        self.host.login = self.host.new(**(create or {}))

    @property
    def login(self) -> HostLogin:
        return self.host.login

    def ask(self, kind: str, **fields: str) -> Message:
        return asyncio.run(self._ask(kind, fields))

    async def _ask(self, kind: str, fields: dict[str, str]) -> Message:
        return await self.login.api.answers()[kind]({"token": "", "client_ip": IP} | fields)

    def user(self, action: str, **fields: str) -> dict[str, Any]:
        """Returns the answer about the person whom the provider knows now."""
        kind, answer = self.ask("api_user", action=action, **({"token": self.token()} | fields))
        assert kind == "user", answer
        return answer | {"change": json.loads(answer["change"])}

    def verify(self, user: str, token: str | None = None) -> tuple[str, str]:
        kind, answer = self.ask("api_verify", user=user, token=self.token() if token is None else token)
        assert kind == "verify", answer
        return answer["state"], answer["verified"]

    def denied(self, kind: str, **fields: str) -> tuple[str, str]:
        answered, answer = self.ask(kind, **({"token": self.token()} | fields))
        assert answered == "denied", answer
        return answer["status"], answer["detail"]

    def token(self, **changes: Any) -> str:
        return self.provider.access_token(**changes)

    def as_(self, subject: str, name: str) -> None:
        """Another person gets the next tokens."""
        self.provider.user = {"sub": subject, "preferred_username": name}


@pytest.fixture
def api(host: Host, provider: OpenIdProvider) -> Iterator[Api]:  # noqa: F811 - the fixture
    return Api(host, provider)


def test_host_says_whose_tokens_it_takes(api: Api) -> None:
    api.host.settings["login_info"] = {"description": "Cluster", "ssh_host": "web1"}
    api.configure(advertise={"scopes": ["openid"], "audience": AUDIENCE})
    kind, answer = api.ask("api_info")
    assert kind == "info"
    assert json.loads(answer["json"]) == {
        "login_info": {"description": "Cluster", "ssh_host": "web1"},
        "providers": [{"issuer": api.provider.issuer, "scopes": ["openid"], "audience": AUDIENCE}],
    }


@pytest.mark.parametrize(
    ("changes", "scopes", "audience"),
    [
        ({}, [], AUDIENCE),
        ({"scopes": ["ssh"]}, ["ssh"], AUDIENCE),
        ({"audience": [AUDIENCE, "other"]}, [], ""),
        ({"audience": None, "any_audience": True}, [], ""),
        ({"scopes": ["ssh"], "advertise": {"scopes": [], "audience": ""}}, [], ""),
    ],
)
def test_programs_are_told_to_ask_for_what_a_token_needs(
    api: Api, changes: dict[str, Any], scopes: list[str], audience: str
) -> None:
    api.configure(**changes)
    (told,) = json.loads(api.ask("api_info")[1]["json"])["providers"]
    assert told == {"issuer": api.provider.issuer, "scopes": scopes, "audience": audience}


def test_account_belongs_to_nobody_before_it_is_deployed(api: Api) -> None:
    answer = api.user("status")
    assert (answer["state"], answer["name"]) == ("not_deployed", "")
    assert (answer["subject"], answer["issuer"]) == ("subject-1", api.provider.issuer)
    assert api.verify("alice") == ("not_deployed", "")


def test_deployed_account_is_verified(api: Api) -> None:
    answer = api.user("deploy")
    assert (answer["state"], answer["name"], answer["change"]["created"]) == ("deployed", "alice", False)
    assert api.user("status")["state"] == "deployed"
    assert api.verify("alice") == ("deployed", "1")


@pytest.mark.parametrize("user", ["", "bob", "root", "Alice", "alice ", "alice\n", "deployment", "newbie"])
def test_other_name_is_not_verified(api: Api, user: str) -> None:
    api.user("deploy")
    assert api.verify(user) == ("deployed", "")


@pytest.mark.parametrize(("held", "shell"), [(["https://refeds.org/profile/mfa"], None), ([], "/bin/rbash")])
def test_new_account_gets_the_shell_of_its_assurance(api: Api, held: list[str], shell: str | None) -> None:
    api.configure({}, assurance={"shells": [{"when": "profile/mfa"}], "otherwise": "/bin/rbash"})
    api.as_("subject-2", "newbie")
    assert api.user("deploy", token=api.token(eduperson_assurance=held))["state"] == "deployed"
    ((_, asked),) = api.host.asked
    assert asked.get("shell") == shell


def test_missing_account_is_made(api: Api) -> None:
    api.as_("subject-2", "newbie")
    answer = api.user("deploy")
    assert (answer["state"], answer["name"], answer["change"]["created"]) == ("deployed", "newbie", True)
    assert [kind for kind, _ in api.host.asked] == ["create"]
    assert api.user("deploy")["change"]["created"] is False
    assert api.verify("newbie") == ("deployed", "1")


def test_account_is_made_once_for_many_programs_of_a_person(api: Api) -> None:
    api.as_("subject-2", "newbie")

    async def deploy() -> list[Message]:
        ask, fields = api.login.api.answers()["api_user"], {"action": "deploy", "token": api.token(), "client_ip": IP}
        return await asyncio.gather(*(ask(dict(fields)) for _ in range(8)))

    assert [fields.get("state") for _, fields in asyncio.run(deploy())] == ["deployed"] * 8
    assert [kind for kind, _ in api.host.asked] == ["create"]


def test_two_people_of_one_name_do_not_get_one_account(api: Api) -> None:
    api.as_("subject-2", "newbie")
    tokens = [api.token(sub=f"subject-{number}") for number in range(8)]

    async def deploy() -> list[Message]:
        ask = api.login.api.answers()["api_user"]
        return await asyncio.gather(*(ask({"action": "deploy", "token": each, "client_ip": IP}) for each in tokens))

    answers = asyncio.run(deploy())
    assert [fields.get("state") for _, fields in answers].count("deployed") == 1
    assert [fields.get("status") for _, fields in answers].count("forbidden") == 7


def test_account_of_another_identity_is_refused(api: Api) -> None:
    api.user("deploy")
    api.as_("subject-2", "alice")
    for action in ("status", "deploy", "suspend", "otp"):
        assert api.denied("api_user", action=action)[0] == "forbidden"
    assert api.denied("api_verify", user="alice")[0] == "forbidden"


# --- one-time passwords


def password_of(token: str) -> str:
    return hashlib.sha512(token.encode()).hexdigest()


def test_one_time_password_is_verified_once(api: Api) -> None:
    api.user("deploy")
    token = api.token(filler="x" * 1100)
    answer = api.user("otp", token=token)
    assert (answer["supported"], answer["successful"]) == ("1", "1")
    assert "token" not in answer
    assert password_of(token) not in str(answer)
    assert api.verify("alice", password_of(token)) == ("deployed", "1")
    assert api.denied("api_verify", user="alice", token=password_of(token)) == (
        "unauthenticated",
        "User identity could not be determined",
    )


def test_wrong_name_does_not_use_up_the_one_time_password(api: Api) -> None:
    api.user("deploy")
    token = api.token()
    api.user("otp", token=token)
    for user in ("bob", "", "root"):
        assert api.verify(user, password_of(token)) == ("deployed", "")
    assert api.verify("alice", password_of(token)) == ("deployed", "1")


def test_one_time_password_comes_before_the_account(api: Api) -> None:
    """mccli asks for it first."""
    api.as_("subject-2", "newbie")
    token = api.token()
    assert api.user("otp", token=token)["successful"] == "1"
    assert api.verify("newbie", password_of(token)) == ("not_deployed", "")
    api.user("deploy", token=token)
    assert api.verify("newbie", password_of(token)) == ("deployed", "1")


@pytest.mark.parametrize("kind", ["api_user", "api_authorisation", "api_admin"])
def test_one_time_password_is_good_for_nothing_else(api: Api, kind: str) -> None:
    api.user("deploy")
    token = api.token()
    api.user("otp", token=token)
    for action in ("status", "deploy", "suspend", "otp"):
        assert api.denied(kind, action=action, token=password_of(token))[0] == "unauthenticated"
    assert api.verify("alice", password_of(token)) == ("deployed", "1")


def test_stranger_gets_no_one_time_password(api: Api) -> None:
    api.configure(allow={"subjects": ["subject-2"]})
    token = api.token()
    assert api.denied("api_user", action="otp", token=token)[0] == "forbidden"
    assert api.denied("api_verify", user="alice", token=password_of(token))[0] == "unauthenticated"


def test_one_of_many_uses_the_one_time_password(api: Api) -> None:
    api.user("deploy")
    token = api.token()
    api.user("otp", token=token)

    async def race() -> list[Message]:
        ask = api.login.api.answers()["api_verify"]
        fields = {"token": password_of(token), "user": "alice", "client_ip": IP}
        return await asyncio.gather(*(ask(dict(fields)) for _ in range(30)))

    assert sum(answer.get("verified") == "1" for _, answer in asyncio.run(race())) == 1


def test_person_logs_in_with_the_one_time_password_once(api: Api) -> None:
    """pam_sshaft takes it where it takes a token."""
    token = api.token()
    api.user("otp", token=token)

    async def login(module: Module, expected: str, user: str = "alice") -> None:
        module.send("login", user=user, service="sshd", rhost=IP, tty="ssh", timeout="100")
        await module.prompt()
        module.send("answer", text=password_of(token))
        while (answer := await module.read())[0] != "result":
            pass
        assert answer[1]["result"] == expected

    run_at(
        api.login, api.host.directory,
        partial(login, expected="final", user="bob"), partial(login, expected="success"),
        partial(login, expected="final"),
    )  # fmt: skip
    api.host.login = api.host.new()


# --- suspension


def test_person_suspends_the_own_account(api: Api) -> None:
    api.user("deploy")
    answer = api.user("suspend")
    assert (answer["state"], answer["name"], answer["change"]["done"]) == ("suspended", "alice", True)
    assert api.user("status")["state"] == "suspended"
    assert api.verify("alice") == ("suspended", "")
    assert api.user("deploy")["state"] == "suspended"
    assert api.user("suspend")["change"]["done"] is False
    record = api.login.life_cycle.of("alice")
    assert record is not None
    assert (record.suspended_by, record.reason) == ("api", f"its owner asked for it from {IP}")


def test_person_without_an_account_suspends_nothing(api: Api) -> None:
    answer = api.user("suspend")
    assert (answer["state"], answer["change"]["done"]) == ("not_deployed", False)
    assert api.login.life_cycle.of("alice") is None


def test_account_of_several_people_is_not_suspended_by_one(api: Api) -> None:
    api.configure(map={"alice": ["alice"], "bob": ["alice"]})
    api.user("deploy")
    api.as_("subject-2", "bob")
    api.user("deploy")
    answer = api.user("suspend")
    assert (answer["state"], answer["change"]["done"]) == ("deployed", False)


def test_token_opens_nothing_while_its_account_is_removed(api: Api) -> None:
    """Otherwise it would open a session, or a new account of nobody, after the agent has forgotten whose it was."""
    api.as_("subject-2", "newbie")
    token = api.token()
    api.user("deploy", token=token)
    api.user("otp", token=token)
    api.host.asked.clear()
    found: list[str] = []

    def try_all() -> None:
        found.extend(api.verify("newbie", each)[1] for each in (token, password_of(token)))
        api.ask("api_user", action="deploy", token=token)

    def meanwhile() -> None:
        try_all()
        del api.host.accounts["newbie"]
        try_all()

    api.host.meanwhile["remove"] = meanwhile
    remove = api.login.operator.answers()["remove"]
    _, answer = asyncio.run(remove({"account": "newbie"}))
    assert json.loads(answer["json"]) == {"done": True, "text": ""}
    assert found == [""] * 4
    assert [kind for kind, _ in api.host.asked] == ["lock", "lock", "remove"]
    assert api.user("status", token=token)["state"] == "not_deployed"
    assert api.login.life_cycle.of("newbie") is None


ADMIN = {"admins": ["the-admin"]}


def administer(api: Api, action: str, subject: str = "subject-1", issuer: str | None = None) -> dict[str, Any]:
    fields = {"subject": subject, "issuer": api.provider.issuer if issuer is None else issuer}
    kind, answer = api.ask("api_admin", action=action, token=api.token(sub="the-admin"), **fields)
    return {"kind": kind} | answer | {"done": json.loads(answer.get("change", "{}")).get("done")}


def test_admin_suspends_and_opens_an_account(api: Api) -> None:
    api.configure(**ADMIN)
    api.user("deploy")
    answer = administer(api, "suspend")
    assert (answer["state"], answer["name"], answer["done"]) == ("suspended", "alice", True)
    assert (answer["subject"], answer["issuer"]) == ("subject-1", api.provider.issuer)
    assert api.verify("alice") == ("suspended", "")
    assert administer(api, "suspend")["done"] is False
    answer = administer(api, "resume")
    assert (answer["state"], answer["done"]) == ("deployed", True)
    assert api.verify("alice") == ("deployed", "1")
    assert administer(api, "resume")["done"] is False


def test_admin_opens_what_a_person_has_suspended(api: Api) -> None:
    api.configure(**ADMIN)
    api.user("deploy")
    api.user("suspend")
    assert administer(api, "resume")["state"] == "deployed"


def test_admin_does_not_open_what_an_operator_has_suspended(api: Api) -> None:
    api.configure(**ADMIN)
    api.user("deploy")
    api.login.life_cycle.suspend("alice", "by me")
    answer = administer(api, "resume")
    assert (answer["state"], answer["done"]) == ("suspended", False)
    assert administer(api, "suspend")["done"] is False
    assert administer(api, "resume")["state"] == "suspended"


def test_check_between_logins_does_not_weaken_a_suspension(api: Api) -> None:
    """A good login opens what a check has closed. It must not open what an admin has suspended."""
    api.configure(**ADMIN)
    api.user("deploy")
    administer(api, "suspend")
    api.login.life_cycle.suspend("alice", "not allowed any more", by="recheck")
    assert api.user("deploy")["state"] == "suspended"
    api.login.life_cycle.resume("alice")
    api.login.life_cycle.suspend("alice", "not allowed any more", by="recheck")
    administer(api, "suspend")
    assert api.user("deploy")["state"] == "suspended"


def test_suspended_person_gets_no_other_account(api: Api) -> None:
    """By another name at the provider, or by another one in the map."""
    api.configure(**ADMIN)
    api.user("deploy")
    administer(api, "suspend")
    api.as_("subject-1", "newbie")
    assert api.denied("api_user", action="deploy")[0] == "forbidden"
    assert "newbie" not in api.host.accounts
    administer(api, "resume")
    assert api.user("deploy")["state"] == "deployed"


def test_admin_suspends_nobody_who_is_not_there(api: Api) -> None:
    api.configure(**ADMIN)
    answer = administer(api, "suspend", subject="nobody")
    assert (answer["kind"], answer["state"], answer["name"], answer["done"]) == ("user", "not_deployed", "", False)


def test_person_who_is_no_admin_changes_nobody(api: Api) -> None:
    api.configure(**ADMIN)
    api.user("deploy")
    for action in ("suspend", "resume", "remove", ""):
        fields = {"action": action, "subject": "subject-1", "issuer": api.provider.issuer}
        assert api.denied("api_admin", **fields)[0] == "forbidden"
    assert administer(api, "remove")["status"] == "forbidden"
    assert api.verify("alice") == ("deployed", "1")


def test_admin_without_the_scopes_changes_nobody(api: Api) -> None:
    api.configure(**ADMIN, scopes=["ssh"])
    assert administer(api, "suspend")["status"] == "forbidden"


@pytest.mark.parametrize(("for_all", "expected"), [(False, "denied"), (True, "user")])
def test_admin_of_one_provider_changes_people_of_others_only_if_configured(
    api: Api, for_all: bool, expected: str
) -> None:
    api.configure(**ADMIN, admins_for_all=for_all)
    assert administer(api, "suspend", issuer="https://other.example.org")["kind"] == expected


# --- approval by an operator


def test_person_waits_for_an_operator(api: Api) -> None:
    api.configure({"approve": True})
    api.as_("subject-2", "newbie")
    assert api.user("status")["state"] == "not_deployed"
    answer = api.user("deploy")
    assert (answer["state"], answer["name"], answer["change"]["request"]) == ("pending", "", "new")
    answer = api.user("deploy")
    assert (answer["state"], answer["change"]["request"]) == ("pending", "unchanged")
    assert api.user("status")["state"] == "pending"
    assert api.user("suspend")["change"]["done"] is False
    assert api.host.asked == []


@pytest.mark.parametrize("user", ["newbie", "deployment", "is", "", "alice"])
def test_person_who_waits_is_verified_for_no_name(api: Api, user: str) -> None:
    """Another server takes the name out of a sentence, such as "User deployment is pending approval."."""
    api.configure({"approve": True})
    api.as_("subject-2", "newbie")
    api.user("deploy")
    assert api.verify(user) == ("pending", "")


def operator(api: Api, kind: str, **fields: str) -> None:
    asyncio.run(api.login.operator.answers()[kind]({"account": "newbie", "reference": "", **fields}))


def test_approved_person_gets_the_account(api: Api) -> None:
    api.configure({"approve": True})
    api.as_("subject-2", "newbie")
    api.user("deploy")
    operator(api, "approve")
    assert api.user("status")["state"] == "not_deployed"
    answer = api.user("deploy")
    assert (answer["state"], answer["name"], answer["change"]["created"]) == ("deployed", "newbie", True)


def test_rejected_person_sends_no_new_request(api: Api) -> None:
    api.configure({"approve": True} | {"requests": 1}, **ADMIN)
    api.as_("subject-2", "newbie")
    api.user("deploy")
    operator(api, "deny")
    assert api.user("deploy")["state"] == "rejected"
    assert api.user("status")["state"] == "rejected"
    assert api.verify("newbie") == ("rejected", "")
    assert administer(api, "suspend", subject="subject-2")["state"] == "rejected"


# --- who may ask for what


def test_person_whom_the_rules_do_not_name_may_ask_for_nothing(api: Api) -> None:
    api.configure(allow={"groups": ["ssh"]})
    for action in ("status", "deploy", "suspend", "otp"):
        status, detail = api.denied("api_user", action=action)
        assert (status, detail) == ("forbidden", f"User subject-1@{api.provider.issuer} does not meet requirements")
    assert api.denied("api_verify", user="alice")[0] == "forbidden"
    assert api.login.operator is not None
    assert api.host.asked == []


def test_refusal_says_its_reason_to_the_operator_alone(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", sys.stderr)
    api.configure(allow={"groups": ["secret-project"]})
    answer = api.ask("api_user", action="status", token=api.token())[1]
    assert "secret-project" not in str(answer)
    event = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (event["event"], event["reference"]) == ("host_api.refused", answer["reference"])
    assert "allow.groups" in event["reason"]
    assert (event["client_ip"], event["subject"]) == (IP, "subject-1")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "\x1b[2J", "é", "x" * 13000, "%00"])
def test_text_that_is_no_token_is_unauthenticated(api: Api, token: str) -> None:
    for kind in ("api_user", "api_verify", "api_authorisation", "api_admin"):
        status, detail = api.denied(kind, action="status", user="alice", token=token)
        assert status == "unauthenticated"
        assert detail.isprintable()
    assert api.provider.calls == []


def test_foreign_issuer_is_named_and_never_asked(api: Api) -> None:
    with OpenIdProvider(api.provider.clock, "") as foreign:
        assert api.denied("api_user", action="deploy", token=foreign.access_token()) == (
            "unauthenticated",
            f"Issuer is not trusted: {foreign.issuer}",
        )
        assert (foreign.calls, api.provider.calls) == ([], [])


def test_expired_token_is_unauthenticated(api: Api) -> None:
    assert api.denied("api_verify", user="alice", token=api.token(exp=1)) == (
        "unauthenticated",
        "The access token has expired",
    )


def test_provider_that_is_away_is_a_failure(api: Api) -> None:
    api.provider.status["/jwks"] = 500
    status, detail = api.denied("api_user", action="deploy")
    assert status == "failed"
    assert detail.startswith("This host cannot answer now. Try again in a minute. Reference: ")


def test_account_that_cannot_be_made_is_a_failure(api: Api) -> None:
    api.as_("subject-2", "newbie")
    api.host.reason = "disk: full"
    assert api.denied("api_user", action="deploy")[0] == "failed"
    assert api.user("status")["state"] == "not_deployed"
    api.host.reason = ""
    assert api.user("deploy")["state"] == "deployed"


def test_name_that_nobody_may_have_is_refused(api: Api) -> None:
    for name in ("root", "sshd", "Newbie", "a b", "../x", "-rf", "newbie\n", "", "x" * 40, "new\0bie", "é"):
        api.as_("subject-2", name)
        assert api.denied("api_user", action="deploy")[0] in ("forbidden", "failed")
    assert api.host.asked == []


def test_where_a_key_is_demanded_too_a_token_alone_gives_nothing(api: Api) -> None:
    api.user("deploy")
    api.configure(allow={"everyone": True, "publickey": True})
    assert api.denied("api_user", action="deploy")[0] == "forbidden"
    assert api.verify("alice") == ("deployed", "")
    assert api.user("status")["state"] == "deployed"


def test_many_questions_at_once_are_bounded(api: Api) -> None:
    may_answer = threading.Event()
    api.provider.on_call["/jwks"] = lambda: may_answer.wait(20)

    async def flood() -> list[Message]:
        ask = api.login.api.answers()["api_user"]
        fields = {"action": "status", "token": api.token(), "client_ip": IP}
        asked = [asyncio.create_task(ask(dict(fields))) for _ in range(400)]
        await asyncio.sleep(0)  # each of them begins
        may_answer.set()
        return await asyncio.gather(*asked)

    answers = asyncio.run(flood())
    assert [fields["status"] for kind, fields in answers if kind == "denied"] == ["busy"] * (400 - 128)


@pytest.mark.parametrize(
    ("allow", "expected", "vos"),
    [
        ({"everyone": True}, "all users", []),
        ({"groups": ["urn:geant:example.org:group:vo1"]}, "VO-based", ["urn:geant:example.org:group:vo1"]),
        ({"subjects": ["subject-2"]}, "individual users", []),
    ],
)
def test_anybody_of_the_provider_may_read_who_may_log_in(
    api: Api, allow: dict[str, Any], expected: str, vos: list[str]
) -> None:
    api.configure(allow=allow)
    kind, answer = api.ask("api_authorisation", token=api.token())
    found = json.loads(answer["json"])
    assert kind == "authorisation"
    assert (found["issuer"], found["type"], found["vos"]) == (api.provider.issuer, expected, vos)
    assert found["audience"] == AUDIENCE
    assert api.ask("api_authorisation", token="")[0] == "denied"


@pytest.mark.parametrize("match", ["one", "all", 2])
def test_anybody_of_the_provider_may_read_which_entitlements_are_needed(api: Api, match: Any) -> None:
    entitlements = [f"urn:geant:example.org:group:vo{each}" for each in (1, 2)]
    api.configure(allow={"entitlements": entitlements, "entitlement_match": match, "groups": ["ops"]})
    found = json.loads(api.ask("api_authorisation", token=api.token())[1]["json"])
    text = f"Users who are in {match} of the supported VOs are authorised"
    assert (found["type"], found["info"], found["vos"]) == ("VO-based", text, entitlements)


def test_entitlement_opens_an_account(api: Api) -> None:
    api.configure(allow={"entitlements": ["urn:geant:example.org:group:vo1"]})
    assert api.denied("api_user", action="deploy")[0] == "forbidden"
    held = ["urn:geant:example.org:group:vo1:students#aai.example.org"]
    assert api.user("deploy", token=api.token(eduperson_entitlement=held))["state"] == "deployed"


def test_shell_that_lets_nobody_in_is_a_limited_account(api: Api) -> None:
    api.user("deploy")
    api.host.accounts["alice"] = Account("alice", 1000, shell="/usr/sbin/nologin")
    assert api.user("status")["state"] == "limited"
    assert api.verify("alice") == ("limited", "1")


def test_person_with_several_accounts_has_each_of_them(api: Api) -> None:
    api.configure(map={"alice": ["alice", "newbie"]})
    api.user("deploy")
    assert api.verify("alice") == ("deployed", "1")
    assert api.verify("newbie") == ("not_deployed", "")
    assert api.verify("bob") == ("deployed", "")


def test_of_several_accounts_the_one_that_is_open_counts(api: Api) -> None:
    api.configure(map={"alice": ["alice", "newbie"]})
    api.user("deploy")
    api.configure(map={"alice": ["newbie"]})
    api.user("deploy")
    api.configure(map={"alice": ["alice", "newbie"]})
    api.login.life_cycle.suspend("alice", "by me")
    assert (api.user("status")["state"], api.user("status")["name"]) == ("deployed", "newbie")


def test_deployment_gives_and_takes_the_groups_of_roles(api: Api) -> None:
    api.host.settings["roles"] = [{"groups": ["gpu"], "local_groups": ["video", "render"]}]
    api.configure()
    api.as_("subject-2", "newbie")
    api.user("deploy")
    api.provider.user["groups"] = ["gpu"]
    assert api.user("deploy")["change"]["added"] == ["render", "video"]
    assert api.user("deploy")["change"]["added"] == []
    del api.provider.user["groups"]
    assert api.user("deploy")["change"]["removed"] == ["render", "video"]
