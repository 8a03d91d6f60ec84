"""Loads the certificate of a server from its files, at the start and again on SIGHUP."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sshaft.daemon import notify
from sshaft.errors import ConfigurationError
from sshaft.log import get_logger


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate chain and its private key, in PEM."""

    certificate_file: Path
    private_key_file: Path

    def check(self) -> None:
        """Raises `ConfigurationError` if the files cannot be used."""
        try:
            self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{self.certificate_file} and {self.private_key_file} cannot be used for TLS: {error.strerror}"
            ) from None

    def load_into(self, context: ssl.SSLContext) -> None:
        # OpenSSL would ask the terminal for the password of a key.
        context.load_cert_chain(self.certificate_file, self.private_key_file, password="")


def of(certificate_file: Path | None, private_key_file: Path | None) -> Certificate | None:
    """Returns the certificate of these settings. None: a proxy speaks TLS."""
    if certificate_file is None or private_key_file is None:
        return None
    return Certificate(certificate_file, private_key_file)


def settings(certificate: Certificate | None) -> dict[str, Any]:
    """Returns the settings of uvicorn for a server with this certificate."""
    if certificate is None:
        return {}
    return {
        "ssl_certfile": certificate.certificate_file,
        "ssl_keyfile": certificate.private_key_file,
        "ssl_keyfile_password": "",
    }


def reload(certificate: Certificate | None, context: ssl.SSLContext | None) -> None:
    """Uses the renewed certificate for new connections. Keeps the old one if the new one cannot be used."""
    notify.reloading()
    refusal = None
    try:
        if certificate and context:
            certificate.check()
            certificate.load_into(context)
    except ConfigurationError as error:
        refusal = str(error)
        get_logger().error("certificate.refused", message=refusal, in_use="the old certificate")
    else:
        get_logger().info("certificate.reloaded")
    notify.reloaded(refusal)
