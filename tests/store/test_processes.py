"""Tests several services on one database, and a database that goes away and comes back."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.postgresql import PostgreSQL, programs, running
from service.service import migrated
from store.serving import Serving, another_host, serving, set_up, until

from sshaft_identity.challenges.challenge import State
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.common.times import utc_now


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    """Yields a server that the test may stop."""
    where = programs()
    if where is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    with running(where) as server:
        server.execute("CREATE DATABASE identity")
        yield server


class Waiting:
    """A browser that waits on a page."""

    def __init__(self, service: Serving, opened: dict[str, str]) -> None:
        self.state = ""
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._wait, args=(service, opened))
        self._thread.start()

    def _wait(self, service: Serving, opened: dict[str, str]) -> None:
        start = time.monotonic()
        self.state = service.page_state(opened, wait=25)
        self.seconds = time.monotonic() - start

    def ended(self) -> str:
        self._thread.join()
        return self.state


def test_a_page_of_one_process_is_woken_by_an_accept_in_another(url: str, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", url)
    other_host = another_host(tmp_path / "a", "b")
    with serving(tmp_path / "a", secret) as a, serving(other_host, secret) as b:
        token = a.token()
        opened = a.open(token)
        waiting = Waiting(a, opened)
        time.sleep(0.5)  # until it waits
        assert b.accept(opened, token).status_code == 200  # also the token and the code are good at the other
        assert waiting.ended() == "accepted"
        assert waiting.seconds < 15
        assert bool(a.events("changes.listening")) == url.startswith("postgresql")
        assert a.post(f"/api/v1/challenges/{opened['id']}/consume", {}, token).status_code == 200
        assert b.post(f"/api/v1/challenges/{opened['id']}/consume", {}, token).status_code == 409


def test_one_of_many_parallel_accepts_at_two_processes_succeeds(url: str, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", url)
    other_host = another_host(tmp_path / "a", "b")
    with serving(tmp_path / "a", secret) as a, serving(other_host, secret) as b:
        token = a.token()
        opened = a.open(token)
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda each=each: statuses.append(each.accept(opened, token).status_code))
            for each in [a, b] * 8
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(statuses) == [200] + [409] * 15


def test_the_service_survives_a_restart_of_postgresql(own_postgresql: PostgreSQL, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", own_postgresql.url("identity"))
    with serving(tmp_path / "a", secret) as service:
        token = service.token()
        opened = service.open(token)
        until(lambda: service.events("changes.listening"))
        waiting = Waiting(service, opened)
        time.sleep(0.5)  # until it waits
        own_postgresql.stop()
        away = service.health()
        assert (away.status_code, away.headers["Content-Type"]) == (503, "application/problem+json")
        assert away.json()["error"] == "unavailable"
        assert service.accept(opened, token).status_code == 503
        until(lambda: service.events("changes.not_listening"))
        own_postgresql.start()
        assert service.health().status_code == 200  # at once: no stale connection is used
        assert service.accept(opened, token).status_code == 200
        assert waiting.ended() == "accepted"
        until(lambda: len(service.events("changes.listening")) == 2)


def test_a_stopped_postgresql_does_not_block_the_service(own_postgresql: PostgreSQL, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", own_postgresql.url("identity"))
    with serving(tmp_path / "a", secret) as service:
        token = service.token()
        opened = service.open(token)
        stopped = own_postgresql.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'sshaft-identity' AND query NOT LIKE 'LISTEN%'"
        )
        for (pid,) in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            answer = service.accept(opened, token)
            assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        finally:
            for (pid,) in stopped:
                os.kill(pid, signal.SIGCONT)
        assert service.accept(opened, token).status_code == 200


def test_a_service_purges_at_its_start(url: str, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", url)
    with migrated(url) as store:
        opened = store.challenges.open(Wish("alice", timedelta(minutes=5)), utc_now() - timedelta(minutes=9))
        with serving(tmp_path / "a", secret) as service:
            until(lambda: service.events("purge.done"))
            assert service.events("purge.done")[0]["challenges_expired"] == 1
        challenge = store.challenges.get(opened.challenge.id)
    assert challenge
    assert challenge.state is State.EXPIRED


def test_sigterm_ends_a_service_that_listens_for_changes(own_postgresql: PostgreSQL, tmp_path: Path) -> None:
    secret = set_up(tmp_path / "a", own_postgresql.url("identity"))
    with serving(tmp_path / "a", secret) as service:
        until(lambda: service.events("changes.listening"))
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
        assert "background.failed" not in service.log.read_text()
