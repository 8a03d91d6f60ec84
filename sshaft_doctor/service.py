"""Asks the identity service as the agent does: checks TLS, the clocks, the access token and one look-up."""

import secrets
import time
from datetime import UTC, datetime

from sshaft.clocks import ahead_of
from sshaft.config import Config
from sshaft.deadline import Deadline
from sshaft.errors import ConfigurationError, SshaftError
from sshaft.http_client import Answer, HttpClient
from sshaft.identity_client import IdentityClient
from sshaft_doctor import dry_run
from sshaft_doctor.findings import Finding, error, ok, warning

SECONDS = 10.0
CLOCK_NOTICED, CLOCK_WRONG = 5.0, 30.0
"""Seconds. The agent corrects differences of the clocks, but logs and certificates still depend on them."""


def examine(config: Config, where: str) -> list[Finding]:
    """Returns findings about the identity service. The first failure ends the check, because the rest needs it."""
    answer = _reach(config)
    if isinstance(answer, Finding):
        return [answer]
    found = []
    if answer.status == 200:
        what = "it lists keys without an access token: everybody can read who waits"
        found.append(error("service.open", what, config.mfa_list_endpoint, "close the endpoint to strangers"))
    found += clock(answer.headers.get("Date"), datetime.now(UTC), config.mfa_list_endpoint)
    return [*found, *_authorized(config, where)]


def _reach(config: Config) -> Answer | Finding:
    """Asks without an access token. Any answer shows that name, route, TLS and proxy are right."""
    certificate = None
    if config.client_certificate_file and config.client_certificate_key_file:
        certificate = (config.client_certificate_file, config.client_certificate_key_file)
    http = HttpClient(ca_file=config.ca_file, proxy=config.proxy, certificate=certificate)
    parameters = {"fingerprint": dry_run.throwaway_key().fingerprint}
    try:
        return http.send("GET", config.mfa_list_endpoint, Deadline.after(SECONDS), params=parameters)
    except SshaftError as failure:
        remedy = "check mfa_list_endpoint, ca_file and proxy, and whether the service is up"
        return error("service.reach", str(failure), config.mfa_list_endpoint, remedy)
    finally:
        http.close()


def _authorized(config: Config, where: str) -> list[Finding]:
    try:
        client = IdentityClient(config)
    except ConfigurationError as failure:
        return [error("service.token", str(failure), where, "correct the key file")]
    deadline = Deadline.after(SECONDS)
    try:
        try:
            client.access_tokens.get(deadline)
        except SshaftError as failure:
            remedy = "check token_endpoint, client_id, token_scope and the client's secret or key"
            return [error("service.token", str(failure), where, remedy)]
        began = time.monotonic()
        try:
            listing = client.list_keys([dry_run.throwaway_key().fingerprint], deadline, secrets.token_hex(16))
        except SshaftError as failure:
            return [error("service.list", str(failure), where, "check mfa_list_endpoint and token_scope")]
        seconds = time.monotonic() - began
    finally:
        client.close()
    found = [warning("service.list", f"{count} entries are left out ({reason})", config.mfa_list_endpoint,
                     "correct them at the identity service") for reason, count in listing.left_out.items()]  # fmt: skip
    if seconds > config.list_seconds:
        what = f"a look-up took {seconds:.1f} s, and the agent waits {config.list_seconds:g} s for one"
        found.append(
            error("service.slow", what, config.mfa_list_endpoint, "make the service faster; ?fingerprint= helps")
        )
    return found or [ok("service.list", f"it gives a token and lists keys ({seconds:.2f} s)", config.mfa_list_endpoint)]


def clock(
    date: str | None, now: datetime, where: str, *, check: str = "service.clock", whose: str = "the identity service's",
    why: str = "certificates and logs go by it",
) -> list[Finding]:  # fmt: skip
    """Compares the clock of this host with a Date header (RFC 9110 section 6.6.1). `why` says what it breaks."""
    ahead = ahead_of(date, now)
    off = 0.0 if ahead is None else ahead.total_seconds()  # a Date is not required
    if abs(off) <= CLOCK_NOTICED:
        return []
    what = f"this host's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} {whose}"
    how = error if abs(off) > CLOCK_WRONG else warning
    return [how(check, f"{what}: {why}", where, "timedatectl set-ntp true, on both")]
