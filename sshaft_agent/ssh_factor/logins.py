"""Remembers the logins that have brought their ticket, and counts those that wait for a person.

sshd has checked the signature of each: somebody who only offers public keys reaches nothing here.
"""

from collections import Counter
from dataclasses import dataclass

from sshaft.addresses import source_of
from sshaft.listing import Grant

PROMPT_SECONDS = 95.0
"""sshaft-login waits 90 s for a person."""
PROMPTS_PER_KEY = 8
PROMPTS_PER_ADDRESS = 200
UNREGISTERED_PROMPTS_PER_KEY = 2
UNREGISTERED_PROMPTS_PER_ADDRESS = 8
"""Everybody can make keys at no cost. A person who gives the enrolment code with the command needs no prompt."""


@dataclass
class Login:
    """One login. Several sessions of one connection may continue it (`ControlMaster`)."""

    grant: Grant
    expires_at: float
    choices: tuple[str, ...] = ()
    """The challenges among which the person was asked to choose."""
    passed: bool = False
    """No session of this connection may pass again."""


class Logins:
    """The logins by their ticket. Used from one thread; `now` is the monotonic clock."""

    def __init__(self) -> None:
        self._by_ticket: dict[str, Login] = {}

    def __len__(self) -> int:
        return len(self._by_ticket)

    def find(self, ticket: str) -> Login | None:
        return self._by_ticket.get(ticket)

    def add(self, ticket: str, login: Login) -> Login:
        """Remembers a login, unless another session of its connection was faster. Returns the one that stays."""
        return self._by_ticket.setdefault(ticket, login)

    def forget(self, ticket: str) -> None:
        """Lets the next session of this connection look for the newest challenge."""
        self._by_ticket.pop(ticket, None)

    def purge(self, now: float) -> None:
        """Removes the logins whose tickets have expired."""
        self._by_ticket = {ticket: login for ticket, login in self._by_ticket.items() if now < login.expires_at}


@dataclass(frozen=True)
class _Prompt:
    key: str
    address: str
    until: float


class Prompts:
    """The sshaft-login processes that wait for a person, at most `per_key` and `per_address`."""

    def __init__(self, per_key: int = PROMPTS_PER_KEY, per_address: int = PROMPTS_PER_ADDRESS) -> None:
        self._per_key = per_key
        self._per_address = per_address
        self._by_ticket: dict[str, _Prompt] = {}

    def begin(self, ticket: str, fingerprint: str, address: str, now: float) -> bool:
        """Counts a process that will ask its person something. False: too many wait already."""
        self._by_ticket = {name: prompt for name, prompt in self._by_ticket.items() if now < prompt.until}
        address = source_of(address)
        keys = Counter(prompt.key for prompt in self._by_ticket.values())
        addresses = Counter(prompt.address for prompt in self._by_ticket.values())
        if keys[fingerprint] >= self._per_key or addresses[address] >= self._per_address:
            return False
        self._by_ticket[ticket] = _Prompt(fingerprint, address, now + PROMPT_SECONDS)
        return True

    def end(self, ticket: str) -> None:
        """Ends the count of a process: it has its answer."""
        self._by_ticket.pop(ticket, None)
