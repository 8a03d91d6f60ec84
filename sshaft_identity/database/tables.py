"""Describes the tables for the code; `migrations` makes them. Times are integers: microseconds since 1970, UTC."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
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
    """Stores a datetime with a time zone as an integer: it sorts alike and has no time zone on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        del dialect
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        del dialect
        return None if value is None else _EPOCH + value * _MICROSECOND


def _folded_name(context: Any) -> str:
    """Returns the name of the new user in lower case."""
    return str(context.get_current_parameters()["name"]).lower()


_FOLDED = String(64).with_variant(String(64, collation="C"), "postgresql")

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("name", String(64), primary_key=True),
    # A name can be given to another person later, an id never.
    Column("id", String(64), nullable=False, default=lambda: secrets.token_hex(16)),
    # Null: at revision 0003 there was an older user whose name differed in case only. New users never have null.
    # Sorted by characters and not as a locale would, so that its index finds the names with a beginning.
    Column("folded_name", _FOLDED, default=_folded_name),
    # the first person who signed in under this name by the organisation's OpenID Provider: no other person ever may
    Column("oidc_issuer", Text),
    Column("oidc_subject", Text),
    Column("created_at", UtcTime, nullable=False),
    Index("uq_users_oidc", "oidc_issuer", "oidc_subject", unique=True),  # one person is one user
    Index("uq_users_id", "id", unique=True),
    Index("uq_users_folded_name", "folded_name", unique=True),  # names that differ in case only are confusable
)


ssh_keys = Table(
    "ssh_keys",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # one key has one owner
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("type", String(64), nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),  # the comment of the key file, or a name by the owner
    Column("source", String(16), nullable=False),  # how the key was registered: operator, import, ssh, signature
    Column("attested", Text),  # the device, by the verified attestation of an sk- key; null: not verified
    Column("added_with", String(64)),  # the fingerprint of the owner's key that approved this key; null: no key did
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("last_used_from", Text),
)

