"""Tests which earlier methods count as a key (SSH_AUTH_INFO_0)."""

import pytest
from fakes import public_keys

from sshaft import public_key
from sshaft_agent.host_login.auth_info import UsedKey, used_keys
from sshaft_agent.host_login.conversation import LoginQuestion

KEY, OTHER = public_keys.ed25519(), public_keys.ecdsa()
USED, ALSO_USED = (UsedKey(key.split()[0], public_key.parse(key).fingerprint) for key in (KEY, OTHER))


@pytest.mark.parametrize(
    ("auth_info", "used"),
    [
        (f"publickey {KEY}\n", (USED,)),
        (f"publickey {KEY}\npublickey {OTHER}\n", (USED, ALSO_USED)),
        (f"password\npublickey {KEY}\nkeyboard-interactive/pam\n", (USED,)),
        ("", ()),
        ("password\n", ()),
        (f'hostbased {KEY} client user "publickey", client host "a"\n', ()),
        (f"gssapi-with-mic publickey {KEY}\n", ()),
        (f" publickey {KEY}\n", ()),
        (f"publickey  {KEY}\n", ()),
        (f"publickey {KEY} a comment\n", ()),
        (f"publickey/x {KEY}\n", ()),
        (f"publickey {KEY}\r\n", ()),
        (f"password\u2028publickey {KEY}\n", ()),
        ("publickey ssh-ed25519\n", ()),
        ("publickey ssh-ed25519 AAAA\n", ()),
        (f"publickey ssh-rsa {KEY.split()[1]}\n", ()),
    ],
)
def test_only_a_whole_line_of_publickey_counts_as_a_key(auth_info: str, used: tuple[UsedKey, ...]) -> None:
    assert used_keys(auth_info) == used


def test_events_of_a_login_name_its_keys() -> None:
    facts = LoginQuestion.of({"user": "alice", "ssh_auth_info": f"publickey {KEY}\npublickey {OTHER}\n"}).facts()
    assert facts["key_type"] == "ssh-ed25519, ecdsa-sha2-nistp256"
    assert facts["fingerprint"] == f"{USED.fingerprint}, {ALSO_USED.fingerprint}"
    assert "fingerprint" not in LoginQuestion.of({"user": "alice"}).facts()
