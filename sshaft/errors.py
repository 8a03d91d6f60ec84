"""One root for everything that is broken. A refusal ("no") is a value, never one of these."""

from sshaft import exit_status

IDENTITY = "identity"
"""The peer of the identity API."""


class SshaftError(Exception):
    """Broken: what, where and what to do next in one sentence, a stable `code`, and an exit status.

    `code` is the protocol's own word where there is one. The sentence may reach an operator; the person at the
    terminal gets a calmer one from `sshaft_login`.
    """

    code = "internal"
    exit_status = exit_status.SOFTWARE

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigurationError(SshaftError):
    """The configuration or the host is not as it must be; nothing was started."""

    code = "configuration"
    exit_status = exit_status.CONFIGURATION


class RemoteServiceError(SshaftError):
    """Another service gave no usable answer. `peer` names the service; the code is `PEER_unavailable`."""

    exit_status = exit_status.UNAVAILABLE

    def __init__(self, message: str, peer: str) -> None:
        super().__init__(message, code=f"{peer}_unavailable")
        self.peer = peer


class IdentityServiceError(RemoteServiceError):
    """The identity API gave an answer that cannot be used; another try would not help."""

    def __init__(self, message: str) -> None:
        super().__init__(message, IDENTITY)


class ReachError(RemoteServiceError):
    """There is no usable answer now (down, slow, 5xx): another try may help.

    `unsent`: the service has not acted on the request.
    """

    def __init__(self, message: str, *, peer: str = IDENTITY, unsent: bool = False) -> None:
        super().__init__(message, peer)
        self.unsent = unsent


class InvalidKeyError(ValueError):
    """A text that is no acceptable public key. Says why, without repeating the text."""
