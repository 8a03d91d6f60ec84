"""Gives each login a place among those that wait, or refuses it: a source has only so many."""

from collections.abc import Iterator
from contextlib import contextmanager

from sshaft.addresses import source_of
from sshaft.text import printable
from sshaft_agent.host_login import texts
from sshaft_agent.host_login.conversation import LoginQuestion
from sshaft_agent.host_login.realm import RefusedError
from sshaft_agent.host_login.settings import HostSettings
from sshaft_agent.host_login.waiting import TooManyError, Waiting

_BEGUN_FOR_EACH_PLACE = 10
"""Logins of one address in a minute, for each one that may wait. People need more than six seconds for an approval."""
_PROMPTS_OF_A_SOURCE = 100
"""Logins of one address that wait for a token. A program answers at once, and many people may share an address."""


@contextmanager
def for_token(waiting: Waiting, question: LoginQuestion) -> Iterator[None]:
    """Counts a login that waits for a token. Raises `RefusedError` if too many wait from its source."""
    source = source_of(question.client_ip)
    try:
        with waiting.place({f"token of {source}": _PROMPTS_OF_A_SOURCE}):
            yield
    except TooManyError as error:
        raise RefusedError(printable(str(error)), texts.TOO_MANY) from None


@contextmanager
def for_page(waiting: Waiting, question: LoginQuestion, settings: HostSettings) -> Iterator[None]:
    """Counts a login that waits. Raises `RefusedError` if too many wait from its source, or have begun there.

    The provider makes a code for each login, also for those that a stranger begins and leaves at once. Nothing is
    counted for a name alone: a stranger elsewhere could then keep its owner out.
    """
    source = source_of(question.client_ip)
    limits = {
        f"user {question.user} from {source}": settings.pending_per_user,
        f"source {source}": settings.pending_per_source,
    }
    try:
        with waiting.place(limits):
            most = _BEGUN_FOR_EACH_PLACE * settings.pending_per_source
            if not waiting.may_begin(source, most):
                raise RefusedError(f"{most} logins have begun in this minute: {printable(source)}", texts.TOO_OFTEN)
            yield
    except TooManyError as error:
        raise RefusedError(printable(str(error)), texts.TOO_MANY) from None
