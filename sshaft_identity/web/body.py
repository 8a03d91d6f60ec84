"""Reads the body of a request, up to a limit."""

from starlette.requests import Request

from sshaft_identity.web.problem import ProblemError

_MAX_BODY = 64 * 1024
_MAX_DRAINED = 1024 * 1024


async def body_of(request: Request) -> bytes:
    """Returns the whole body. Raises `ProblemError` if it is larger than `_MAX_BODY`.
    Up to `_MAX_DRAINED` bytes of a body that is too large are read: a peer that still sends would not read the answer.
    """
    kept, total = bytearray(), 0
    async for chunk in request.stream():
        total += len(chunk)
        if total <= _MAX_BODY:
            kept += chunk
        elif total > _MAX_DRAINED:
            break
    if total > _MAX_BODY:
        raise ProblemError("too_large")
    return bytes(kept)
