"""Tests that every change by another process wakes the waiters here, on both databases."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import SETTINGS, Clock, migrated, wrong

from sshaft.public_key import parse
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenge import MAX_TRIES
from sshaft_identity.challenges.challenges import Opened, Wish
from sshaft_identity.database import backup
from sshaft_identity.enrolment.enrolment import OpenedEnrolment, Presentation
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.service import background, purge
from sshaft_identity.service.app import create_app
from sshaft_identity.store import Store
from sshaft_identity.web.state import AppState

MINUTES = timedelta(minutes=5)
POLICY = KeyPolicy()
KEY = parse(ed25519("new"))


@dataclass
class Other:
    """Acts as another process."""

    store: Store
    clock: Clock

    def accept(self, opened: Opened, code: str) -> None:
        self.store.challenges.accept(Attempt("alice", opened.challenge.id, code), self.clock())

    def try_out(self, opened: Opened) -> None:
        for number in range(MAX_TRIES):
            self.accept(opened, wrong(opened.code, 1 + number))

    def reject(self) -> None:
        self.store.challenges.reject(Attempt("alice"), self.clock())

    def cancel(self, opened: Opened) -> None:
        self.store.challenges.cancel(opened.challenge.id, self.clock())

    def supersede(self) -> None:
        self.store.challenges.open(Wish("alice", MINUTES), self.clock())

    def consume(self, opened: Opened) -> None:
        self.accept(opened, opened.code)
        self.store.challenges.consume(opened.challenge.id, self.clock())

    def purge(self) -> None:
        list(purge.batches(self.store.database, self.clock() + MINUTES))

    def invite(self) -> OpenedEnrolment:
        return self.store.enrolments.open("alice", self.clock())

    def present(self, invited: OpenedEnrolment) -> None:
        self.store.enrolments.present(invited.code, Presentation(KEY), self.clock(), POLICY)

    def confirm(self, invited: OpenedEnrolment) -> None:
        self.store.enrolments.confirm(invited.page_token, KEY.fingerprint, self.clock(), POLICY)

    def refuse(self, invited: OpenedEnrolment) -> None:
        self.store.enrolments.refuse(invited.page_token, self.clock())

    def cancel_enrolment(self) -> None:
        self.store.enrolments.cancel("alice", self.clock())


CHALLENGE_STEPS: dict[str, Callable[[Other, Opened], object]] = {
    "accepted": lambda other, opened: other.accept(opened, opened.code),
    "a wrong code": lambda other, opened: other.accept(opened, wrong(opened.code)),
    "tried out": lambda other, opened: other.try_out(opened),
    "rejected": lambda other, _: other.reject(),
    "cancelled": lambda other, opened: other.cancel(opened),
    "superseded": lambda other, _: other.supersede(),
    "consumed": lambda other, opened: other.consume(opened),
    "expired": lambda other, _: other.purge(),
}
ENROLMENT_STEPS: dict[str, Callable[[Other, OpenedEnrolment], object]] = {
    "presented": lambda other, invited: other.present(invited),
    "cancelled": lambda other, _: other.cancel_enrolment(),
    "superseded": lambda other, _: other.invite(),
}
PRESENTED_STEPS: dict[str, Callable[[Other, OpenedEnrolment], object]] = {
    "confirmed": lambda other, invited: other.confirm(invited),
    "refused": lambda other, invited: other.refuse(invited),
}


@pytest.fixture
def here(store: Store, clock: Clock) -> AppState:
    store.users.add("alice", clock())
    state: AppState = create_app(store, SETTINGS, clock).state.sshaft
    return state


def is_woken(
    here: AppState, url: str, subject: Any, read: Callable[[str], Any], step: Callable[[Other], object]
) -> bool:
    """Whether a waiter for `subject` sees a change after a `step` of another process."""

    async def main() -> bool:
        hearing = asyncio.create_task(background.follow_changes(here.store.database, here.changes))
        try:
            for _ in range(1500):
                if here.changes.has_source:
                    return await wait()
                await asyncio.sleep(0.02)
            pytest.fail("no source reports changes")
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])

    async def wait() -> bool:
        looked = asyncio.Event()

        async def look() -> Any:
            found = await asyncio.to_thread(read, subject.id)
            looked.set()
            return found

        waiting = asyncio.create_task(here.changes.wait(subject, look, lambda each: each != subject, 30))
        await looked.wait()
        with migrated(url) as store:
            await asyncio.to_thread(step, Other(store, Clock(here.clock())))
        return bool(await waiting != subject)

    return asyncio.run(main())


@pytest.mark.parametrize("step", CHALLENGE_STEPS.values(), ids=CHALLENGE_STEPS)
def test_a_waiter_for_a_challenge_is_woken(
    here: AppState, url: str, clock: Clock, step: Callable[[Other, Opened], object]
) -> None:
    opened = here.store.challenges.open(Wish("alice", MINUTES), clock())
    assert is_woken(here, url, opened.challenge, here.store.challenges.get, lambda other: step(other, opened))


def test_a_waiter_is_woken_by_a_restore(here: AppState, url: str, clock: Clock, tmp_path: Path) -> None:
    """Restores a backup in which the challenge has one try less."""
    opened = here.store.challenges.open(Wish("alice", MINUTES), clock())
    file = tmp_path / "backup.gz"
    backup.write(here.store.database, file, b"k" * 32, clock(), quietly)
    here.store.challenges.accept(Attempt("alice", opened.challenge.id, wrong(opened.code)), clock())
    tried = here.store.challenges.get(opened.challenge.id)

    def restore(other: Other) -> None:
        backup.restore(other.store.database, backup.verified(file), quietly, replace=True)

    assert is_woken(here, url, tried, here.store.challenges.get, restore)


@contextmanager
def quietly(_total: int) -> Iterator[Callable[[int], None]]:
    yield lambda _done: None


@pytest.mark.parametrize("step", ENROLMENT_STEPS.values(), ids=ENROLMENT_STEPS)
def test_a_waiter_for_an_enrolment_is_woken(
    here: AppState, url: str, clock: Clock, step: Callable[[Other, OpenedEnrolment], object]
) -> None:
    invited = here.store.enrolments.open("alice", clock())
    assert is_woken(here, url, invited.enrolment, here.store.enrolments.get, lambda other: step(other, invited))


@pytest.mark.parametrize("step", PRESENTED_STEPS.values(), ids=PRESENTED_STEPS)
def test_a_waiter_for_a_presented_key_is_woken(
    here: AppState, url: str, clock: Clock, step: Callable[[Other, OpenedEnrolment], object]
) -> None:
    invited = here.store.enrolments.open("alice", clock())
    here.store.enrolments.present(invited.code, Presentation(KEY), clock(), POLICY)
    presented = here.store.enrolments.get(invited.enrolment.id)
    assert is_woken(here, url, presented, here.store.enrolments.get, lambda other: step(other, invited))
