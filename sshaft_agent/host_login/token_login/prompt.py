"""Asks for an access token where other programs ask for a password."""

from sshaft_agent.host_login import texts
from sshaft_agent.host_login.conversation import Conversation
from sshaft_agent.host_login.realm import RefusedError
from sshaft_oidc.access_tokens import LONGEST

PROMPT = "Access Token:"
"""Clients look for exactly this: on the first line, as its end, without a blank."""
PROMPT_OR_ENTER = f"Press Enter to log in with your browser, or paste an {PROMPT}"
PART_ENDS_WITH = "\\"
"""The end of a part that is not the last one. No token has this sign (RFC 6750 §2.1)."""
_MOST_PARTS = 16


async def ask(conversation: Conversation, *, or_enter: bool) -> str:
    """Returns the token, or an empty text if the person pressed Enter. Raises `RefusedError` if it does not end.

    ssh cuts an answer at 1,023 bytes. So a client may send a longer token in parts, one for each prompt.
    """
    text, token = PROMPT_OR_ENTER if or_enter else PROMPT, ""
    for _ in range(_MOST_PARTS):
        part = (await conversation.prompt(text, echo=False)).strip()
        conversation.is_with_program = conversation.is_with_program or bool(part)
        token += part.removesuffix(PART_ENDS_WITH)
        if not part.endswith(PART_ENDS_WITH):
            return token
        if len(token) > LONGEST:
            break
        text = PROMPT
    raise RefusedError("the token is too long, or has too many parts", texts.TOKEN_TOO_LONG)
