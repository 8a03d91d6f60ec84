"""Reads the answer to list, and decides what a key in it may do. All functions here are pure."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, StringConstraints, ValidationError
from pydantic_core import from_json

from sshaft import public_key
from sshaft.clocks import shifted
from sshaft.errors import IdentityServiceError, InvalidKeyError
from sshaft.public_key import PublicKey
from sshaft.validation import OptionalMember

_MAX_ENTRIES = 50_000
_KNOWN_BINDINGS = ("code_in", "code_back", "none")

_Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # the year 0 or 10000 in UTC
        raise ValueError("no such time in UTC") from None


@dataclass(frozen=True)
class Context:
    """The web login that is approved, for the person to see. All text is foreign."""

    app: str | None = None
    ip: str | None = None
    started_at: datetime | None = None

    def shifted(self, by: timedelta) -> "Context":
        return self if self.started_at is None else replace(self, started_at=shifted(self.started_at, by))


class ContextMessage(BaseModel):
    """`context` of a list entry and of the answer to accept. It is for display only."""

    app: OptionalMember[str] = None
    ip: OptionalMember[str] = None
    started_at: OptionalMember[AwareDatetime] = None

    @property
    def value(self) -> Context:
        return Context(self.app, self.ip, self.started_at)


class _Entry(BaseModel):
    user: _Name
    authorized_key: str
    challenge: _Name | None = None
    expires_at: Annotated[AwareDatetime, AfterValidator(_in_utc)] | None = None
    binding: str = "none"
    verify_required: bool = False
    context: OptionalMember[ContextMessage] = None


class _Offer(BaseModel):
    """An item of the list that is not a key: an unregistered key may be enrolled until `expires_at`.

    `fingerprint` names the key if the question was about several keys.
    """

    enrolment: Literal["open"]
    expires_at: Annotated[AwareDatetime, AfterValidator(_in_utc)]
    fingerprint: str = ""


@dataclass(frozen=True)
class Entry:
    """A key of a user and, from a server with challenges, one pending challenge of the user."""

    user: str
    key: PublicKey
    pending: bool = True
    challenge: str | None = None
    expires_at: datetime | None = None
    binding: str = "none"
    verify_required: bool = False
    context: Context | None = None

    def shifted(self, by: timedelta) -> "Entry":
        ends, context = self.expires_at, self.context
        return replace(self, expires_at=ends and shifted(ends, by), context=context and context.shifted(by))

    @property
    def needs_code(self) -> bool:
        return self.binding == "code_in"

    @property
    def is_anonymous(self) -> bool:
        """Whether the entry stands for the challenges that name no user: a code chooses one of them."""
        return self.needs_code and self.challenge is None

    @property
    def knows_challenges(self) -> bool:
        """Whether the server accepts more than the original's `{"user": ...}`."""
        return self.challenge is not None or self.needs_code


@dataclass(frozen=True)
class Listing:
    """The usable entries of one answer by fingerprint, and how many entries were left out for each reason."""

    entries: dict[str, tuple[Entry, ...]]
    left_out: dict[str, int]
    offers: Mapping[str, datetime] = field(default_factory=dict)
    """The ends of enrolment offers by fingerprint. "" is the one key of the question: see `enrolment_until`."""
    ahead: timedelta = timedelta()
    """How far this host's clock is ahead of the identity service's clock. All times here are by this host's clock."""
    takes: int = 1
    """How many keys this server takes in one question."""

    def shifted(self, by: timedelta) -> "Listing":
        """Returns the same by the clock of a host that is `by` ahead."""
        entries = {name: tuple(entry.shifted(by) for entry in found) for name, found in self.entries.items()}
        offers = {fingerprint: shifted(until, by) for fingerprint, until in self.offers.items()}
        return replace(self, entries=entries, offers=offers, ahead=by)

    def of(self, fingerprint: str) -> tuple[Entry, ...]:
        return self.entries.get(fingerprint, ())

    def enrolment_until(self, fingerprint: str) -> datetime | None:
        """Returns until when this key may present an enrolment code; None: it may not.

        An offer that names no key counts only if the answer has no entries of other keys.
        """
        if self.of(fingerprint):
            return None
        return self.offers.get(fingerprint) or (None if self.entries else self.offers.get(""))

    def only(self, fingerprint: str) -> "Listing":
        """Returns the part of the listing about one key."""
        until = self.enrolment_until(fingerprint)
        own = {fingerprint: self.of(fingerprint)} if self.of(fingerprint) else {}
        return replace(self, entries=own, left_out={}, offers={fingerprint: until} if until else {})

    def all(self) -> Iterable[Entry]:
        return (entry for entries in self.entries.values() for entry in entries)


