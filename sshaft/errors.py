"""Defines the failures of all programs, with one root. A refusal ("no") is a value and never one of these."""

from sshaft import exit_status

IDENTITY = "identity"


class SshaftError(Exception):
    """A failure. Its text says in one sentence what failed, where, and what to do next.

    `code` is stable, and the protocol's own word if there is one. The text is for the operator: the person at the
    terminal gets a calmer sentence from `sshaft_login`.
    """

    code = "internal"
    exit_status = exit_status.SOFTWARE

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigurationError(SshaftError):
    """The configuration or the host is wrong, and the program has not started."""

    code = "configuration"
    exit_status = exit_status.CONFIGURATION


class ListenError(SshaftError):
    """The program cannot listen on the address."""

    code = "listen"
    exit_status = exit_status.UNAVAILABLE


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
    """The text is not an acceptable public key. The message says why, without any of the text."""
