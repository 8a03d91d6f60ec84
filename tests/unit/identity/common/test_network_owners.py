"""Tests the table of network owners."""

from pathlib import Path

import pytest

from sshaft.errors import ConfigurationError
from sshaft_identity.common.network_owners import NetworkOwners

TABLE = """
# our own networks
192.0.2.0/24\tExample University
192.0.2.64/26 Library
2001:db8::/32 Example University
203.0.113.9 One host
"""


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("192.0.2.7", "Example University"),
        ("192.0.2.65", "Library"),
        ("::ffff:192.0.2.65", "Library"),
        ("2001:db8:1::1", "Example University"),
        ("203.0.113.9", "One host"),
        ("203.0.113.10", None),
        ("nowhere", None),
        (None, None),
    ],
)
def test_smallest_network_names_the_owner(tmp_path: Path, address: str | None, owner: str | None) -> None:
    (tmp_path / "table").write_text(TABLE)
    assert NetworkOwners.read(tmp_path / "table").of(address) == owner


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.2.0/24 A\n192.0.2.1/24 B", "line 2: 192.0.2.1/24 has host bits set"),
        ("192.0.2.0/24", "line 1: the owner is missing"),
        ("here Home", "line 1: 'here' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_table_with_a_fault_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "table").write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        NetworkOwners.read(tmp_path / "table")


def test_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        NetworkOwners.read(tmp_path / "table")
    assert NetworkOwners().of("192.0.2.7") is None


def test_owner_controls_no_page(tmp_path: Path) -> None:
    (tmp_path / "table").write_text("192.0.2.0/24 A\u202e\x1bB" + "c" * 200)
    owner = NetworkOwners.read(tmp_path / "table").of("192.0.2.7")
    assert owner
    assert owner.startswith("A  B")
    assert len(owner) == 100
