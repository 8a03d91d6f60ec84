"""Tests which ways to log in remain while the agent is away."""

import pytest

from sshaft_agent.host_login.commands import ways

STOCK = {"pubkeyauthentication": "yes", "gssapiauthentication": "no", "permitrootlogin": "without-password",
         "authenticationmethods": "any"}  # fmt: skip
KEY_THEN_PAM = "publickey,keyboard-interactive:pam"


def remaining(
    changes: dict[str, str], *, require_approval: bool = False, root_has_key: bool = True, **break_glass: bool
) -> list[str]:
    found = ways.remaining(
        STOCK | changes, break_glass, require_approval=require_approval, root_has_key=root_has_key
    )  # fmt: skip
    return list(found)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["keys"]),
        ({"gssapiauthentication": "yes", "hostbasedauthentication": "yes"}, ["keys", "hosts", "Kerberos"]),
        ({"gssapiauthentication": "yes", "authenticationmethods": "publickey,gssapi-with-mic"}, ["keys and Kerberos"]),
        ({"pubkeyauthentication": "no"}, []),
        ({"authenticationmethods": KEY_THEN_PAM}, []),
        ({"authenticationmethods": f"{KEY_THEN_PAM} publickey,hostbased"}, []),
        ({"authenticationmethods": f"{KEY_THEN_PAM} publickey,publickey"}, ["keys and keys"]),
        ({"authenticationmethods": "publickey,password keyboard-interactive"}, []),
    ],
)
def test_way_that_asks_pam_does_not_count(changes: dict[str, str], names: list[str]) -> None:
    assert remaining(changes) == names


@pytest.mark.parametrize(
    ("methods", "asks"),
    [("any", True), ("publickey", False), (KEY_THEN_PAM, True), ("publickey,password keyboard-interactive", True)],
)
def test_host_login_is_asked_where_a_list_has_keyboard_interactive(methods: str, *, asks: bool) -> None:
    assert ways.asks_for_host_login(STOCK | {"authenticationmethods": methods}) is asks


def test_emergency_account_counts_by_its_password() -> None:
    closed = {"pubkeyauthentication": "no"}
    assert remaining(closed, admin=True, locked=False) == ["admin, by the password of this host"]
    assert remaining({"authenticationmethods": KEY_THEN_PAM}, admin=True) == ["admin, by the password of this host"]


def test_required_approval_leaves_root_and_emergency_accounts() -> None:
    assert remaining({}, require_approval=True) == ["root, by keys"]
    assert remaining({}, require_approval=True, root_has_key=False) == []
    assert remaining({"permitrootlogin": "no"}, require_approval=True) == []
    assert remaining({"permitrootlogin": "forced-commands-only"}, require_approval=True) == []
    assert remaining({"pubkeyauthentication": "no", "gssapiauthentication": "yes"}, require_approval=True) == []
    assert remaining({"permitrootlogin": "no"}, require_approval=True, locked=False) == ["locked, by keys"]


@pytest.mark.parametrize(
    ("text", "permits"),
    [
        ("PermitRootLogin yes\n", False),
        ("PermitRootLogin yes\nMatch User x\n  PermitTTY no\n", False),
        ("Match Address 10.0.0.0/8\n  PermitRootLogin yes\n", True),
        ("# \nmatch=all\n\tpermitrootlogin=yes\n", True),
        ('Match all\nPermitRootLogin "yes"\n', True),
        ("Match all\n#PermitRootLogin yes\nPermitRootLogin no\n", False),
        ("# Match all\nPermitRootLogin yes\n", False),
    ],
)
def test_match_block_that_permits_root_is_found(text: str, *, permits: bool) -> None:
    assert ways.permits_root_in_match(text) is permits


def test_either_method_takes_passwords() -> None:
    assert not ways.takes_passwords({"passwordauthentication": "no", "kbdinteractiveauthentication": "no"})
    assert ways.takes_passwords({"passwordauthentication": "yes"})
    assert ways.takes_passwords({"kbdinteractiveauthentication": "yes"})
