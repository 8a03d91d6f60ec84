"""Tests `/healthz` and `/readyz`: a service without its database is alive, but not ready."""

from pathlib import Path

import pytest
from service.service import Service
from sqlalchemy import text

from sshaft_identity.signing.signing_keys import Algorithm


def test_service_that_is_set_up_is_alive_and_ready(service: Service) -> None:
    service.store.signing_keys.ensure(service.clock())
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        answer = service.call("GET", path)
        assert (answer.status_code, answer.json()) == (200, {"status": status})


def not_ready(service: Service) -> str:
    answer = service.call("GET", "/readyz")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert (answer.json()["error"], answer.headers["Retry-After"]) == ("unavailable", "1")
    assert service.call("GET", "/healthz").status_code == 200
    detail: str = answer.json()["detail"]
    return detail


def test_service_without_a_signing_key_is_not_ready(service: Service) -> None:
    assert not_ready(service) == "no signing key"


@pytest.mark.parametrize("only", list(Algorithm))
def test_service_with_a_signing_key_of_one_algorithm_is_not_ready(service: Service, only: Algorithm) -> None:
    service.store.signing_keys.rotate(service.clock(), only)
    assert not_ready(service) == "no signing key"


def test_service_with_tables_of_another_version_is_not_ready(service: Service) -> None:
    with service.store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not_ready(service) == "the set-up is not complete"
    assert "9999" in service.events("identity.not_ready")[-1]["reason"]


def test_service_without_its_database_is_not_ready(service: Service) -> None:
    path = service.store.database.engine.url.database
    assert path
    service.store.close()
    Path(path).write_bytes(b"x" * 4096)
    for suffix in ("-wal", "-shm"):
        Path(path + suffix).unlink(missing_ok=True)
    assert not_ready(service) == "the database cannot be used"


def test_service_with_another_hmac_key_is_not_ready(service: Service) -> None:
    service.store.signing_keys.ensure(service.clock())
    with service.store.database.write() as connection:
        connection.execute(text("UPDATE signing_keys SET sealed_private = :other"), {"other": b"x" * 64})
    assert not_ready(service) == "the set-up is not complete"
