"""Tests `client test`: its checks and its advice."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes.entra import Entra
from service.relying_party import give_rsa_key
from service.service import Service

from sshaft_identity.clients.clients import Client
from sshaft_identity.commands.client_checks import Finding, checks
from sshaft_identity.commands.identity import identity
from sshaft_identity.settings import Settings


@pytest.fixture
def settings(service: Service) -> Settings:
    """Returns settings with the real address of the service as `public_url`."""
    settings = Settings(public_url=service.url)
    service.replace(settings=settings)
    give_rsa_key(service)
    return settings


def client(**faces: object) -> Client:
    return Client("shop", frozenset(), faces=faces)


def faults(findings: Iterator[Finding]) -> list[str]:
    return [f"{each.what}: {each.advice}" for each in findings if not each.ok]


def test_relying_party_that_is_set_up_passes_all_checks(service: Service, settings: Settings) -> None:
    shop = client(openid={"redirect_uris": [f"{service.url}/cb"]})
    found = list(checks(shop, settings))
    assert faults(iter(found)) == []
    assert len(found) == 5


def test_entra_that_is_set_up_passes_all_checks(service: Service, settings: Settings) -> None:
    with Entra(service.clock) as entra:
        assert faults(checks(client(entra=entra.options()), settings)) == []
        entra.broken = True
        (fault,) = faults(checks(client(entra=entra.options()), settings))
    assert "Microsoft's keys" in fault


def test_service_that_does_not_answer_is_a_fault() -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        settings = Settings(public_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        found = faults(checks(client(openid={"redirect_uris": [f"{settings.base_url}/cb"]}), settings))
    assert len(found) == 4
    assert "start `sshaft identity serve`" in found[0]
    assert "the host of the redirect URI" in found[-1]


def test_notification_endpoint_that_does_not_answer_is_a_fault(service: Service, settings: Settings) -> None:
    for face in ("ciba", "keycloak_ciba"):
        there, gone = ({"notification_endpoint": f"{url}/x"} for url in (service.url, "http://127.0.0.1:1"))
        assert faults(checks(client(**{face: there}), settings)) == []
        (fault,) = faults(checks(client(**{face: gone}), settings))
        assert "of the notification endpoint, http://127.0.0.1:1/" in fault
    assert faults(checks(client(ciba={}), settings)) == []


def test_issuer_that_differs_from_its_address_is_a_fault(service: Service, settings: Settings) -> None:
    service.replace(settings=settings.model_copy(update={"public_url": "https://other.example.org"}))
    found = faults(checks(client(openid={"redirect_uris": [f"{service.url}/cb"]}), settings))
    assert "the discovery document has the issuer" in found[0]


def test_http_to_another_host_than_loopback_is_a_fault() -> None:
    first = next(checks(client(), Settings(public_url="http://id.example.org")))
    assert (first.ok, first.advice) == (False, "browsers keep our cookies over https only: set https")


def test_command_prints_lines_or_json_and_sets_its_exit_status(service: Service, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(identity, ["--directory", str(tmp_path / "id"), *arguments])
        return done.exit_code, done.stdout

    give_rsa_key(service)
    run("init", "--public-url", service.url)
    service.replace(settings=Settings(public_url=service.url))
    run("client", "add", "shop", "--for", "generic-oidc", "--redirect-uri", f"{service.url}/cb")
    status, told = run("client", "test", "shop")
    assert (status, [line[:6] for line in told.splitlines()]) == (0, ["ok    "] * 5)
    run("init", "--public-url", "http://127.0.0.1:1")
    status, told = run("client", "test", "shop")
    assert status == 1
    assert "fail  the service is ready" in told
    status, told = run("client", "test", "shop", "--json")
    assert status == 1
    assert json.loads(told)[1]["ok"] is False
    assert run("client", "test", "nobody")[0] == 1
