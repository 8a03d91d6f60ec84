"""Fills a database with several rows of each kind, and finds the rows that a change touched.

Each row that a change concerns has neighbours that it must leave alone: of another user, client, session, state and
time. The id of a row says what it is, so that a test can name the rows that change.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from typing import Any

from fakes.public_keys import ed25519, sk_ed25519
from service.service import Clock
from sqlalchemy import Connection, Table, event, insert, select

from sshaft.public_key import parse
from sshaft_identity.challenges import rows
from sshaft_identity.challenges.attempts import Attempt
from sshaft_identity.challenges.challenge import Binding, Challenge, Context, State
from sshaft_identity.clients.clients import Client
from sshaft_identity.common.digests import digest
from sshaft_identity.database.tables import (
    access_tokens,
    audit_events,
    challenges,
    clients,
    enrolments,
    face_requests,
    failures,
    metadata,
    sessions,
    ssh_keys,
    users,
)
from sshaft_identity.people.sessions import Session, Sessions, SessionTimes
from sshaft_identity.store import Store

MINUTE = timedelta(minutes=1)
PEOPLE = ("alice", "bob")
CLIENTS = ("web", "shop")
TAKEN = ("taken", "taken-by-other-key")
ADDRESS = "192.0.2.1"


@dataclass(frozen=True)
class Neighbours:
    """A store with rows of everybody. The page token of a row is its id, and so is the token of a session."""

    store: Store
    clock: Clock

    @property
    def sessions(self) -> Sessions:
        return Sessions(self.store.database, SessionTimes())

    def session(self, name: str) -> Session:
        found = self.sessions.of_token(name, self.clock())
        assert found
        return found

    def client(self, name: str) -> Client:
        found = self.store.clients.get(name)
        assert found
        return found

    def challenge(self, name: str) -> Challenge:
        found = self.store.challenges.get(name)
        assert found
        return found

    def attempt(self, challenge: str | None, user: str = "alice", **more: Any) -> Attempt:
        """Returns the attempt of a person with their first key, with the code of the challenge."""
        facts = {"fingerprint": f"{user}'s key", "client_ip": ADDRESS, "challenge": challenge}
        code = None if challenge is None else code_of(challenge)
        return Attempt(user, **{"code": code, **facts, **more})

    def touched(self, act: Callable[["Neighbours"], object]) -> set[str]:
        """Returns the rows that `act` has changed, added (`+`) and deleted (`-`)."""
        before = self._rows()
        act(self)
        after = self._rows()
        changed = {f"{'' if after[key] else '-'}{key}" for key in before if before[key] != after.get(key)}
        return changed | {f"+{key.partition(': ')[0]}" for key in after if key not in before}

    def _rows(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with self.store.database.read() as connection:
            for table in metadata.sorted_tables:
                if table is not audit_events:
                    keys = [column.name for column in table.primary_key]
                    for row in connection.execute(select(table)):
                        name = " ".join(str(getattr(row, key)) for key in keys)
                        found[f"{table.name}: {_NAMES.get(name, name)}"] = row
        return Missing(found)

    def audited(self) -> list[dict[str, Any]]:
        """Returns the events with their facts."""
        with self.store.database.read() as connection:
            found = connection.execute(select(audit_events).order_by(audit_events.c.id)).all()
        return [{"event": each.event, "user": each.user_name, **json.loads(each.facts)} for each in found]

    @contextmanager
    def meanwhile(self, statement: str, change: Any) -> Iterator[None]:
        """Makes `change` once, just before the first statement that begins like this: another one was faster.

        On PostgreSQL another connection makes it. SQLite has one writer at a time, so there the same connection does.
        """
        engine, waiting = self.store.database.engine, [change]

        def before(connection: Connection, _cursor: object, text: str, *_more: object) -> None:
            if not text.startswith(statement) or not waiting:
                return
            now = waiting.pop()
            if self.store.database.is_postgresql:
                with engine.begin() as other:
                    other.execute(now)
            else:
                connection.execute(now)

        event.listen(engine, "before_cursor_execute", before)
        yield
        event.remove(engine, "before_cursor_execute", before)
        assert not waiting, "no such statement"


class Missing(dict[str, Any]):
    """Has None for a row that does not exist."""

    def __missing__(self, key: str) -> None:
        return None


def code_of(challenge: str) -> str:
    """Returns the code that a browser shows for the challenge: 8 digits if it names no user."""
    number = int(digest(challenge)[:12], 16)
    return f"{number % 10**8:08}" if challenge.startswith("hint") else f"{number % 10**6:06}"


_TOKENS = (
    "alice ssh", "alice other key", "alice oidc", "alice ended", "bob ssh", "bob oidc", "web", "shop",
    *(f"{user}-{client}-{name}" for user in PEOPLE for client in CLIENTS for name in TAKEN),
)  # fmt: skip
_NAMES = {digest(name): name for name in _TOKENS}


def fill(store: Store, clock: Clock) -> Neighbours:
    with store.database.write() as connection:
        for table, values in _content(store, clock):
            connection.execute(insert(table).values(values))
    return Neighbours(store, clock)


def _content(store: Store, clock: Clock) -> Iterator[tuple[Table, dict[str, Any]]]:
    now = clock()
    for user in PEOPLE:
        yield users, {"name": user, "id": user, "created_at": now}
        for key, more in {
            "key": {}, "other key": {"added_with": f"{user}'s key"}, "old key": {"expires_at": now},
            "security key": {"type": "sk-ssh-ed25519@openssh.com", "blob": parse(sk_ed25519(user)).blob},
        }.items():  # fmt: skip
            public = parse(ed25519(f"{user} {key}"))
            values = {"type": public.type, "blob": public.blob, "name": key, "source": "operator", "created_at": now}
            yield ssh_keys, {"fingerprint": f"{user}'s {key}", "user_name": user, **values, **more}
    bobs = parse(ed25519("bobs"))
    values = {"type": bobs.type, "blob": bobs.blob, "name": "", "source": "operator", "created_at": now}
    added = {"added_with": "alice's key"}  # before Alice had that key, it was Bob's
    yield ssh_keys, {"fingerprint": bobs.fingerprint, "user_name": "bob", **values, **added}
    for client in CLIENTS:
        secret = {"secret_hash": digest(f"{client} secret")}
        yield clients, {"client_id": client, **secret, "scope": "challenges", "created_at": now}
        yield access_tokens, _token(client, client) | {"expires_at": now + MINUTE}
    yield from _challenges(store, clock)
    for user, client, name in product(PEOPLE, CLIENTS, TAKEN):
        login = f"{user}-{client}-{name}"
        yield access_tokens, _token(login, client) | {"expires_at": now + MINUTE, "user_name": user, "login": login}
        values = {"id": login, "face": "openid", "client_id": client, "details": "{}", "expires_at": now + MINUTE}
        yield face_requests, values | {"handle_until": now + (MINUTE if client == "web" else -MINUTE)}
    for user in PEOPLE:  # a face of CIBA gives its handle at the beginning
        values = {"id": f"{user}-web-waits", "face": "ciba", "client_id": "web", "details": "{}"}
        yield face_requests, values | {"expires_at": now + MINUTE, "handle_until": now + MINUTE}
    for name, fingerprint in {
        "alice ssh": "alice's key", "alice other key": "alice's other key", "alice oidc": None, "alice ended": None,
        "bob ssh": "bob's key", "bob oidc": None,
    }.items():  # fmt: skip
        ends = now if name == "alice ended" else now + 30 * MINUTE
        method = "ssh" if fingerprint else "oidc"
        times = {"authenticated_at": now, "expires_at": ends}
        values = {"user_name": name.split()[0], "method": method, "fingerprint": fingerprint, **times}
        yield sessions, {"token_hash": digest(name), **values}
    for scope, subject in (("user", "alice"), ("user", "bob"), ("source", "alice"), ("client", "web"),
                           ("client", "shop"), ("source", ADDRESS)):  # fmt: skip
        yield failures, {"scope": scope, "subject": subject, "times": 2, "ends_at": now + 60 * MINUTE}
    yield from _enrolments(store, clock)


def _token(name: str, client: str) -> dict[str, Any]:
    return {"token_hash": digest(name), "client_id": client, "scope": "challenges"}


def _challenges(store: Store, clock: Clock) -> Iterator[tuple[Table, dict[str, Any]]]:
    now = clock()
    base = Challenge("", None, None, Context(ip=ADDRESS), now - MINUTE, now + 4 * MINUTE)
    made: list[tuple[Challenge, dict[str, Any]]] = []
    for user in PEOPLE:
        proof = {"accepted_at": now, "fingerprint": f"{user}'s key"}
        printed = {"presented_at": now, "fingerprint": f"{user}'s key"}
        made.append((replace(base, id=f"{user}-approval", user=user), {}))
        made.append((replace(base, id=f"hint-{user}", hint=user), {}))
        for client in CLIENTS:
            own = replace(base, user=user, client=client)

            def one(name: str, own: Challenge = own, **more: Any) -> Challenge:
                return replace(own, id=f"{own.user}-{own.client}-{name}", **more)

            made += [
                (one("waits"), {}),
                (one("over", expires_at=now), {}),
                (one("back", binding=Binding.CODE_BACK), {}),
                (one("printed", binding=Binding.CODE_BACK), printed),
                (one("passed", state=State.ACCEPTED), proof),
                (one("other-key", state=State.ACCEPTED), proof | {"fingerprint": f"{user}'s other key"}),
                (one("no-key", state=State.ACCEPTED), proof | {"fingerprint": None}),
                (one("taken", state=State.CONSUMED), proof),
                (one("taken-by-other-key", state=State.CONSUMED), proof | {"fingerprint": f"{user}'s other key"}),
                (one("denied", state=State.REJECTED), {}),
                (one("printed-denied", binding=Binding.CODE_BACK, state=State.REJECTED), printed),
                (one("cancelled", state=State.CANCELLED), {}),
            ]
    for challenge, more in made:
        code = code_of(challenge.id)
        index = store.codes.index(code) if challenge.user is None else None
        coded = replace(challenge, code_hmac=store.codes.code_hmac(challenge.id, code), code_index=index)
        yield challenges, rows.columns(coded) | {"page_hash": digest(challenge.id)} | more


def _enrolments(store: Store, clock: Clock) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yields enrolments, also more than one of a user at a time."""
    now = clock()
    for user in PEOPLE:
        key = parse(ed25519(f"{user}'s new key"))
        shown = {"fingerprint": key.fingerprint, "type": key.type, "blob": key.blob, "presented_at": now}
        for name, more in {
            "invited": {"state": "open", "invited_by": "web"},
            "asked": {"state": "open", "invited_by": "shop"},
            "shown": {"state": "presented", "opened_in": "oidc", "approval": f"{user}-web-denied", **shown},
            "to-approve": {"state": "presented", "opened_in": "ssh", "approval": f"{user}-approval", **shown},
            "over": {"state": "open", "expires_at": now},
            "done": {"state": "confirmed", "opened_in": "ssh", "approval": f"{user}-web-waits", **shown},
            "denied": {"state": "refused", "expires_at": now, "invited_by": "web", **shown},
            "ancient": {"state": "cancelled", "created_at": now - timedelta(days=7), "expires_at": now - MINUTE},
        }.items():
            identifier = f"{user}-{name}"
            index = store.codes.index(f"enrol {store.enrolments.code_of(identifier)}")
            names = {"id": identifier, "user_name": user, "code_index": index, "page_hash": digest(identifier)}
            times = {"created_at": now - MINUTE, "expires_at": now + 10 * MINUTE, "tries": 0}
            yield enrolments, names | times | more
