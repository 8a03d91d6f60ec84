"""Tests signing keys over the API and the commands: the published key set, signed results, and rotation."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.public_keys import ed25519, sk_ed25519
from joserfc import jwt
from joserfc.jwk import KeySet
from service.service import START, Service

from sshaft_identity.api.results import claims_of
from sshaft_identity.challenges.challenge import Approval, Binding, Challenge, Context
from sshaft_identity.clients.clients import Scope
from sshaft_identity.commands.identity import identity
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.signing.signing_keys import Algorithm

PASSED = Challenge(
    id="c1",
    user="alice",
    client="web",
    context=Context(),
    created_at=START,
    expires_at=START + timedelta(minutes=5),
    approval=Approval(START + timedelta(seconds=20), "SHA256:x", "sk-ssh-ed25519@openssh.com", "192.0.2.7"),
)


def test_result_names_the_user_the_client_the_time_and_the_method() -> None:
    now = START + timedelta(seconds=30)
    claims = claims_of(PASSED, "https://id.example.org", now)
    jti = claims.pop("jti")
    assert len(jti) >= 22
    assert claims == {
        "iss": "https://id.example.org",
        "aud": "web",
        "sub": "alice",
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 300,
        "auth_time": int(START.timestamp()) + 20,
        "amr": ["hwk", "pop", "user"],
        "acr": "urn:sshaft:acr:code",
        "challenge": "c1",
    }
    assert claims_of(PASSED, "https://id.example.org", now)["jti"] != jti


def test_result_without_a_binding_has_no_acr() -> None:
    assert "acr" not in claims_of(replace(PASSED, binding=Binding.NONE), "https://id.example.org", START)


@pytest.mark.parametrize("missing", ["approval", "user", "client"])
def test_challenge_without_approval_or_client_has_no_result(missing: str) -> None:
    changes: dict[str, Any] = {missing: None}
    with pytest.raises(ValueError, match="a result is of a challenge"):
        claims_of(replace(PASSED, **changes), "https://id.example.org", START)


def consume(service: Service) -> dict[str, Any]:
    [fingerprint] = service.add_user("alice", sk_ed25519("alice"))
    opened = service.open()
    assert service.accept(code=opened["code"], fingerprint=fingerprint).status_code == 200
    answer = service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def test_consume_returns_a_result_that_the_published_keys_verify(service: Service) -> None:
    service.store.signing_keys.ensure(service.clock())
    consumed = consume(service)
    published = service.call("GET", "/.well-known/jwks.json")
    token = jwt.decode(consumed["result"], KeySet.import_key_set(published.json()), algorithms=["ES256"])
    assert token.header["typ"] == "challenge-result+jwt"
    assert (token.claims["iss"], token.claims["aud"]) == ("https://id.example.org", "test")
    assert (token.claims["sub"], token.claims["challenge"]) == ("alice", consumed["id"])
    assert token.claims["amr"] == consumed["amr"]
    assert consumed["result"] not in service.log.getvalue()


def test_service_without_a_signing_key_returns_no_result(service: Service) -> None:
    assert "result" not in consume(service)


def test_published_key_set_may_be_cached_for_an_hour(service: Service) -> None:
    answer = service.call("GET", "/.well-known/jwks.json")
    assert (answer.json(), answer.headers["Cache-Control"]) == ({"keys": []}, "public, max-age=3600")


def test_only_the_first_consume_returns_the_result(service: Service) -> None:
    service.store.signing_keys.ensure(service.clock())
    consumed = consume(service)
    assert "result" not in service.show(consumed["id"])
    again = service.call("POST", f"/api/v1/challenges/{consumed['id']}/consume", Scope.CHALLENGES)
    assert again.status_code == 409
    assert "result" not in again.json()


# --- the commands

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments])

    assert run("init").exit_code == 0
    return run


def test_init_makes_the_first_signing_keys_and_keeps_them(run: Run) -> None:
    first = run("signing-key", "list").stdout
    algorithms = sorted(re.fullmatch(r"[\w-]{43}  (\w+) +signs", line)[1] for line in first.splitlines()[1:])  # type: ignore[index]
    assert algorithms == ["ES256", "RS256"]
    run("init")
    assert run("signing-key", "list").stdout == first


def test_rotation_prints_when_the_new_key_signs_and_the_old_key_ends(run: Run) -> None:
    made = run("signing-key", "rotate", "--algorithm", "ES256")
    assert re.fullmatch(r"[\w-]{43} ES256 signs from 20\S+Z\n", made.stdout)
    listed = [re.sub(" {2,}", " ", line) for line in run("signing-key", "list").stdout.splitlines()[1:]]
    assert listed[0] + "\n" == made.stdout
    [old] = [line for line in listed[1:] if " ES256 " in line]
    assert re.fullmatch(r"[\w-]{43} ES256 signs, published until 20\S+Z", old)
    [other] = [line for line in listed if " RS256 " in line]
    assert other.endswith(" RS256 signs")
    again = run("signing-key", "rotate")
    assert isinstance(again.exception, RegistryError)
    assert "--now" in str(again.exception)


def test_emergency_rotation_signs_with_new_keys_at_once(run: Run) -> None:
    old = [line.split()[0] for line in run("signing-key", "list").stdout.splitlines()[1:]]
    for kid in old:
        assert isinstance(run("signing-key", "retire", kid).exception, RegistryError)
    made = run("signing-key", "rotate", "--now").stdout.splitlines()
    assert sorted(line.split(maxsplit=1)[1] for line in made) == ["ES256 signs", "RS256 signs"]
    for kid in old:
        assert run("signing-key", "retire", kid).exit_code == 0
    listed = json.loads(run("signing-key", "list", "--json").stdout)
    assert {key["kid"] for key in listed} == {line.split()[0] for line in made}
    assert [(key["signs"], key["retires_at"]) for key in listed] == [(True, None)] * 2


def test_result_of_a_software_key_says_so(service: Service) -> None:
    service.store.signing_keys.ensure(service.clock())
    [fingerprint] = service.add_user("bob", ed25519("bob"))
    opened = service.open("bob")
    service.accept("bob", code=opened["code"], fingerprint=fingerprint)
    answer = service.call("POST", f"/api/v1/challenges/{opened['id']}/consume", Scope.CHALLENGES).json()
    published = KeySet.import_key_set(service.call("GET", "/.well-known/jwks.json").json())
    assert jwt.decode(answer["result"], published, algorithms=["ES256"]).claims["amr"] == ["swk", "pop"]


@pytest.mark.slow
def test_key_id_never_looks_like_an_option_of_a_command(service: Service) -> None:
    keys, now = service.store.signing_keys, service.clock()
    made = [key for _ in range(100) for key in keys.rotate(now, Algorithm.ES256, wait=timedelta(0))]
    assert len({key.kid for key in made}) == 100
    assert not any(key.kid.startswith("-") for key in made)
