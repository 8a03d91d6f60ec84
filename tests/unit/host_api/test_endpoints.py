"""Tests each endpoint against the answers that motley_cue gives."""

import json

import pytest
from fakes.host_api import Api

ISSUER = "https://localhost:9443"


def test_root_has_the_text_by_which_mccli_knows_a_service(api: Api) -> None:
    answer = api.get("/", token=None)
    assert answer.status == 200
    assert answer.json["description"] == "This is the user API for mapping remote identities to local identities."
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("mount", ["", "/motley_cue", "/api", "/api/v1", "/motley_cue/api/v1"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_mount_answers_with_and_without_a_slash(api: Api, mount: str, slash: str) -> None:
    api.agent.says_user("deployed")
    assert api.get(f"{mount}/user/get_status{slash}").json["message"] == "username alice"
    assert api.get(f"{mount}{slash}", token=None).json["usage"] == "All endpoints are available via a bearer token."


@pytest.mark.parametrize("url", [ISSUER, f"{ISSUER}/", "LOCALHOST:9443", "https://www.localhost:9443"])
def test_provider_is_found_however_its_address_is_written(api: Api, url: str) -> None:
    assert api.get(f"/info/op?url={url}", token=None).json == {"scopes": ["openid", "profile"], "audience": ""}


def test_unknown_provider_is_not_found(api: Api) -> None:
    answer = api.get("/info/op?url=https://nope", token=None)
    assert (answer.status, answer.json) == (404, {"detail": "OP not supported"})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("not_deployed", "No message"),
        ("deployed", "username alice"),
        ("suspended", "username alice"),
        ("limited", "username alice"),
        ("pending", "User deployment is pending approval."),
        ("rejected", "User deployment was rejected."),
    ],
)
def test_status_says_the_state_of_the_account(api: Api, state: str, message: str) -> None:
    api.agent.says_user(state)
    assert api.get("/user/get_status").json == {"state": state, "message": message, "credentials": {}}
    assert api.agent.asked == [
        ("api_user", {"action": "status", "token": "header.payload.signature", "client_ip": "192.0.2.7"})
    ]


def test_deployment_names_the_account_and_its_groups(api: Api) -> None:
    api.agent.says_user("deployed", change=json.dumps({"created": True, "added": ["a", "b"]}))
    assert api.get("/user/deploy").json == {
        "state": "deployed",
        "message": "User was created and was added to groups a,b.",
        "credentials": {
            "description": "Local SSH Test Service",
            "login_help": "Login via `mccli ssh {ssh_host}`.",
            "ssh_host": "localhost",
            "ssh_user": "alice",
            "commandline": "ssh alice@localhost",
        },
    }


@pytest.mark.parametrize(("verified", "expected"), [("1", True), ("", False)])
def test_pam_module_reads_a_flat_answer(api: Api, verified: str, expected: bool) -> None:
    api.agent.answers["api_verify"] = ("verify", {"state": "deployed", "verified": verified})
    answer = api.get("/verify_user?username=alice")
    assert answer.text == f'{{"state":"deployed","verified":{json.dumps(expected)}}}'
    assert api.agent.asked[0][1]["user"] == "alice"


@pytest.mark.parametrize("state", ["suspended", "pending", "rejected", "not_deployed", "unknown"])
def test_account_that_nobody_may_use_is_never_verified(api: Api, state: str) -> None:
    api.agent.answers["api_verify"] = ("verify", {"state": state, "verified": "1"})
    assert api.get("/verify_user?username=alice").json == {"state": state, "verified": False}