def parse(body: bytes, types: Collection[str]) -> Listing:
    """Returns the listing in an answer with keys of these types. A malformed entry is left out; the others count.

    Raises `IdentityServiceError` if the answer is no list: not JSON, nested too deep, or with too many entries.
    """
    items = _items(body)
    if not isinstance(items, list):
        raise IdentityServiceError("the list is not a JSON array")
    if len(items) > _MAX_ENTRIES:
        raise IdentityServiceError(f"the list has more than {_MAX_ENTRIES} entries")
    found: dict[str, list[Entry]] = {}
    left_out: dict[str, int] = {}
    offers: dict[str, datetime] = {}
    for item in items:
        if isinstance(item, dict) and "enrolment" in item:
            offers |= _offer(item)
            continue
        entry = _entry(item, types)
        if isinstance(entry, str):
            left_out[entry] = left_out.get(entry, 0) + 1
        else:
            found.setdefault(entry.key.fingerprint, []).append(entry)
    return Listing({f: tuple(entries) for f, entries in found.items()}, left_out, offers)


def _offer(item: Any) -> dict[str, datetime]:
    try:
        offer = _Offer.model_validate(item)
    except ValidationError:
        return {}
    return {offer.fingerprint: offer.expires_at}


def _items(body: bytes) -> Any:
    try:
        return from_json(body, cache_strings="keys")  # stops at 200 levels by itself
    except ValueError as error:
        try:
            # json is laxer: half a surrogate pair (`\\ud800`) in one comment must not make all keys unusable
            return json.loads(body)
        except (ValueError, RecursionError):
            raise IdentityServiceError(f"the list is not JSON: {error}") from None


def _entry(item: Any, types: Collection[str]) -> Entry | str:
    """Returns the entry, or the reason to leave it out."""
    try:
        data = _Entry.model_validate(item)
        key = public_key.parse(data.authorized_key, types)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'entry'}: {first['type']}"
    except InvalidKeyError as error:
        return f"authorized_key: {error}"
    if not data.user.isprintable():
        return "user: control characters"
    if data.binding not in _KNOWN_BINDINGS:
        return "binding: unknown to this version"
    if data.verify_required and not key.is_security_key:
        return "verify_required: the key is no security key"
    knows_challenges = "challenge" in data.model_fields_set
    return Entry(
        user=data.user,
        key=key,
        pending=data.challenge is not None or not knows_challenges,
        challenge=data.challenge,
        expires_at=data.expires_at,
        binding=data.binding,
        verify_required=data.verify_required,
        context=data.context.value if data.context else None,
    )


@dataclass(frozen=True)
class Grant:
    """The permission of a key: to pass its user's pending challenges, or to learn that there is none."""

    user: str
    key: PublicKey
    pending: bool
    challenge: str | None
    """The one challenge that the key may pass. None: there is none, the code chooses one of several, or the server has
    no challenges."""
    needs_code: bool
    expires_at: datetime | None
    verify_required: bool
    knows_challenges: bool
    context: Context | None = None
    """The context of the one pending challenge that names the user."""


AMBIGUOUS = "ambiguous"
"""Several users with the same key have pending challenges: the key opens nothing for any of them."""
EXPIRED = "expired"
"""The server says "pending", but the time is over by this host's clock: one of the clocks is wrong."""
CODELESS = "codeless"
"""Several challenges are pending, and no code would choose one of them."""


def decide(entries: tuple[Entry, ...], now: datetime) -> Grant | str | None:
    """Returns what the key of all `entries` may do, or why it opens nothing; None: the key is unknown."""
    if not entries:
        return None
    pending = [entry for entry in entries if entry.pending]
    if len({entry.user for entry in pending}) > 1:
        return AMBIGUOUS
    current = [entry for entry in pending if entry.expires_at is None or entry.expires_at > now.astimezone(UTC)]
    if pending and not current:
        return EXPIRED
    chosen = current or entries
    # A challenge that names no user may be a stranger's, so it must not change what happens to a challenge of the user.
    named = [entry for entry in current if not entry.is_anonymous]
    # the same challenge may be listed twice, harmlessly
    challenges = {entry.challenge for entry in named}
    if len(challenges) > 1 and any(entry.binding == "none" for entry in named):
        return CODELESS
    one = len(challenges) == 1
    ends = [entry.expires_at for entry in current if entry.expires_at is not None]
    first = chosen[0]
    return Grant(
        user=first.user,
        key=first.key,
        pending=bool(current),
        challenge=named[0].challenge if one and named == current else None,
        # no code is needed at first if one of them gives its code here
        needs_code=bool(current) and all(entry.needs_code for entry in current),
        expires_at=max(ends, default=None),
        # a login that needs no verification must not wait for it because another login does
        verify_required=bool(named) and all(entry.verify_required for entry in named),
        knows_challenges=any(entry.knows_challenges for entry in chosen) or not current,
        context=named[0].context if one else None,
    )
