"""Tests `sshaft-login --config --user` as a real process against a small real server."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import public_keys
from fakes.identity_server import ERROR, IdentityServer, hang, reply_json

from sshaft import public_key

WriteConfig = Callable[..., Path]
KEY = public_keys.ed25519()
UNAVAILABLE = "The login service can't be reached just now. Try again in a minute."


class Login:
    def __init__(self, launcher: Path, config: Path, auth_info: Path) -> None:
        self.launcher = launcher
        self.config = config
        auth_info.write_text(f"publickey {KEY}\n")
        self.environment = {"SSH_USER_AUTH": str(auth_info), "SSH_CONNECTION": "192.0.2.7 1 192.0.2.1 22"}

    def __call__(self, command: str = "", *, user: str = "alice", typed: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [self.launcher, "--config", self.config, "--user", user],
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self.environment | {"SSH_ORIGINAL_COMMAND": command},
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def login(launchers: Path, identity: IdentityServer, write_config: WriteConfig, tmp_path: Path) -> Login:
    identity.entries = [{"user": "alice", "authorized_key": KEY}]
    return Login(launchers / "sshaft-login", write_config(identity.config()), tmp_path / "auth_info")


def extended(identity: IdentityServer, **more: Any) -> None:
    identity.entries = [{"user": "alice", "authorized_key": KEY, "challenge": "c1", "binding": "code_in"} | more]
    identity.replies["/accept"] = reply_json({"state": "accepted"})
    identity.replies["/reject"] = reply_json({"state": "rejected"})


def test_challenge_that_wants_verification_is_refused_without_an_agent(login: Login, identity: IdentityServer) -> None:
    key = public_keys.sk_ed25519("alice")
    Path(login.environment["SSH_USER_AUTH"]).write_text(f"publickey {key}\n")
    extended(identity, authorized_key=key, verify_required=True)
    status, out, said = login("123456")
    assert (status, out) == (77, "")
    assert said.startswith("Your login was refused.")
    assert identity.count("/accept") == 0


@pytest.mark.parametrize("auth_info", [True, False], ids=["with ExposeAuthInfo", "as the original"])
def test_original_server_gets_the_user_only(login: Login, identity: IdentityServer, auth_info: bool) -> None:
    if not auth_info:
        del login.environment["SSH_USER_AUTH"]
    assert login() == (0, "Passed for alice. Your login goes on in the browser.\n", "")
    assert identity.accepted == ["alice"]
    assert identity.calls[-1].json == {"user": "alice"}


def test_extended_server_gets_all_fields(login: Login, identity: IdentityServer) -> None:
    extended(identity)
    assert login("48-29-13")[0] == 0
    assert identity.calls[-1].json == {
        "user": "alice",
        "challenge": "c1",
        "code": "482913",
        "fingerprint": public_key.parse(KEY).fingerprint,
        "key_type": "ssh-ed25519",
        "client_ip": "192.0.2.7",
    }
    assert len(identity.calls[-1].headers["idempotency-key"]) == 32


def test_person_is_asked_for_the_code(login: Login, identity: IdentityServer) -> None:
    extended(identity)
    assert login(typed="482913\n") == (0, "Passed for alice. Your login goes on in the browser.\n", "Code: ")
    assert identity.calls[-1].json["code"] == "482913"


def test_user_of_another_key_has_no_login(login: Login, identity: IdentityServer) -> None:
    identity.entries.append({"user": "bob", "authorized_key": public_keys.ed25519("bob")})
    assert login(user="bob") == (2, "", "No login is waiting for you. Start it in the browser first.\n")
    assert identity.accepted == []


@pytest.mark.parametrize(
    ("entries", "status", "auth_info"),
    [
        ([], 2, True),
        ([{"challenge": None}], 2, False),
        ([{}, {"user": "mallory"}], 77, True),
        ([{}, {"user": "mallory"}], 77, False),
        ([{"challenge": "c1", "binding": "smoke_signal"}], 2, True),
    ],
    ids=["nothing", "registered, no key", "ambiguous", "ambiguous, no key", "unknown binding"],
)
def test_no_accept_is_sent_if_nothing_is_pending(
    login: Login, identity: IdentityServer, entries: list[dict[str, Any]], status: int, auth_info: bool
) -> None:
    if not auth_info:
        del login.environment["SSH_USER_AUTH"]
    identity.entries = [{"user": "alice", "authorized_key": KEY} | entry for entry in entries]
    told, out, err = login("1")
    assert (told, out) == (status, "")
    assert err.count("\n") == 1
    assert identity.count("/accept") == 0


def test_denial_is_sent_or_said_to_be_impossible(
    login: Login, identity: IdentityServer, write_config: WriteConfig
) -> None:
    extended(identity)
    assert login("deny")[0] == 78
    login.config = write_config(identity.config(mfa_reject_endpoint=f"{identity.url}/reject"))
    status, _out, err = login("deny")
    assert status == 3
    assert err.startswith("Denied.")
    assert identity.count("/accept") == 0


def test_answer_to_a_wrong_code_counts_the_tries_left(login: Login, identity: IdentityServer) -> None:
    extended(identity)
    identity.replies["/accept"] = reply_json({"error": "invalid_code", "attempts_left": 4}, 403)
    assert login("1") == (1, "", "That is not the code of your login. 4 tries are left.\n")


def test_wrong_code_at_the_prompt_may_be_corrected_or_denied(
    login: Login, identity: IdentityServer, write_config: WriteConfig
) -> None:
    """Finding U11: one wrong code ended the session."""
    extended(identity)
    login.config = write_config(identity.config(mfa_reject_endpoint=f"{identity.url}/reject"))
    wrong = reply_json({"error": "invalid_code", "attempts_left": 4}, 403)
    identity.replies["/accept"] = [wrong, reply_json({"state": "accepted"})]
    status, _, err = login(typed="1\n482913\n")
    assert (status, err.count("Code: "), err.count("4 tries are left.")) == (0, 2, 1)
    identity.replies["/accept"] = wrong
    assert login(typed="1\ndeny\n")[0] == 3


@pytest.mark.parametrize("trouble", ["keys", "accept", "config", "auth info"])
def test_failure_is_one_calm_line_without_internals(login: Login, identity: IdentityServer, trouble: str) -> None:
    extended(identity)
    status, text = 69, UNAVAILABLE
    match trouble:
        case "config":
            login.config.write_text('{"secret_insides": 1}')
            status, text = 78, "This host is not set up for it. Tell your administrators."
        case "auth info":
            Path(login.environment["SSH_USER_AUTH"]).write_text("publickey ssh-ed25519 AAAA\n")
            status, text = 77, "Keys of this type are not taken here."
        case _:
            identity.replies[f"/{trouble}"] = ERROR
    told, out, err = login("1")
    assert (told, out) == (status, "")
    assert err.startswith(text + " (reference ")
    assert len(err) == len(text + " (reference 01234567)\n")


def test_hanging_service_ends_at_its_deadline(
    launchers: Path, identity: IdentityServer, write_config: WriteConfig, tmp_path: Path
) -> None:
    identity.replies["/keys"] = hang(9)
    config = write_config(identity.config(list_seconds=0.5, accept_seconds=0.5))
    began = time.monotonic()
    status, _out, err = Login(launchers / "sshaft-login", config, tmp_path / "auth_info")("1")
    assert status == 69
    assert err.startswith(UNAVAILABLE)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("command", ["enrol", "enrol 58217741"])
def test_enrolling_needs_an_agent(login: Login, identity: IdentityServer, command: str) -> None:
    assert login(command) == (78, "", "Keys can't be registered here. Ask your administrators how.\n")
    assert identity.calls == []
