"""One root for everything that is broken. A refusal ("no") is a value, never one of these."""

from sshaft import exit_status


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


class IdentityServiceError(SshaftError):
    """The identity service gave no usable answer."""

    code = "identity_unavailable"
    exit_status = exit_status.UNAVAILABLE


class ReachError(IdentityServiceError):
    """No usable answer now (down, slow, 5xx): trying again may help. `unsent`: the request was not acted on."""

    def __init__(self, message: str, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.unsent = unsent


class InvalidKeyError(ValueError):
    """A text that is no acceptable public key. Says why, without repeating the text."""
