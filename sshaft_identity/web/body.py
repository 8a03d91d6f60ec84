"""Reads the body of a request, up to a limit."""

from starlette.requests import Request

from sshaft_identity.web.problem import ProblemError

MAX_BODY = 64 * 1024
_MAX_DRAINED = 1024 * 1024


async def body_of(request: Request, most: int = MAX_BODY) -> bytes:
    """Returns the whole body. Raises `ProblemError` if it is larger than `most` bytes.
    Up to `_MAX_DRAINED` further bytes of a larger body are read: a peer that still sends would not read the answer.
    """
    kept, total = bytearray(), 0
    async for chunk in request.stream():
        total += len(chunk)
        if total <= most:
            kept += chunk
        elif total > most + _MAX_DRAINED:
            break
    if total > most:
        raise ProblemError("too_large")
    return bytes(kept)
