"""A certificate authority of our own, for real TLS on loopback."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme


@dataclass(frozen=True)
class Authority:
    ca: trustme.CA
    file: Path

    def server(self, *names: str, demands_certificate: bool = False, **issue: object) -> ssl.SSLContext:
        """Returns the TLS context of a server with the host names `names` (localhost)."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*(names or ("localhost",)), **issue).configure_cert(context)  # type: ignore[arg-type]
        if demands_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def client(self, name: str, directory: Path) -> tuple[Path, Path]:
        """Returns the files with the certificate and the key of a client."""
        leaf = self.ca.issue_cert(f"{name}@clients.example", common_name=name)
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        leaf.cert_chain_pems[0].write_to_path(certificate)
        leaf.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return certificate, key


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(file)
    return Authority(ca, file)
