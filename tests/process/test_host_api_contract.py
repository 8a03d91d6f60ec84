"""Sends the recorded requests of motley_cue 0.8.8 to the API with the real agent and sshaft-accounts behind it.

The account of alice is made, suspended and opened again meanwhile, on a copy of this machine.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.first_login_machine import RUNTIME, FirstLoginMachine
from fakes.host_api import Answer, Api, FakeAgent
from fakes.openid_provider import AUDIENCE, OpenIdProvider

from sshaft_host_api.agent import Agent
from sshaft_host_api.app import App

pytestmark = pytest.mark.root
RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "contract/motley_cue.json").read_text(encoding="utf-8")
)
ISSUER, OTHER = "https://op.example", "https://other.example/oidc"
GROUP, ROLE = "urn:geant:example.org:group:vo1", "example-org_vo2"
SCOPES = ["openid", "profile", "email", "eduperson_entitlement"]
INFO: dict[str, Any] = next(each["body"] for each in RECORDED if each["label"] == "info")
DETAILS = "refused, reference 0123abcd"
"""What every 403 has in place of the rules of the host. The reference is another one each time."""


def forbidden(who: str) -> tuple[int, dict[str, str]]:
    return 403, {"error": "Forbidden", "error_description": f"User {who}@{ISSUER} does not meet requirements"}


DIFFERENCES: dict[str, tuple[int, Any]] = {
    "info-prefix": (200, INFO),
    "verify-suspended": (200, {"state": "suspended", "verified": False}),
    "deploy-suspended": (200, {"state": "suspended", "message": "username alice", "credentials": {}}),
    "deploy-jwt-only": forbidden("alice"),
    "admin-other-issuer": forbidden("root-admin"),
    "privacy": (404, None),
    "docs": (404, {"detail": "Not Found"}),
}
"""docs/host-api.md says why these differ. The texts of 401 differ too, and the details of 403."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Answer]]:
    directory = tmp_path_factory.mktemp("machine")
    with (
        OpenIdProvider(lambda: datetime.now(UTC), "") as provider,
        FirstLoginMachine(directory, ("--api-user", "root"), **host_login(provider)) as machine,
    ):
        etc = machine.root / "etc"
        accounts = (etc / "passwd").read_text().splitlines(keepends=True)
        (etc / "passwd").write_text("".join(line for line in accounts if not line.startswith("alice:")))
        with (etc / "group").open("a") as groups:
            groups.write(f"{ROLE}:x:59990:\n")
        machine.set_policy(groups=[ROLE])
        assert machine.enable("--require-approval", "--break-glass", "admin")[0] == 0
        path = machine.root / RUNTIME.relative_to("/") / "api" / "agent.sock"
        api, tokens = Api(App(Agent(path)), FakeAgent(path)), tokens_of(provider)
        yield {each["label"]: ask(api, each, provider, tokens) for each in RECORDED}


def host_login(provider: OpenIdProvider) -> dict[str, Any]:
    allowed = {"allow": {"groups": [GROUP]}, "groups_claim": "eduperson_entitlement", "any_audience": True}
    one = {**allowed, "advertise": {"scopes": SCOPES}, "admins": ["root-admin"]}
    return {
        "login_info": INFO["login_info"],
        "tokens": [{"issuer": provider.issuer, **one}, {"issuer": OTHER, **one}],
        "roles": [{"everyone": True, "local_groups": [ROLE]}],
    }


def tokens_of(provider: OpenIdProvider) -> dict[str, str]:
    """Returns the tokens that the requests name. All are JWTs; `opaque` has a name for an account, as UserInfo had."""
    alice: dict[str, Any] = {"sub": "alice", "eduperson_entitlement": [GROUP]}
    jwt = provider.access_token(**alice, preferred_username="alice")
    return {
        "nameless": provider.access_token(**alice, preferred_username=None),
        "jwt": jwt,
        "opaque": provider.access_token(**alice, preferred_username="alice", aud=AUDIENCE + "/opaque"),
        "otp": hashlib.sha512(jwt.encode()).hexdigest(),
        "cc": provider.access_token(sub="cc", preferred_username=None),
        "admin": provider.access_token(sub="root-admin", preferred_username=None),
    }


def ask(api: Api, recorded: dict[str, Any], provider: OpenIdProvider, tokens: dict[str, str]) -> Answer:
    """Returns the answer to a recorded request, with the recorded issuer and one reference in it."""
    kind = "nameless" if recorded["label"] == "deploy-jwt-only" else recorded["token"]
    value = "Basic Zm9vOmJhcg==" if kind == "basic" else f"Bearer {tokens.get(kind, kind)}"
    ours, theirs = provider.issuer.removeprefix("http://"), ISSUER.removeprefix("https://")
    path = recorded["path"].replace(ISSUER, provider.issuer).replace(theirs, ours)
    answer = api.request(recorded["method"], path, [("authorization", value)] if kind else [])
    quoted = provider.issuer.replace(":", "%3A").replace("/", "%2F")
    text = answer.text.replace(provider.issuer, ISSUER).replace(quoted, "https%3A%2F%2Fop.example")
    return Answer(answer.status, answer.headers, re.sub(r"refused, reference \w+", DETAILS, text))


def test_all_requests_are_recorded() -> None:
    assert len(RECORDED) == 57
    assert {each["label"] for each in RECORDED} >= set(DIFFERENCES)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda each: each["label"])
def test_answer_is_that_of_motley_cue_or_a_documented_difference(
    recorded: dict[str, Any], answers: dict[str, Answer]
) -> None:
    answer = answers[recorded["label"]]
    status, body = DIFFERENCES.get(recorded["label"], (recorded["status"], recorded.get("body")))
    assert answer.status == status, answer.text
    if recorded["method"] != "HEAD" and body is not None:
        own = {401: {"error_description"} & set(body), 403: {"error_details"}}.get(status, set())
        assert answer.json == body | {name: answer.json[name] for name in own}
    assert answer.headers.get("allow", "") == recorded.get("allow", "")
    if status == recorded["status"]:
        assert answer.headers["content-type"] == recorded.get("type", "application/json")
    if wanted := recorded.get("www-authenticate"):
        assert answer.headers["www-authenticate"] == wanted


def test_no_answer_shows_the_rules_of_the_host(answers: dict[str, Answer]) -> None:
    refused = [answer.json["error_details"] for answer in answers.values() if answer.status == 403]
    assert len(refused) == 5
    assert set(refused) == {DETAILS}


def test_refused_requests_say_how_to_authenticate(answers: dict[str, Answer]) -> None:
    for answer in answers.values():
        assert ("www-authenticate" in answer.headers) == (answer.status == 401)
