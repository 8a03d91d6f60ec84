"""Tests what the doctor says of the identity service that approves logins."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import identity_server
from fakes.approval_server import ApprovalServer
from fakes.identity_server import Reply

from sshaft_doctor import secret_files
from sshaft_doctor.findings import Severity
from sshaft_doctor.host_login import provider

METADATA = "/.well-known/openid-configuration"


@pytest.fixture
def service() -> Iterator[ApprovalServer]:
    with ApprovalServer() as service:
        service.replies[METADATA] = identity_server.reply_json({"issuer": service.url})
        yield service


def asked(settings: dict[str, Any]) -> list[tuple[str, Severity]]:
    return [(each.check, each.severity) for each in provider.examine(settings, "config.json")]


def test_service_that_gives_a_token_is_good(service: ApprovalServer) -> None:
    assert asked({"approval": service.settings()}) == [("host.approval", Severity.OK)]
    assert service.approvals == []


def test_secret_may_stand_in_a_file(service: ApprovalServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    settings = service.settings(client_secret_file=str(secret))
    del settings["client_secret"]
    assert asked({"approval": settings}) == [("host.approval", Severity.OK)]
    config = tmp_path / "config.json"
    config.write_text(f'{{"host_login": {{"approval": {{"client_secret_file": "{secret}"}}}}}}')
    assert secret_files.named(config) == [secret]
    secret.unlink()
    assert asked({"approval": settings}) == [("host.approval", Severity.ERROR)]


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        (METADATA, identity_server.reply_json({"issuer": "https://other.example"})),
        (METADATA, identity_server.HTML),
        (METADATA, identity_server.ERROR),
        ("/oauth2/token", identity_server.reply_json({"error": "invalid_scope"}, 400)),
        ("/oauth2/token", identity_server.reply_json({"error": "invalid_client"}, 401)),
        ("/oauth2/token", identity_server.BUSY),
    ],
)
def test_service_that_lets_nobody_in_is_told(service: ApprovalServer, path: str, reply: Reply) -> None:
    service.replies[path] = reply
    assert asked({"approval": service.settings()}) == [("host.approval", Severity.ERROR)]


@pytest.mark.parametrize("approval", [{}, {"url": "no address"}, {"url": 1, "client_id": "c"}])
def test_settings_without_an_address_are_told(approval: dict[str, Any]) -> None:
    assert asked({"approval": {"client_id": "c"} | approval}) == [("host.approval", Severity.ERROR)]


@pytest.mark.parametrize(
    ("members", "is_told"),
    [
        ({"when_away": "next"}, True),
        ({"when_away": "next", "methods": ["approval", "device"]}, True),
        ({"when_away": "next", "methods": ["approval"]}, False),
        ({"when_away": "deny"}, False),
        ({}, False),
    ],
)
def test_weaker_method_in_place_of_a_service_that_is_away_is_told(
    service: ApprovalServer, members: dict[str, Any], is_told: bool
) -> None:
    service.replies["/op" + METADATA] = identity_server.reply_json(
        {"issuer": f"{service.url}/op", "device_authorization_endpoint": f"{service.url}/device"}
    )
    settings = {"issuer": f"{service.url}/op", "approval": service.settings()} | members
    assert (("host.when_away", Severity.NOTE) in asked(settings)) == is_told
