"""Tests which keys the policy allows."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.security_key import Maker
from pydantic import ValidationError
from service.service import START

from sshaft.errors import ConfigurationError
from sshaft.public_key import DEFAULT_TYPES, parse
from sshaft_identity import settings as settings_of
from sshaft_identity.enrolment.attestation import read_roots
from sshaft_identity.people.key_policy import KeyPolicy, KeyRefusal, judge, sentence

ED25519 = parse(public_keys.ed25519())
SK = parse(public_keys.sk_ed25519())
RSA = parse(public_keys.rsa_key(2048))


@pytest.mark.parametrize("public", public_keys.one_of_each().values(), ids=public_keys.one_of_each().keys())
def test_default_policy_allows_every_key_that_sshd_accepts(public: str) -> None:
    assert judge(parse(public), KeyPolicy(), registered=10_000) is None


@pytest.mark.parametrize(
    ("policy", "key", "more", "expected"),
    [
        ({"allowed_types": ("ssh-ed25519",)}, RSA, {}, KeyRefusal.TYPE),
        ({"allowed_types": ("ssh-ed25519",)}, ED25519, {}, None),
        ({"rsa_bits": 3072}, RSA, {}, KeyRefusal.RSA_BITS),
        ({"rsa_bits": 2048}, RSA, {}, None),
        ({"rsa_bits": 3072}, parse(public_keys.rsa_key(3072)), {}, None),
        ({"security_keys_only": True}, ED25519, {}, KeyRefusal.SECURITY_KEY),
        ({"security_keys_only": True}, SK, {}, None),
        ({"require_attestation": True, "attestation_roots": "r"}, ED25519, {"attested": True}, KeyRefusal.SECURITY_KEY),
        ({"require_attestation": True, "attestation_roots": "r"}, SK, {}, KeyRefusal.ATTESTATION),
        ({"require_attestation": True, "attestation_roots": "r"}, SK, {"attested": True}, None),
        ({"most_per_user": 2}, ED25519, {"registered": 1}, None),
        ({"most_per_user": 2}, ED25519, {"registered": 2}, KeyRefusal.TOO_MANY),
    ],
)
def test_policy_allows_or_refuses_a_key(
    policy: dict[str, Any], key: Any, more: dict[str, Any], expected: KeyRefusal | None
) -> None:
    assert judge(key, KeyPolicy(**policy), **more) == expected


@pytest.mark.parametrize("refusal", list(KeyRefusal))
def test_every_refusal_has_a_sentence(refusal: KeyRefusal) -> None:
    assert sentence(refusal, KeyPolicy(most_per_user=3)).endswith(".")


def test_lifetime_begins_at_the_registration() -> None:
    assert KeyPolicy().expiry(START) is None
    assert KeyPolicy(lifetime_days=30).expiry(START) == START + timedelta(days=30)


@pytest.mark.parametrize(
    "policy",
    [
        {"allowed_types": ()},
        {"allowed_types": ("ssh-dss",)},
        {"rsa_bits": 1024},
        {"require_attestation": True},
        {"security_keys_only": True, "allowed_types": ("ssh-ed25519",)},
        {"lifetime_days": 0},
        {"most_per_user": 0},
        {"minimum": 3},
    ],
)
def test_contradictory_policy_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KeyPolicy(**policy)


def test_policy_is_read_from_identity_json_and_written_back(tmp_path: Path) -> None:
    file = tmp_path / "identity.json"
    file.write_text(json.dumps({"key_policy": {"allowed_types": list(DEFAULT_TYPES[:1]), "lifetime_days": 90}}))
    settings = settings_of.load(tmp_path)
    assert settings.key_policy == KeyPolicy(allowed_types=("ssh-ed25519",), lifetime_days=90)
    settings_of.save(tmp_path, settings_of.changed(settings, {"lifetime": 120}))
    assert settings_of.load(tmp_path).key_policy == settings.key_policy


def test_roots_are_read_beside_identity_json_and_an_error_names_the_file(tmp_path: Path) -> None:
    maker = Maker()
    (tmp_path / "makers.pem").write_bytes(maker.pem)
    (tmp_path / "two.pem").write_bytes(maker.pem + Maker("Another").pem)
    (tmp_path / "none.pem").write_text("nothing")
    assert read_roots(KeyPolicy(attestation_roots="makers.pem"), tmp_path) == [maker.root]
    assert read_roots(KeyPolicy(attestation_roots="two.pem"), tmp_path)[0] == maker.root
    assert read_roots(KeyPolicy(), tmp_path) == []
    for name in ("none.pem", "missing.pem"):
        with pytest.raises(ConfigurationError, match=name):
            read_roots(KeyPolicy(attestation_roots=name), tmp_path)
