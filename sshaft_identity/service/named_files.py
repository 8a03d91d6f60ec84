"""Reads the files that identity.json names, for a start, a check and a reload."""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from sshaft_identity.common.language import Languages
from sshaft_identity.common.network_owners import NetworkOwners
from sshaft_identity.enrolment.attestation import read_roots
from sshaft_identity.settings import Settings
from sshaft_identity.web.look import Look, read_look


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """What the files hold: the certificates of the makers of security keys, the look of the pages, the owners of
    networks, and the catalogues of the languages.
    """

    roots: list[x509.Certificate] = field(default_factory=list)
    look: Look = field(default_factory=Look)
    network_owners: NetworkOwners = field(default_factory=NetworkOwners)
    languages: Languages = field(default_factory=Languages)


def read_named_files(settings: Settings, directory: Path) -> NamedFiles:
    """Relative paths begin at the service's directory. Raises `ConfigurationError`, which names the file."""
    owners = NetworkOwners() if settings.networks is None else NetworkOwners.read(directory / settings.networks)
    languages = Languages(None if settings.languages is None else directory / settings.languages)
    look = read_look(settings.appearance, directory)
    return NamedFiles(read_roots(settings.key_policy, directory), look, owners, languages)
