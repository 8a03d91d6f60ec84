"""Describes `host_login.create` in config.json: which names may get an account, and what the account is like."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sshaft.addresses import is_loopback
from sshaft.config import Pattern, Period, Text
from sshaft_agent.host_login.claims import ClaimName
from sshaft_agent.host_login.first_login import free

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")
"""The module libnss_sshaft asks for no other names."""
_ACCOUNT_OF_SSHD = "sshd"
"""sshd looks its own account up too, and would run its unprivileged part as the person of that name."""
_MAX_RESERVATIONS = 4096
_ACCOUNT_LINE = re.compile(r"^[ \t]*account[ \t][^#\n]*\bpam_sshaft\.so\b([^#\n]*)", re.MULTILINE | re.IGNORECASE)
_EMAIL_ADDRESS = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")
_BREAK_GLASS = re.compile(r"\bbreak_glass=([^\s\]]+)")


def _path_in_passwd(value: str) -> str:
    """Refuses what cannot stand in /etc/passwd."""
    if not value.startswith("/") or ":" in value or not value.isascii() or not value.isprintable():
        raise ValueError("must be an absolute path of printable ASCII without a colon")
    return value


PathInPasswd = Annotated[str, Field(max_length=200), AfterValidator(_path_in_passwd)]


class UidOfClaim(BaseModel):
    """The provider says the uid. It is the same on every host."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    claim: ClaimName
    """The claim with the uid."""


class UidOfFile(BaseModel):
    """A JSON file has the uid of each name: `{"alice": 20001}`. It is the same on every host that has the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: Path
    """The file with the uids."""


def _email_address(value: str) -> str:
    """Refuses what is not one plain address: it stands in the header and in the envelope of an e-mail."""
    if not _EMAIL_ADDRESS.fullmatch(value):
        raise ValueError("is no e-mail address")
    return value


_EmailAddress = Annotated[str, Field(max_length=254), AfterValidator(_email_address)]


class NotifySettings(BaseModel):
    """How an operator hears of a request: a command, or an e-mail by SMTP."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    command: Annotated[tuple[Text, ...], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="a program and its arguments; the facts are JSON on its standard input"
    )
    email: _EmailAddress | None = Field(default=None, description="the address that gets the e-mail")
    sender: _EmailAddress | None = Field(default=None, description="its sender; without it, `email` itself")
    smtp_host: Text = Field(default="127.0.0.1", description="the mail server; STARTTLS unless it is on this host")
    smtp_port: Annotated[int, Field(ge=1, le=65535)] = 25
    """The port of the mail server."""
    ca_file: Path | None = Field(default=None, description="PEM bundle to trust instead of the public authorities")

    @property
    def is_local(self) -> bool:
        """Whether nobody but this host can read or change what goes to the mail server."""
        return is_loopback(self.smtp_host)

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if (self.command is None) == (self.email is None):
            raise ValueError("needs either command or email")
        if self.command is not None and not self.command[0].startswith("/"):
            raise ValueError("command must begin with an absolute path")
        if self.command is not None and self.model_fields_set != {"command"}:
            raise ValueError("the other members belong to email, not to command")
        return self


class CreateSettings(BaseModel):
    """Accounts for names that the host does not know. `{}` is enough."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    names: Pattern = Field(
        default=r"[a-z][a-z0-9_-]{0,31}", description="a regular expression for the whole name of a new account"
    )
    uid_first: int = Field(default=70000, description="the first uid for new accounts")
    uid_last: int = Field(default=99999, description="the last uid for new accounts")
    uid: Literal["range"] | UidOfClaim | UidOfFile = Field(
        default="range", description='the uid of a new account: "range", {"claim": NAME} or {"file": PATH}'
    )
    home: PathInPasswd = Field(default="/home/{user}", description="{user} stands for the name")
    shell: PathInPasswd = "/bin/bash"
    """The shell of a new account."""
    temporary: Period | None = Field(
        default=None, description="an account expires so long after its first login, such as 30d; without it: never"
    )
    lock_after: Period | None = Field(
        default=None, description="an account that nobody logs in to for so long, such as 90d, is locked"
    )
    reservations: Annotated[int, Field(ge=1, le=_MAX_RESERVATIONS)] = Field(
        default=_MAX_RESERVATIONS, description="uids that wait for an approval"
    )
    reservation_seconds: Annotated[int, Field(ge=60, le=86400)] = Field(
        default=600, description="a uid waits this long; longer than LoginGraceTime of sshd"
    )
    reservations_per_source: Annotated[int, Field(ge=1, le=_MAX_RESERVATIONS)] = Field(
        default=10, description="uids that wait for names from one address (IPv6: network of 64 bits)"
    )
    approve: bool = Field(default=False, description="true: an operator approves each account before it is made")
    notify: NotifySettings | None = Field(default=None, description="how an operator hears of a request")
    requests: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1000, description="people that wait for an operator, or were denied"
    )
    request_lifetime: Period = Field(
        default=timedelta(days=30), description="a request ends after this time, also if it was denied"
    )
    socket: Path = Field(default=Path("/run/sshaft-accounts.sock"), description="where sshaft-accounts listens")
    pam_file: Path = Field(
        default=Path("/etc/pam.d/sshd"),
        description="sshd's PAM stack. Without a line of pam_sshaft in its account phase no uid is reserved",
    )

    def unguarded(self) -> set[str] | None:
        """Returns the names of `break_glass`, for which PAM's account phase does not ask us. None: it asks for nobody.

        A certificate would open such a name without an approval.
        """
        try:
            text = self.pam_file.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
        except OSError:
            return None
        lines = _ACCOUNT_LINE.findall(text)
        names = (name for line in lines for found in _BREAK_GLASS.findall(line) for name in found.split(","))
        return set(names) if lines else None

    def fits(self, name: str) -> bool:
        """Whether a new account may have this name."""
        is_name = _NAME.fullmatch(name) and not name.endswith(".") and name != _ACCOUNT_OF_SSHD
        return bool(is_name and re.fullmatch(self.names, name, re.ASCII))

    def home_of(self, name: str) -> str:
        return self.home.replace("{user}", name)

    @model_validator(mode="after")
    def _range_is_of_people(self) -> "CreateSettings":
        if self.uid_first > self.uid_last:
            raise ValueError("uid_first is above uid_last")
        if (system := free.overlap(self.uid_first, self.uid_last)) is not None:
            raise ValueError(f"uid_first and uid_last enclose uids of the system: {system.start} to {system.stop - 1}")
        return self

    @model_validator(mode="after")
    def _notifies_of_requests(self) -> "CreateSettings":
        if self.notify is not None and not self.approve:
            raise ValueError("notify needs approve: true")
        return self

    @model_validator(mode="after")
    def _homes_differ(self) -> "CreateSettings":
        if "{user}" not in self.home:
            raise ValueError("home has no {user}: all accounts would share one folder")
        return self
