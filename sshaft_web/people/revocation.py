"""Asks the provider whether it has revoked an access token that comes without a refresh token.

With a refresh token, the next renewal shows it.
"""

import math
from collections.abc import Callable

from sshaft.deadline import Deadline
from sshaft.oauth.access_token import usable_until
from sshaft_oidc.provider import Tokens
from sshaft_oidc.remote_keys import OpenIdError
from sshaft_oidc.token_status import QUESTIONS, Question
from sshaft_web.people.provider import WebProvider

_SECONDS = 10.0


class RevocationCheck:
    """The check of one access token. `clock` is in seconds, and never goes back.

    A question counts only after the provider has answered it with yes. Providers say no to good tokens, too: at
    UserInfo to tokens for another audience, and at introspection to clients that may not ask.
    """

    def __init__(self, provider: WebProvider, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._provider = provider
        self._token = tokens.access_token or ""
        self._clock = clock
        self._questions: tuple[Question, ...] = () if tokens.refresh_token or not tokens.access_token else QUESTIONS
        self.is_new = bool(self._questions)
        """Whether the provider has not been asked yet. The first answer is wanted while the token is surely good."""
        self._next = clock()
        # A token that has ended by itself is not active either, and that is no reason to end a terminal.
        self._until = math.inf if tokens.expires_in is None else usable_until(clock(), tokens.expires_in)

    @property
    def is_due(self) -> bool:
        return bool(self._questions) and self._next <= self._clock() < self._until

    async def is_revoked(self) -> bool:
        """Whether the provider says that the token, which was good before, is not.

        Raises `OpenIdError` for an answer that proves nothing, and `RemoteServiceError` for a provider that gives none.
        """
        self._next = self._clock() + self._provider.revocation_seconds
        if self.is_new:
            await self._choose()
            return False
        return not await self._is_good(self._questions[0])

    async def _choose(self) -> None:
        """Keeps the question that the provider answers with yes, or none. After an outage, the next call chooses."""
        for question in self._questions:
            try:
                if await self._is_good(question):
                    self._questions = (question,)
                    break
            except OpenIdError:
                continue
        else:
            self._questions = ()
        self.is_new = False

    async def _is_good(self, question: Question) -> bool:
        return await self._provider.ask(lambda client: question(client, self._token, Deadline.after(_SECONDS)))