clients = Table(
    "clients",
    metadata,
    Column("client_id", String(64), primary_key=True),
    # SHA-256 is enough: the secret is 256 generated bits, so nobody can guess it.
    Column("secret_hash", String(64), nullable=False),
    Column("previous_secret_hash", String(64)),  # valid for a while after a rotation, for the agents
    Column("previous_secret_until", UtcTime),
    Column("allows_unbound", Boolean, nullable=False, default=False),  # allowed to open challenges of binding `none`
    Column("return_urls", Text, nullable=False, default=""),  # allowed beginnings of `return_url`, separated by blanks
    Column("networks", Text, nullable=False, default=""),  # allowed sources, separated by blanks; empty: anywhere
    Column("faces", Text, nullable=False, default="{}"),  # JSON: the options of each face that it may use
    Column("jwks", Text),  # RFC 7517 §5: the public keys of a client that has no secret
    Column("pairwise_sector", Text),  # OpenID Connect Core 1.0 §8.1; null: the client gets user names
    Column("scope", Text, nullable=False),  # RFC 6749 §3.3: separated by blanks
    Column("created_at", UtcTime, nullable=False),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("client_id", String(64), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("scope", Text, nullable=False),
    Column("user_name", String(64)),  # the person that it speaks of, if a login ended with it
    Column("login", String(32), index=True),  # the challenge of that login
    Column("expires_at", UtcTime, nullable=False, index=True),
)

face_requests = Table(  # the data that a face keeps for a challenge that it opened
    "face_requests",
    metadata,
    Column("id", String(32), primary_key=True),  # the id of the challenge
    Column("face", String(16), nullable=False),
    Column("client_id", String(64), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("details", Text, nullable=False),  # JSON, known to the face
    Column("handle_hash", String(64), unique=True),  # the client's next request brings the handle
    Column("handle_until", UtcTime),
    Column("used_at", UtcTime),  # when the handle was used, once
    Column("polled_at", UtcTime),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

pings = Table(  # notifications that clients get when a login has ended
    "pings",
    metadata,
    Column("id", String(32), primary_key=True),  # the id of the challenge
    Column("client_id", String(64), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),  # the notification and its token, encrypted
    Column("tries", Integer, nullable=False),
    Column("next_at", UtcTime, nullable=False, index=True),  # the next try is not before
)

entra_accounts = Table(  # which account at Entra is which user, from the first login on
    "entra_accounts",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("object_id", String(64), primary_key=True),
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UtcTime, nullable=False),
)

used_values = Table(  # values that may come once only: ids of assertions and hints, until they expire
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
    # Not a foreign key: an unknown user gets the same answer as a known one. Null until accepted if none was named.
    Column("user_name", String(64)),
    Column("hint", String(64)),  # the user that a stranger named: only this user may pass it
    Column("client_id", String(64)),  # not a foreign key: the challenges of a removed client stay
    Column("binding", String(16), nullable=False),
    Column("verify_required", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("attempt", String(64)),
    Column("code_hmac", String(64), nullable=False),
    Column("code_index", String(64)),  # finds a challenge by its code alone; only if no user was named
    Column("page_hash", String(64), nullable=False, unique=True),
    Column("app", Text),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("return_url", Text),
    Column("created_at", UtcTime, nullable=False, index=True),
    Column("expires_at", UtcTime, nullable=False),
    Column("shown_at", UtcTime),  # when its page was first shown
    Column("presented_at", UtcTime),  # `code_back`: when ssh showed the code
    Column("accepted_at", UtcTime),
    Column("fingerprint", String(64)),
    Column("key_type", String(64)),
    Column("client_ip", Text),
    Column("verified", Boolean, nullable=False),  # the key line had `verify-required`, so sshd checked it
    Index("ix_challenges_user_name_state_expires_at", "user_name", "state", "expires_at"),
)

_pending = challenges.c.state == "pending"
# The second condition is always true for a pending challenge. Only queries over all users have it, and so use these
# indexes. A query for one user must not use them: with old statistics PostgreSQL expects few pending challenges, and
# then reads them all.
_unsettled = and_(_pending, challenges.c.accepted_at.is_(None))
_anonymous = and_(_pending, challenges.c.code_index.is_not(None))
_hinted = and_(_pending, challenges.c.hint.is_not(None))
_tried = challenges.c.attempt.is_not(None)
_has_code = challenges.c.code_index.is_not(None)
Index("ix_challenges_code_index", challenges.c.code_index, sqlite_where=_has_code, postgresql_where=_has_code)
Index("ix_challenges_hint", challenges.c.hint, sqlite_where=_hinted, postgresql_where=_hinted)
Index(
    "uq_challenges_code_index",
    challenges.c.code_index,
    unique=True,
    sqlite_where=_anonymous,
    postgresql_where=_anonymous,
)
Index(
    "ix_challenges_unsettled",
    challenges.c.state,  # the same in every row, but SQLite needs a column with "=" first
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

approvals = Table(  # SSH logins at hosts that wait until their person approves them on our page
    "approvals",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("client_id", String(64), nullable=False),  # not a foreign key: the approvals of a removed client stay
    Column("host", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("account", Text, nullable=False),  # the name at the host
    # Who may approve. Not a foreign key: an unknown user gets the same answer as a known one.
    Column("user_name", String(64), nullable=False),
    Column("subject_id", Text),  # the id of the only user who may approve; null: the name decides
    Column("client_ip", Text),
    Column("source", Text, nullable=False),  # the source of `client_ip`, which is counted
    Column("key_fingerprint", String(64)),  # the key that ssh has used before, as the host says
    Column("remember_seconds", Integer),  # how long the host will ask for no other approval
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("page_hash", String(64), nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False, index=True),
    Column("expires_at", UtcTime, nullable=False),
    Column("approved_at", UtcTime),  # the columns below hold who approved then, and how they had signed in
    Column("approver_name", String(64)),
    Column("approver_id", String(64)),
    Column("browser_ip", Text),
    Column("authenticated_at", UtcTime),
    Column("amr", Text),  # separated by blanks
    Column("acr", Text),
    Column("session_key", String(64)),  # the fingerprint of the key of a sign-in by ssh
    Column("verified_at", UtcTime),  # when the host brought the digits
    Index("ix_approvals_client_id_created_at", "client_id", "created_at"),
    Index("ix_approvals_state_expires_at", "state", "expires_at"),
    Index("ix_approvals_user_name_created_at", "user_name", "created_at"),
    Index("ix_approvals_approver_name_created_at", "approver_name", "created_at"),
)

failures = Table(  # counts of wrong codes, see `limits`
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
    Column("invited_by", String(64)),  # the client; null: the operator or the person
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("presented_at", UtcTime),  # when a key came with the code; the columns below hold it until it is confirmed
    Column("fingerprint", String(64)),
    Column("type", String(64)),
    Column("blob", LargeBinary),
    Column("name", Text),
    Column("source", String(16)),  # how possession was proven: ssh, signature
    Column("client_ip", Text),
    Column("opened_in", String(16)),  # the method of the session in which the person opened it; null: an invitation
    Column("approval", String(32)),  # the challenge by which an existing key approves the presented key
    Column("attested", Text),  # the device, by the attestation that came before the approval
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
    Column("fingerprint", String(64)),  # the key that began a session by ssh
    Column("issuer", Text),  # the OpenID Provider of a session by oidc
    Column("amr", Text),  # RFC 8176: how the person proved themselves, separated by blanks; null: not known
    Column("acr", Text),
    Column("groups", Text),  # JSON: the groups that the provider named, of those that have a role at the help desk
    Column("passed_at", UtcTime),  # when the person last passed an SSH login for this session
    Column("orders", Integer, nullable=False, server_default="0"),  # given at the help desk since then
    Column("authenticated_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

host_reports = Table(  # the hosts of a client that have reported, see `host_logins`
    "host_reports",
    metadata,
    Column("client_id", String(64), ForeignKey("clients.client_id", ondelete="CASCADE"), primary_key=True),
    Column("host", String(255), primary_key=True),  # the name that the host gives itself
    Column("reported_at", UtcTime, nullable=False, index=True),
)

host_logins = Table(  # open sessions and remembered approvals, as the last report of the host says
    "host_logins",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("client_id", String(64), nullable=False),
    Column("host", String(255), nullable=False),
    Column("kind", String(16), nullable=False),  # session, remembered
    Column("entry", String(64), nullable=False),  # the id that the host gave it
    Column("user_id", String(64), nullable=False),  # not a foreign key: what a removed user left at a host must end
    Column("account", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("source", Text),  # a session: the address of the client; a remembered approval: its network
    Column("fingerprint", String(64)),  # the ssh key that a remembered approval is bound to
    Column("approval", String(64)),  # the approval that proves the person; null: the host says who the person is
    Column("approved_with", String(64)),  # the key by which the person had signed in to approve it
    Column("began_at", UtcTime, nullable=False),
    Column("granted_at", UtcTime, nullable=False),  # a revocation from then on ends the login
    Column("until", UtcTime),
    Column("used_at", UtcTime),
    Column("ended_at", UtcTime),  # the host is told to end it
    ForeignKeyConstraint(["client_id", "host"], ["host_reports.client_id", "host_reports.host"], ondelete="CASCADE"),
    Index("uq_host_logins_entry", "client_id", "host", "kind", "entry", unique=True),
    Index("ix_host_logins_user_id", "user_id"),
)

host_revocations = Table(  # ends what a person has at hosts and was granted before
    "host_revocations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", String(64), nullable=False, index=True),
    Column("fingerprint", String(64)),  # only what needed this key; null: everything
    Column("kind", String(16)),  # only this kind of entry; null: every kind
    Column("at", UtcTime, nullable=False, index=True),
)

audit_events = Table(  # append-only; `audit.log` writes it, and `audit.chain` seals it
    "audit_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False, index=True),
    Column("event", String(48), nullable=False),
    Column("user_name", String(64)),
    Column("user_id", String(64)),  # the user who had the name then; null: nobody, or an event before revision 0003
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
    Column("sealed_private", LargeBinary, nullable=False),  # encrypted with a key derived from hmac.key
    Column("created_at", UtcTime, nullable=False),
    Column("signs_from", UtcTime, nullable=False),
    Column("retires_at", UtcTime),
)
