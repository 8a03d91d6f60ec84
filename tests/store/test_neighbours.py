"""Tests that each change touches its own rows only, and records its events, on both databases."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from fakes.public_keys import ed25519
from service.service import START, Clock
from store.neighbours import ADDRESS, CLIENTS, MINUTE, PEOPLE, TAKEN, Neighbours, fill

from sshaft.public_key import PublicKey, parse
from sshaft_identity.challenges.challenge import MAX_TRIES, Context
from sshaft_identity.challenges.challenges import Wish
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.enrolment.enrolment import Enrolment, Presentation
from sshaft_identity.enrolment.revocation import Ended, Revocation
from sshaft_identity.people.key_policy import KeyPolicy
from sshaft_identity.people.registration import NewKey
from sshaft_identity.people.sessions import Method, Proof
from sshaft_identity.store import Store

NEW = parse(ed25519("new"))
BOBS = parse(ed25519("bobs"))
SHOWN = parse(ed25519("alice's new key")).fingerprint
PENDING = ("waits", "back", "printed")
PASSED = ("passed", "other-key", "no-key")


@pytest.fixture
def neighbours(store: Store, clock: Clock) -> Neighbours:
    return fill(store, clock)


@dataclass(frozen=True)
class Case:
    """A change, the rows that it touches, and the events that it records."""

    name: str
    act: Callable[[Neighbours], object]
    touches: Iterable[str] = ()
    events: Iterable[dict[str, Any]] = ()


def rows(table: str, *names: str) -> set[str]:
    return {f"{table}: {name}" for name in names}


def logins(names: Iterable[str], users: Iterable[str] = ("alice",), clients: Iterable[str] = CLIENTS) -> list[str]:
    return [f"{user}-{client}-{name}" for user, client, name in product(users, clients, names)]


def login_event(event: str, challenge: str, user: str | None = "alice", **facts: Any) -> dict[str, Any]:
    """Returns an event about a challenge with the facts that each has."""
    client = challenge.split("-")[1] if challenge in logins((*PENDING, *PASSED, "over")) else None
    known = {"event": f"challenge.{event}", "user": user, "challenge": challenge, "browser_address": ADDRESS}
    return known | ({"client": client} if client else {}) | facts


def client_event(event: str, **facts: Any) -> dict[str, Any]:
    return {"event": f"client.{event}", "user": None, "client": "web", **facts}


SSH = {"fingerprint": "alice's key", "key_type": "ssh-ed25519", "ssh_address": ADDRESS}
PROOF = SSH | {"amr": "swk pop"}


# --- clients

WEB_TOKENS = {"-access_tokens: web"} | rows("-access_tokens", *logins(TAKEN, PEOPLE, ["web"]))
OF_WEB = logins((*PENDING, *PASSED, "over"), PEOPLE, ["web"])

CLIENT_CASES = [
    Case(
        "rotation without overlap",
        lambda of: of.store.clients.rotate_secret("web", of.clock(), timedelta()),
        {"clients: web"} | WEB_TOKENS,
        [client_event("secret_rotated", overlap_seconds=0)],
    ),
    Case(
        "rotation with overlap",
        lambda of: of.store.clients.rotate_secret("web", of.clock(), timedelta(hours=1)),
        {"clients: web"},
        [client_event("secret_rotated", overlap_seconds=3600)],
    ),
    Case(
        "revocation of the tokens of a client",
        lambda of: of.store.access_tokens.revoke_all("web", of.clock()),
        WEB_TOKENS,
        [client_event("revoked", access_tokens=5)],
    ),
    Case(
        "revocation of the tokens of a login",
        lambda of: of.store.access_tokens.revoke_login("alice-web-taken"),
        {"-access_tokens: alice-web-taken"},
    ),
    Case(
        "a face of a client",
        lambda of: of.store.clients.set_face("web", "cas", {}, of.clock()),
        {"clients: web"},
        [client_event("face_set", face="cas", on=True)],
    ),
    Case(
        "return URLs of a client",
        lambda of: of.store.clients.set_return_urls("web", ["https://a/", "https://b/"], of.clock()),
        {"clients: web"},
        [client_event("return_urls_set", return_urls="https://a/ https://b/")],
    ),
    Case(
        "removal of a client",
        lambda of: of.store.revocation.remove_client("web", of.clock()),
        {"-clients: web", "-failures: client web", *WEB_TOKENS}
        | rows("-face_requests", *logins((*TAKEN, "waits"), PEOPLE, ["web"]))
        | rows("challenges", *OF_WEB)
        | rows("enrolments", "alice-invited", "bob-invited"),
        [client_event("removed", challenges=set(OF_WEB), enrolments={"alice-invited", "bob-invited"})],
    ),
]

# --- keys, people and sessions

BY_KEY = logins(("printed", "passed", "no-key"))
BY_ANY_KEY = logins(("printed", *PASSED))
CODES_AND_TOKENS = rows("-access_tokens", *logins(["taken"])) | {"face_requests: alice-web-taken"}
ALL_CODES_AND_TOKENS = rows("-access_tokens", *logins(TAKEN)) | rows("face_requests", *logins(TAKEN, clients=["web"]))
KEY = {"-ssh_keys: alice's key", "enrolments: alice-to-approve", "challenges: alice-approval", *CODES_AND_TOKENS}
KEY |= rows("challenges", *BY_KEY) | {"+host_revocations"}
KEY_FACTS = {"challenges": {"alice-approval", *BY_KEY}, "enrolments": {"alice-to-approve"}}
KEY_REMOVED = {"event": "key.removed", "user": "alice", "fingerprint": "alice's key", **KEY_FACTS}
SESSIONS = rows("-sessions", "alice ssh", "alice other key", "alice oidc", "alice ended")
IN_SESSION = {"alice-shown", "alice-to-approve"}
OF_ALICE = ["alice-approval", *logins((*PENDING, *PASSED, "over"))]
ENROLMENTS = ("invited", "asked", "shown", "to-approve", "over")


def remove_key(user: str | None, keep: str | None) -> Callable[[Neighbours], object]:
    def act(of: Neighbours) -> object:
        kept = None if keep is None else of.session(keep)
        return of.store.revocation.remove_key("alice's key", of.clock(), user=user, keep=kept, by="somebody")

    return act


PEOPLE_CASES = [
    Case(
        "removal of a key",
        remove_key(None, None),
        KEY | rows("-sessions", "alice ssh", "alice other key"),
        [KEY_REMOVED | {"sessions": 2, "by": "somebody"}],
    ),
    Case(
        "removal of a key in a session of another key",
        remove_key("alice", "alice other key"),
        KEY | {"-sessions: alice ssh"},
        [KEY_REMOVED | {"sessions": 1, "by": "somebody"}],
    ),
    Case(
        "removal of a key in its own session",
        remove_key("alice", "alice ssh"),
        KEY | rows("-sessions", "alice ssh", "alice other key"),
        [KEY_REMOVED | {"sessions": 2, "by": "somebody"}],
    ),
    Case(
        "removal of a key in a session of the OpenID Provider",
        remove_key("alice", "alice oidc"),
        KEY | rows("-sessions", "alice ssh", "alice other key"),
        [KEY_REMOVED | {"sessions": 2, "by": "somebody"}],
    ),
    Case("removal of a key of somebody else", remove_key("bob", None)),
    Case(
        "removal of a user",
        lambda of: of.store.revocation.remove_user("alice", of.clock()),
        {"-users: alice", "-failures: user alice", "+host_revocations", *ALL_CODES_AND_TOKENS, *SESSIONS}
        | rows("-ssh_keys", "alice's key", "alice's other key", "alice's old key", "alice's security key")
        | rows("-enrolments", *(f"alice-{each}" for each in (*ENROLMENTS, "done", "denied", "ancient")))
        | rows("challenges", *OF_ALICE),
        [
            {"event": "user.removed", "user": "alice", "keys": 4, "sessions": 4, "challenges": set(OF_ALICE)}
            | {"enrolments": {f"alice-{each}" for each in ENROLMENTS}}
        ],
    ),
    Case(
        "sign-out of every browser",
        lambda of: of.store.revocation.sign_out("alice", of.clock(), by="somebody"),
        {"challenges: alice-approval", "+host_revocations", *SESSIONS, *ALL_CODES_AND_TOKENS}
        | rows("challenges", *BY_ANY_KEY)
        | rows("enrolments", *IN_SESSION),
        [
            {"event": "session.all_ended", "user": "alice", "sessions": 4, "by": "somebody"}
            | {"challenges": {"alice-approval", *BY_ANY_KEY}, "enrolments": IN_SESSION}
        ],
    ),
    Case(
        "end of everything at the hosts",
        lambda of: of.store.revocation.end_at_hosts("alice", of.clock(), by="somebody"),
        {"+host_revocations"},
        [{"event": "host_session.all_ended", "user": "alice", "by": "somebody"}],
    ),
    Case(
        "sign-out of one browser",
        lambda of: of.store.revocation.end_session(of.session("alice ssh"), of.clock(), by="somebody"),
        {"-sessions: alice ssh", "challenges: alice-approval"} | rows("enrolments", *IN_SESSION),
        [
            {"event": "session.ended", "user": "alice", "sessions": 1, "by": "somebody"}
            | {"challenges": {"alice-approval"}, "enrolments": IN_SESSION}
        ],
    ),
    Case(
        "sign-out of two browsers one after the other",
        lambda of: [of.store.revocation.end_session(of.session(each), of.clock()) for each in ("bob ssh", "bob oidc")],
        rows("-sessions", "bob ssh", "bob oidc")
        | rows("enrolments", "bob-shown", "bob-to-approve")
        | {"challenges: bob-approval"},
        [
            {"event": "session.ended", "user": "bob", "sessions": 1}
            | {"challenges": {"bob-approval"}, "enrolments": {"bob-shown", "bob-to-approve"}},
            {"event": "session.ended", "user": "bob", "sessions": 1},
        ],
    ),
    Case(
        "use of a session",
        lambda of: (of.clock.advance(120), of.session("alice ssh")),
        {"sessions: alice ssh"},
    ),
    Case(
        "use of a session within a minute",
        lambda of: (of.clock.advance(60), of.session("alice ssh")),
    ),
    Case(
        "begin of a session",
        lambda of: of.sessions.start("alice", Proof(Method.OIDC, of.clock()), of.clock(), address=ADDRESS),
        {"+sessions", "-sessions: alice ended"},
        [{"event": "session.started", "user": "alice", "method": "oidc", "address": ADDRESS}],
    ),
    Case(
        "begin of a session of nobody",
        lambda of: of.sessions.start("carol", Proof(Method.OIDC, of.clock()), of.clock()),
        {"-sessions: alice ended"},
    ),
    Case(
        "unlocking",
        lambda of: of.store.challenges.unlock("alice", of.clock(), by="desk", actor="carol"),
        {"-failures: user alice"},
        [{"event": "user.unlocked", "user": "alice", "by": "desk", "actor": "carol"}],
    ),
    Case(
        "a new key",
        lambda of: of.store.keys.add("alice", [NewKey(NEW, added_with="alice's key")], of.clock()),
        {"+ssh_keys"},
        [
            {"event": "key.enrolled", "user": "alice", "fingerprint": NEW.fingerprint, "key_type": NEW.type}
            | {"source": "operator", "attested": False, "added_with": "alice's key"}
        ],
    ),
]

# --- challenges

DENIED = ["alice-approval", *logins(PENDING, clients=["web"]), *logins(PENDING, clients=["shop"])]


def verify(code: str | None = None) -> Callable[[Neighbours], object]:
    """Returns the typing of a code in the web login. None: the code that ssh has printed."""

    def act(of: Neighbours) -> object:
        meant = [of.challenge("alice-web-printed"), of.challenge("alice-web-back")]
        typed = code or of.store.codes.given_back("alice-web-printed")
        return of.store.challenges.verify(meant, typed, None, of.clock())

    return act


def accept(challenge: str | None, **more: Any) -> Callable[[Neighbours], object]:
    return lambda of: of.store.challenges.accept(of.attempt(challenge, **more), of.clock())


def reject(challenge: str | None) -> Callable[[Neighbours], object]:
    return lambda of: of.store.challenges.reject(of.attempt(challenge), of.clock())


CHALLENGE_CASES = [
    Case(
        "acceptance",
        accept("alice-web-waits"),
        {"challenges: alice-web-waits", "ssh_keys: alice's key"},
        [login_event("accepted", "alice-web-waits", **PROOF)],
    ),
    Case(
        "acceptance of a login that names the user as a hint",
        accept("hint-alice"),
        {"challenges: hint-alice", "ssh_keys: alice's key"},
        [login_event("accepted", "hint-alice", hint="alice", **PROOF)],
    ),
    Case("the code of another person's login", accept("hint-bob")),
    Case(
        "a wrong code",
        accept("alice-web-waits", code="000000"),
        {"challenges: alice-web-waits"} | rows("failures", "client web", "user alice", f"source {ADDRESS}"),
        [login_event("wrong_code", "alice-web-waits", **SSH)],
    ),
    Case(
        "the fifth wrong code",
        lambda of: [accept("alice-web-waits", code="000000")(of) for _ in range(MAX_TRIES)],
        {"challenges: alice-web-waits"} | rows("failures", "client web", "user alice", f"source {ADDRESS}"),
        [login_event("wrong_code", "alice-web-waits", **SSH)] * MAX_TRIES
        + [login_event("rejected", "alice-web-waits", reason="tried_out", **SSH)],
    ),
    Case(
        "a long wrong code that concerns no login",
        accept("alice-web-back", code="00000000"),
        rows("failures", "client web", "user alice", f"source {ADDRESS}"),
        [{"event": "challenge.wrong_code", "user": "alice", **SSH}],
    ),
    Case(
        "a code that ssh shows",
        accept("alice-web-back", code=None),
        {"challenges: alice-web-back", "ssh_keys: alice's key"},
        [login_event("presented", "alice-web-back", **SSH)],
    ),
    Case(
        "a typed code",
        verify(),
        {"challenges: alice-web-printed"},
        [login_event("accepted", "alice-web-printed", fingerprint="alice's key", amr="swk pop")],
    ),
    Case(
        "a wrong typed code",
        verify("000000"),
        {"challenges: alice-web-printed"},
        [login_event("wrong_code", "alice-web-printed")],
    ),
    Case(
        "denial of every login",
        reject(None),
        rows("challenges", *DENIED, "hint-alice"),
        [login_event("rejected", each, reason="denied", fingerprint="alice's key", ssh_address=ADDRESS)
         for each in DENIED]
        + [login_event("rejected", "hint-alice", None, hint="alice", reason="denied",
                       fingerprint="alice's key", ssh_address=ADDRESS)],
    ),
    Case(
        "denial of one login",
        reject("alice-web-waits"),
        {"challenges: alice-web-waits"},
        [login_event("rejected", "alice-web-waits", reason="denied", fingerprint="alice's key", ssh_address=ADDRESS)],
    ),
    *(Case(f"denial of the login {name}", reject(name)) for name in ("bob-web-waits", "alice-web-passed", "hint-bob")),
    Case(
        "cancelling",
        lambda of: of.store.challenges.cancel("alice-web-waits", of.clock()),
        {"challenges: alice-web-waits"},
        [login_event("cancelled", "alice-web-waits")],
    ),
    Case(
        "taking the result",
        lambda of: of.store.challenges.consume("alice-web-passed", of.clock(), "web"),
        {"challenges: alice-web-passed"},
        [login_event("consumed", "alice-web-passed", fingerprint="alice's key", amr="swk pop")],
    ),
    *(
        Case(f"taking the result of {name} for {client}",
             lambda of, name=name, client=client: of.store.challenges.consume(name, of.clock(), client))  # type: ignore[misc]
        for name, client in (("alice-web-passed", "shop"), ("alice-web-passed", None), ("alice-web-waits", "web"),
                             ("alice-web-taken", "web"), ("alice-approval", "web"))
    ),
    Case(
        "showing the page",
        lambda of: of.store.challenges.show(of.challenge("alice-web-waits"), of.clock(), "203.0.113.9"),
        {"challenges: alice-web-waits"},
        [login_event("shown", "alice-web-waits", page_address="203.0.113.9")],
    ),
    Case(
        "showing the page again",
        lambda of: [
            of.store.challenges.show(of.challenge("alice-web-waits"), of.clock(), address)
            for address in ("203.0.113.9", "203.0.113.10")
        ],
        {"challenges: alice-web-waits"},
        [login_event("shown", "alice-web-waits", page_address="203.0.113.9")],
    ),
    Case(
        "a new login at the same address",
        lambda of: of.store.challenges.open(
            Wish("alice", MINUTE, client="web", context=Context(ip=ADDRESS)), of.clock()
        ),
        {"+challenges"} | rows("challenges", *logins((*PENDING, "over"), clients=["web"])),
        [login_event("expired", "alice-web-over")]
        + [login_event("cancelled", each, reason="superseded") for each in logins(PENDING, clients=["web"])]
        + [login_event("created", "new", client="web", binding="code_in")],
    ),
]  # fmt: skip

# --- enrolments

SWEPT = {"-enrolments: alice-ancient", "-enrolments: bob-ancient", "enrolments: alice-over", "enrolments: bob-over"}
OPEN = tuple(f"alice-{each}" for each in ("invited", "asked", "shown", "to-approve"))
KEY_OF = {"fingerprint": NEW.fingerprint, "key_type": NEW.type, "source": "ssh", "client_ip": ADDRESS}


def enrolment_event(event: str, enrolment: str, **facts: Any) -> dict[str, Any]:
    return {"event": f"enrolment.{event}", "user": "alice", "enrolment": enrolment, **facts}


def present(enrolment: str, key: PublicKey = NEW) -> Callable[[Neighbours], object]:
    def act(of: Neighbours) -> object:
        code = of.store.enrolments.code_of(enrolment)
        return of.store.enrolments.present(code, Presentation(key, ADDRESS), of.clock(), KeyPolicy())

    return act


def enrolment(of: Neighbours, name: str) -> Enrolment:
    found = of.store.enrolments.get(name)
    assert found
    return found


def approve(challenge: str) -> Callable[[Neighbours], object]:
    return lambda of: of.store.enrolments.approve("alice-to-approve", challenge, of.clock(), KeyPolicy())


ENROLMENT_CASES = [
    Case(
        "a new enrolment",
        lambda of: of.store.enrolments.open("alice", of.clock(), session=of.session("alice ssh")),
        SWEPT | {"+enrolments"} | rows("enrolments", *OPEN),
        [enrolment_event("cancelled", each, reason="superseded") for each in OPEN]
        + [enrolment_event("opened", "new", invited_by="person")],
    ),
    Case(
        "cancelling an enrolment",
        lambda of: of.store.enrolments.cancel("alice", of.clock()),
        SWEPT | rows("enrolments", *OPEN),
        [enrolment_event("cancelled", each) for each in OPEN],
    ),
    Case(
        "presenting a key",
        present("alice-invited"),
        {"enrolments: alice-invited"},
        [enrolment_event("presented", "alice-invited", **KEY_OF)],
    ),
    Case(
        "presenting a second key",
        present("alice-shown"),
        (),
        [enrolment_event("refused", "alice-shown", reason="already_presented", **KEY_OF)],
    ),
    *(
        Case(
            f"presenting a key for the enrolment {name}",
            present(f"alice-{name}"),
            {"+failures"},
            [{"event": "enrolment.wrong_code", "user": None, **KEY_OF}],
        )
        for name in ("over", "done", "denied", "ancient")
    ),
    Case(
        "presenting another person's key",
        present("alice-invited", BOBS),
        {"enrolments: alice-invited"},
        [enrolment_event("refused", "alice-invited", reason="key_taken", **KEY_OF | {"fingerprint": BOBS.fingerprint})],
    ),
    Case(
        "presenting a key for a code that was refused twice",
        lambda of: [present("alice-invited", BOBS)(of) for _ in range(3)],
        {"enrolments: alice-invited"},
        [enrolment_event("refused", "alice-invited", reason="key_taken", **KEY_OF | {"fingerprint": BOBS.fingerprint})]
        * 3,
    ),
    Case(
        "presenting a signed key",
        lambda of: of.store.enrolments.present_signed(
            "alice-invited", Presentation(NEW, ADDRESS, "signature"), of.clock(), KeyPolicy()
        ),
        {"enrolments: alice-invited"},
        [enrolment_event("presented", "alice-invited", **KEY_OF | {"source": "signature"})],
    ),
    Case(
        "confirming a key",
        lambda of: of.store.enrolments.confirm("alice-shown", SHOWN, of.clock(), KeyPolicy()),
        {"enrolments: alice-shown", "+ssh_keys"},
        [
            {"event": "key.enrolled", "user": "alice", "enrolment": "alice-shown", "fingerprint": SHOWN}
            | {"key_type": NEW.type, "source": "ssh", "attested": False}
        ],
    ),
    Case(
        "confirming a key against the policy",
        lambda of: of.store.enrolments.confirm("alice-shown", SHOWN, of.clock(), KeyPolicy(security_keys_only=True)),
    ),
    Case(
        "waiting for an approval",
        lambda of: of.store.enrolments.await_approval(enrolment(of, "alice-to-approve"), "x", of.clock(), "a device"),
        {"enrolments: alice-to-approve"},
    ),
    Case(
        "waiting for the approval of no key",
        lambda of: of.store.enrolments.await_approval(enrolment(of, "alice-invited"), "x", of.clock()),
    ),
    Case("approval that nobody has passed", approve("alice-approval")),
    Case(
        "approval by another challenge",
        approve("alice-web-passed"),
    ),
    Case(
        "confirming a key that an existing key must approve",
        lambda of: of.store.enrolments.confirm("alice-to-approve", SHOWN, of.clock(), KeyPolicy()),
    ),
    Case(
        "refusing a key",
        lambda of: of.store.enrolments.refuse("alice-shown", of.clock()),
        {"enrolments: alice-shown"},
        [
            enrolment_event("refused", "alice-shown", reason="not_my_key", fingerprint=SHOWN, key_type=NEW.type)
            | {"source": "ssh"}
        ],
    ),
    *(
        Case(
            f"refusing the enrolment {name}",
            lambda of, name=name: of.store.enrolments.refuse(f"alice-{name}", of.clock()),  # type: ignore[misc]
        )
        for name in ("invited", "done", "denied", "ancient")
    ),
]

CASES = [*CLIENT_CASES, *PEOPLE_CASES, *CHALLENGE_CASES, *ENROLMENT_CASES]


@pytest.mark.parametrize("case", CASES, ids=[each.name for each in CASES])
def test_change_touches_its_own_rows_only_and_is_audited(neighbours: Neighbours, case: Case) -> None:
    assert neighbours.touched(case.act) == set(case.touches)
    assert [readable(each, case.events) for each in neighbours.audited()] == list(case.events)


@pytest.mark.parametrize(
    "act",
    [
        lambda of: of.store.revocation.remove_user("alice", START),
        lambda of: of.store.revocation.remove_client("web", START),
        lambda of: of.store.revocation.sign_out("alice", START),
        lambda of: of.store.revocation.end_session(of.session("bob ssh"), START),
        lambda of: of.store.revocation.remove_key("alice's key", START).ended,
    ],
)
def test_removal_returns_what_its_event_names(neighbours: Neighbours, act: Callable[[Neighbours], Ended]) -> None:
    ended = act(neighbours)
    (event,) = neighbours.audited()
    assert set(ended.ids) == {*event["enrolments"].split(), *event["challenges"].split()}
    assert ended.sessions == event.get("sessions", 0)


def test_removed_key_names_its_owner_and_the_keys_that_were_added_with_it(neighbours: Neighbours) -> None:
    removed = neighbours.store.revocation.remove_key("alice's key", START)
    assert removed
    assert (removed.user, removed.added) == ("alice", ("alice's other key",))
    assert neighbours.store.revocation.remove_key("alice's key", START) is None


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda of: of.remove_user("carol", START), "there is no user carol"),
        (lambda of: of.sign_out("carol", START), "there is no user carol"),
        (lambda of: of.remove_client("bank", START), "there is no client bank"),
    ],
)
def test_removal_of_nobody_changes_nothing(
    neighbours: Neighbours, act: Callable[[Revocation], object], message: str
) -> None:
    def refused(of: Neighbours) -> None:
        with pytest.raises(RegistryError) as error:
            act(of.store.revocation)
        assert str(error.value) == message

    assert neighbours.touched(refused) == set()
    assert neighbours.audited() == []


def readable(event: dict[str, Any], expected: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns the event with its list of logins and of enrolments as sets, and `new` for the id of a new row."""
    known = {value for each in expected for value in each.values() if isinstance(value, str)}
    ids = {name: event[name] for name in ("challenge", "enrolment") if name in event}
    lists = {name: set(event[name].split()) for name in ("challenges", "enrolments") if name in event}
    return event | lists | {name: "new" for name, value in ids.items() if value not in known}
