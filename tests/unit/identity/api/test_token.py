import base64
from typing import Any
from urllib.parse import quote_plus

import pytest
import requests
from service.service import Service

from sshaft_identity.clients.clients import Client, Scope

FORM = {"grant_type": "client_credentials"}


def ask(service: Service, **fields: str) -> requests.Response:
    return service.call("POST", "/oauth2/token", data=FORM | fields)


def test_client_secret_post_gets_a_bearer_token_that_no_cache_keeps(service: Service) -> None:
    answer = ask(service, client_id="test", client_secret=service.secret, scope="mfa:list")
    assert answer.status_code == 200
    body = answer.json()
    assert {name: body[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "mfa:list",
    }
    assert len(body["access_token"]) >= 43
    assert answer.headers["Cache-Control"] == "no-store"


def test_client_secret_basic_is_form_decoded(service: Service) -> None:
    credentials = f"{quote_plus('test')}:{quote_plus(service.secret)}".encode()
    headers = {"Authorization": "Basic " + base64.b64encode(credentials).decode()}
    assert service.call("POST", "/oauth2/token", data=FORM, headers=headers).status_code == 200


def test_token_request_without_a_scope_gets_all_scopes_of_the_client(service: Service) -> None:
    body = ask(service, client_id="test", client_secret=service.secret).json()
    assert body["scope"].split() == sorted(Scope)


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"grant_type": "client_credentials"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "test"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "test", "client_secret": "x"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "who", "client_secret": "SECRET"}, 401, "invalid_client"),
        ({"grant_type": "password", "client_id": "test", "client_secret": "SECRET"}, 400, "unsupported_grant_type"),
        ({"client_id": "test", "client_secret": "SECRET"}, 400, "invalid_request"),
        (
            {"grant_type": "client_credentials", "client_id": "test", "client_secret": "SECRET", "scope": "root"},
            400,
            "invalid_scope",
        ),
        ([("grant_type", "client_credentials"), ("grant_type", "client_credentials")], 400, "invalid_request"),
        (b"\xff=\xff", 400, "invalid_request"),
        ({f"x{number}": "1" for number in range(50)}, 400, "invalid_request"),
    ],
)
def test_token_endpoint_refuses_as_rfc_6749_says(service: Service, fields: Any, status: int, error: str) -> None:
    if isinstance(fields, dict):
        fields = {name: value.replace("SECRET", service.secret) for name, value in fields.items()}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = service.call("POST", "/oauth2/token", data=fields, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["Content-Type"] == "application/json"
    assert service.events("request.refused")[-1]["error"] == error


def token_of_a_client_in(service: Service, networks: tuple[str, ...], **more: Any) -> dict[str, str]:
    """Returns the header with a token of a client that may call only from these networks."""
    client = Client("far", frozenset(Scope), networks=networks)
    service.store.clients.add(client, service.clock())
    token = service.store.access_tokens.issue(client, list(Scope), service.clock(), **more)
    return {"Authorization": f"Bearer {token}"}


ENDPOINTS = [
    ("GET", "/api/v1/mfa/ssh/keys"),
    ("POST", "/api/v1/mfa/ssh/accept"),
    ("POST", "/api/v1/mfa/ssh/reject"),
    ("POST", "/api/v1/mfa/ssh/enrol"),
    ("POST", "/api/v1/challenges"),
    ("GET", "/api/v1/challenges/x"),
    ("POST", "/api/v1/challenges/x/consume"),
    ("POST", "/api/v1/enrolments"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_access_token_counts_only_from_the_addresses_of_its_client(service: Service, method: str, path: str) -> None:
    """Finding S14: `--from` was checked for the secret only, so a stolen token could be used from anywhere."""
    header = token_of_a_client_in(service, ("192.0.2.0/24",))
    answer = service.call(method, path, headers=header, json={} if method == "POST" else None)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    (event,) = service.audited("request.refused")
    assert (event["client"], event["reason"]) == ("far", "this client may not call from there")


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_access_token_counts_from_the_addresses_of_its_client(service: Service, method: str, path: str) -> None:
    """Finding S14."""
    header = token_of_a_client_in(service, ("127.0.0.0/8",))
    answer = service.call(method, path, headers=header, json={} if method == "POST" else None)
    assert answer.status_code != 401


def test_userinfo_is_given_only_to_the_addresses_of_the_client(service: Service) -> None:
    """Finding S14: UserInfo takes an access token, too."""
    service.add_user("alice")
    header = token_of_a_client_in(service, ("192.0.2.0/24",), user="alice")
    assert service.call("GET", "/oauth2/userinfo", headers=header).status_code == 401
    assert service.audited("request.refused")[0]["client"] == "far"


def test_failed_basic_authentication_is_answered_with_a_basic_challenge(service: Service) -> None:
    answer = service.call("POST", "/oauth2/token", data=FORM, auth=("test", "wrong"))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic " + base64.b64encode(b"\xff:\xff").decode(), "Bearer x"])
def test_malformed_authorization_header_is_an_invalid_client(service: Service, header: str) -> None:
    answer = service.call("POST", "/oauth2/token", data=FORM, headers={"Authorization": header})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_two_client_authentications_in_one_request_are_refused(service: Service) -> None:
    fields = FORM | {"client_id": "test", "client_secret": service.secret}
    answer = service.call("POST", "/oauth2/token", data=fields, auth=("test", service.secret))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_json_body_is_refused(service: Service) -> None:
    answer = service.call("POST", "/oauth2/token", json=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_client_gets_only_its_own_scopes(service: Service) -> None:
    secret = service.store.clients.add(Client("sshd", frozenset([Scope.LIST])), service.clock())
    assert ask(service, client_id="sshd", client_secret=secret, scope="mfa:list").status_code == 200
    assert ask(service, client_id="sshd", client_secret=secret, scope="mfa:list mfa:accept").status_code == 400


def test_neither_secret_nor_token_reaches_the_log(service: Service) -> None:
    token = ask(service, client_id="test", client_secret=service.secret).json()["access_token"]
    ask(service, client_id="test", client_secret=service.secret + "x")
    assert service.events("token.issued")[-1]["client"] == "test"
    assert service.secret not in service.log.getvalue()
    assert token not in service.log.getvalue()


# --- access tokens


def list_with(service: Service, authorization: str | None) -> requests.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return service.call("GET", "/api/v1/mfa/ssh/keys", headers=headers)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer x", "Basic dGVzdDp4", "Bearer ä"])
def test_request_without_a_valid_token_is_refused(service: Service, authorization: str | None) -> None:
    answer = list_with(service, authorization.encode("latin-1").decode("latin-1") if authorization else authorization)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_token_lives_for_five_minutes(service: Service) -> None:
    token = ask(service, client_id="test", client_secret=service.secret).json()["access_token"]
    service.clock.advance(299)
    assert list_with(service, f"Bearer {token}").status_code == 200
    service.clock.advance(1)
    assert list_with(service, f"Bearer {token}").status_code == 401


def test_revoked_token_is_invalid_at_once(service: Service) -> None:
    token = ask(service, client_id="test", client_secret=service.secret).json()["access_token"]
    assert list_with(service, f"bearer {token}").status_code == 200
    service.store.access_tokens.revoke_all("test", service.clock())
    assert list_with(service, f"Bearer {token}").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/api/v1/mfa/ssh/keys", Scope.LIST),
        ("POST", "/api/v1/mfa/ssh/accept", Scope.ACCEPT),
        ("POST", "/api/v1/mfa/ssh/reject", Scope.ACCEPT),
        ("POST", "/api/v1/challenges", Scope.CHALLENGES),
        ("GET", "/api/v1/challenges/x", Scope.CHALLENGES),
        ("POST", "/api/v1/challenges/x/consume", Scope.CHALLENGES),
        ("POST", "/api/v1/challenges/x/cancel", Scope.CHALLENGES),
    ],
)
def test_every_call_needs_its_own_scope(service: Service, method: str, path: str, scope: Scope) -> None:
    for other in set(Scope) - {scope}:
        answer = service.call(method, path, other, data=b"not even JSON")
        assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
        assert f'scope="{scope}"' in answer.headers["WWW-Authenticate"]
    assert service.call(method, path).status_code == 401
    assert service.call(method, path, scope, data=b"not even JSON").status_code not in (401, 403)
