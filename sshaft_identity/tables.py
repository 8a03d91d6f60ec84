"""The tables as the code uses them; `migrations` makes them. Times are integers: microseconds since 1970, UTC."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text
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
    Column("created_at", UtcTime, nullable=False),
)

ssh_keys = Table(
    "ssh_keys",
    metadata,
    Column("fingerprint", String(64), primary_key=True),  # one key, one owner
    Column("user_name", String(64), ForeignKey("users.name", ondelete="CASCADE"), nullable=False, index=True),
    Column("type", String(64), nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),  # the comment of the file it came from
    Column("created_at", UtcTime, nullable=False),
)

clients = Table(
    "clients",
    metadata,
    Column("client_id", String(64), primary_key=True),
    # SHA-256 is enough: the secret is 256 generated bits, never a person's word, so there is nothing to guess slowly.
    Column("secret_hash", String(64), nullable=False),
    Column("scope", Text, nullable=False),  # RFC 6749 §3.3: parted by blanks
    Column("created_at", UtcTime, nullable=False),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("client_id", String(64), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("scope", Text, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

challenges = Table(
    "challenges",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_name", String(64), nullable=False),  # no foreign key: an unknown user is answered like a known one
    Column("client_id", String(64)),  # none either: what a removed client opened stays on record
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("attempt", String(64)),
    Column("code_hmac", String(64), nullable=False),
    Column("page_hash", String(64), nullable=False, unique=True),
    Column("app", Text),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("created_at", UtcTime, nullable=False, index=True),
    Column("expires_at", UtcTime, nullable=False),
    Column("accepted_at", UtcTime),
    Column("fingerprint", String(64)),
    Column("key_type", String(64)),
    Column("client_ip", Text),
    Index("ix_challenges_user_name_state", "user_name", "state"),
    Index("ix_challenges_state_expires_at", "state", "expires_at"),
)
