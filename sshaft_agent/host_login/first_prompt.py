"""Keeps programs that guess passwords from the services of a login: a person presses Enter first."""

from sshaft_agent.host_login.conversation import Conversation
from sshaft_agent.host_login.realm import RefusedError
from sshaft_agent.host_login.texts import Messages

_MAX_PROMPTS = 3


async def ask_first(conversation: Conversation, messages: Messages) -> None:
    """Waits for a person: a program that guesses passwords never answers, or answers with a password.

    Raises `RefusedError`.
    """
    for _ in range(_MAX_PROMPTS):
        if not await conversation.prompt("\n" + messages.prompt_first):
            return
    raise RefusedError("something else than Enter was typed at the first prompt")
