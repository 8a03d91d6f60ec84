"""Names the files and accounts that set-up works with, as the packages and docs/install-by-hand.md have them."""

import pwd
from dataclasses import dataclass
from pathlib import Path

from sshaft.errors import ConfigurationError

AGENT, IDENTITY = "sshaft", "sshaft-identity"


@dataclass(frozen=True)
class Places:
    """The files that may change. `secret` holds the secret of host login's client."""

    config: Path = Path("/etc/sshaft/config.json")
    secret: Path = Path("/etc/sshaft/client-secret")
    accounts: Path = Path("/etc/sshaft/accounts.json")
    sshd_config: Path = Path("/etc/ssh/sshaft_sshd_config")
    host_key: Path = Path("/etc/ssh/keys/ssh_host_ed25519_key")
    existing_host_key: Path = Path("/etc/ssh/ssh_host_ed25519_key")
    identity: Path = Path("/var/lib/sshaft-identity")
    commands: Path = Path("/usr/libexec/sshaft")
    backups: Path = Path("/var/backups/sshaft")

    @property
    def identity_settings(self) -> Path:
        return self.identity / "identity.json"

    @property
    def keys_command(self) -> str:
        """Returns the keys command: the one in C where it is installed, which sshd starts faster."""
        native = self.commands / "sshaft-keys-native"
        return str(native if native.exists() else self.commands / "sshaft-keys")

    @property
    def login_path(self) -> str:
        return str(self.commands / "sshaft-login")


def account(name: str) -> pwd.struct_passwd:
    """Returns the account. Raises `ConfigurationError` if the host does not have it."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigurationError(
            f"the account {name} does not exist: install the Debian package, or make it as docs/install-by-hand.md says"
        ) from None
