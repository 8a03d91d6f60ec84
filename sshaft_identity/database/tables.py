"""The tables as the code uses them; `migrations` makes them. Times are integers: microseconds since 1970, UTC."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """An aware datetime here, an integer there: the same order and no time zones on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        del dialect
        return None if value is None else _EPOCH + value * _MICROSECOND


metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("name", String(64), primary_key=True),
    # who signed in by the organisation's OpenID Provider under this name first: nobody else may, ever
    Column("oidc_issuer", Text),
    Column("oidc_subject", Text),
    Column("created_at", UtcTime, nullable=False),
    Index("uq_users_oidc", "oidc_issuer", "oidc_subject", unique=True),  # nor may one person be two users
)

ssh_keys = Table(
    "ssh_keys",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # one key, one owner
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("type", String(64), nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),  # the comment of the file it came from, or what its owner calls it
    Column("source", String(16), nullable=False),  # how it came in: operator, import, ssh, signature
    Column("attested", Text),  # what the verified attestation of an sk- key says of the device; none: not verified
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("last_used_from", Text),
)

clients = Table(
    "clients",
    metadata,
    Column("client_id", String(64), primary_key=True),
    # SHA-256 is enough: the secret is 256 generated bits, never a person's word, so there is nothing to guess slowly.
    Column("secret_hash", String(64), nullable=False),
    Column("previous_secret_hash", String(64)),  # good until then: a rotation must not stop the agents
    Column("previous_secret_until", UtcTime),
    Column("allows_unbound", Boolean, nullable=False, default=False),  # may open challenges with binding `none`
    Column("return_urls", Text, nullable=False, default=""),  # where its challenges may lead back to, parted by blanks
    Column("networks", Text, nullable=False, default=""),  # where it may call from, parted by blanks; empty: anywhere
    Column("faces", Text, nullable=False, default="{}"),  # JSON: a member for each face it may use, with its options
    Column("jwks", Text),  # JSON Web Key Set of a client that has keys in place of a secret
    Column("pairwise_sector", Text),  # OpenID Connect Core 1.0 §8.1; null: the client gets user names
    Column("scope", Text, nullable=False),  # RFC 6749 §3.3: parted by blanks
    Column("created_at", UtcTime, nullable=False),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("client_id", String(64), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("scope", Text, nullable=False),
    Column("user_name", String(64)),  # whom it speaks of, where a login ended with it
    Column("login", String(32), index=True),  # and which: its challenge
    Column("expires_at", UtcTime, nullable=False, index=True),
)

face_requests = Table(  # a challenge as the face that opened it knows it
    "face_requests",
    metadata,
    Column("id", String(32), primary_key=True),  # its challenge
    Column("face", String(16), nullable=False),
    Column("client_id", String(64), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("details", Text, nullable=False),  # JSON, what the face has to remember
    Column("handle_hash", String(64), unique=True),  # what the client comes back with: a code, a request's id
    Column("handle_until", UtcTime),
    Column("used_at", UtcTime),  # when the handle was taken, once
    Column("polled_at", UtcTime),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

pings = Table(  # clients that are to be told when a login has ended
    "pings",
    metadata,
    Column("id", String(32), primary_key=True),  # its challenge
    Column("client_id", String(64), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),  # what the client is told and by which token, encrypted
    Column("tries", Integer, nullable=False),
    Column("next_at", UtcTime, nullable=False, index=True),  # not before
)

entra_accounts = Table(  # whose account at Entra is whose here, from the first login on
    "entra_accounts",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("object_id", String(64), primary_key=True),
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UtcTime, nullable=False),
)

used_values = Table(  # what may come once only: ids of assertions and hints, until they are over
    "used_values",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

challenges = Table(
    "challenges",
    metadata,
    Column("id", String(32), primary_key=True),
    # No foreign key: an unknown user is answered like a known one. Null until accepted where none was named.
    Column("user_name", String(64)),
    Column("client_id", String(64)),  # none either: what a removed client opened stays on record
    Column("binding", String(16), nullable=False),
    Column("verify_required", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("attempt", String(64)),
    Column("code_hmac", String(64), nullable=False),
    Column("code_index", String(64)),  # finds a challenge by its code alone; only where no user was named
    Column("page_hash", String(64), nullable=False, unique=True),
    Column("app", Text),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("return_url", Text),
    Column("created_at", UtcTime, nullable=False, index=True),
    Column("expires_at", UtcTime, nullable=False),
    Column("shown_at", UtcTime),  # when its page was first looked at
    Column("presented_at", UtcTime),  # `code_back`: when ssh was given the code
    Column("accepted_at", UtcTime),
    Column("fingerprint", String(64)),
    Column("key_type", String(64)),
    Column("client_ip", Text),
    Column("verified", Boolean, nullable=False),  # the line had `verify-required`, so sshd made sure
    Index("ix_challenges_user_name_state_expires_at", "user_name", "state", "expires_at"),
)

_pending = challenges.c.state == "pending"
# Nothing pending is accepted, and only what asks after all that is pending says so. A question after one user must not
# fit these indexes: where its statistics are old PostgreSQL takes next to nothing to be pending, and reads it all.
_unsettled = and_(_pending, challenges.c.accepted_at.is_(None))
_of_user = and_(_unsettled, challenges.c.user_name.is_not(None))
_anonymous = and_(_pending, challenges.c.code_index.is_not(None))
_tried = challenges.c.attempt.is_not(None)
# One pending challenge for a user and client, whatever many processes do at once. Null is equal to nothing.
Index(
    "uq_challenges_pending",
    challenges.c.user_name,
    challenges.c.client_id,
    unique=True,
    sqlite_where=_of_user,
    postgresql_where=_of_user,
)
Index(
    "uq_challenges_code_index",
    challenges.c.code_index,
    unique=True,
    sqlite_where=_anonymous,
    postgresql_where=_anonymous,
)
Index(
    "ix_challenges_unsettled",
    challenges.c.state,  # the same in every row, but SQLite begins with what is searched for by "="
    challenges.c.expires_at,
    sqlite_where=_unsettled,
    postgresql_where=_unsettled,
)
Index(
    "ix_challenges_attempt",
    challenges.c.user_name,
    challenges.c.attempt,
    sqlite_where=_tried,
    postgresql_where=_tried,
)

failures = Table(  # how often somebody was wrong lately, see `limits`
    "failures",
    metadata,
    Column("scope", String(16), primary_key=True),
    Column("subject", String(128), primary_key=True),
    Column("times", Integer, nullable=False),
    Column("ends_at", UtcTime, nullable=False, index=True),
)

enrolments = Table(
    "enrolments",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("code_index", String(64), nullable=False),
    Column("page_hash", String(64), nullable=False, unique=True),
    Column("invited_by", String(64)),  # the client, or null: the operator or the person
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("presented_at", UtcTime),  # the key that came with the code, until it is confirmed
    Column("fingerprint", String(64)),
    Column("type", String(64)),
    Column("blob", LargeBinary),
    Column("name", Text),
    Column("source", String(16)),  # how possession was proven: ssh, signature
    Column("client_ip", Text),
    Index("ix_enrolments_state_expires_at", "state", "expires_at"),
)
_open = enrolments.c.state == "open"
Index("uq_enrolments_code_index", enrolments.c.code_index, unique=True, sqlite_where=_open, postgresql_where=_open)

sessions = Table(  # browsers on "my keys"
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("method", String(16), nullable=False),  # ssh, oidc
    Column("authenticated_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

audit_events = Table(  # append-only; `audit` writes and seals it
    "audit_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False, index=True),
    Column("event", String(48), nullable=False),
    Column("user_name", String(64)),
    Column("facts", Text, nullable=False),  # JSON
    Column("seq", BigInteger, unique=True),  # the place in the chain; null: not sealed yet
    Column("hash", String(64)),
    Index("ix_audit_events_user_name_at", "user_name", "at"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("algorithm", String(16), nullable=False),
    Column("public_jwk", Text, nullable=False),
    Column("sealed_private", LargeBinary, nullable=False),  # encrypted with a key that is made from hmac.key
    Column("created_at", UtcTime, nullable=False),
    Column("signs_from", UtcTime, nullable=False),
    Column("retires_at", UtcTime),
)
