"""Examines the certificate that clients of host-api see."""

import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

from sshaft.addresses import bracketed
from sshaft_doctor.alarm import alarm
from sshaft_doctor.findings import Finding, error, ok, warning

_CHECK = "api.tls"
_SECONDS = 10
_SOON = 7 * 86400
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED (x509_vfy.h)
_RENEW = "renew it, then: systemctl reload sshaft-host-api, or the proxy"


def unverified() -> ssl.SSLContext:
    """Returns a context for a connection to this host itself that shows who answers there, whatever the certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def examine(host: str, port: int, name: str | None, authorities: Path | None = None) -> list[Finding]:
    """Returns a finding about the certificate at this address. `name`: the name of the host for clients, if known.

    `authorities`: the trusted ones, instead of the public ones.
    """
    where = f"https://{bracketed(host)}:{port}"
    try:
        ends = _end(host, port, name, authorities)
    except ssl.SSLCertVerificationError as failure:
        if failure.verify_code == _EXPIRED:
            return [error(_CHECK, "the certificate has expired: clients refuse it", where, _RENEW)]
        what = f"clients with the public authorities refuse the certificate: {failure.verify_message}"
        return [warning(_CHECK, what, where, "a certificate of a public authority, or clients that trust this one")]
    except OSError as failure:
        return [error(_CHECK, f"no connection with TLS: {failure.strerror or failure}", where, _RENEW)]
    day = datetime.fromtimestamp(ends, UTC).date()
    if ends - time.time() < _SOON:
        return [warning(_CHECK, f"the certificate ends on {day}", where, _RENEW)]
    return [ok(_CHECK, f"the certificate is valid until {day}", where)]


def _end(host: str, port: int, name: str | None, authorities: Path | None) -> int:
    """Returns the time when the certificate ends. Raises `ssl.SSLCertVerificationError` and other `OSError`."""
    context = ssl.create_default_context(cafile=authorities)
    context.check_hostname = name is not None
    with (
        alarm(_SECONDS),
        socket.create_connection((host, port)) as plain,
        context.wrap_socket(plain, server_hostname=name or host) as secure,
    ):
        shown = secure.getpeercert() or {}
        return ssl.cert_time_to_seconds(str(shown["notAfter"]))
