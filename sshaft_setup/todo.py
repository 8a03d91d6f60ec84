"""Says what a set-up leaves to do: at the provider, in the network, and on this host."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sshaft.addresses import is_loopback
from sshaft_setup import services
from sshaft_setup.present import Members
from sshaft_setup.roles import Role

_PAGES = (
    ("login.microsoftonline.com", "entra.md"), ("/realms/", "keycloak.md"), (".okta.com", "okta.md"),
    ("accounts.google.com", "google.md"), ("identity.oraclecloud.com", "oracle-idcs.md"),
    ("/application/o/", "authentik.md"), ("glewlwyd", "glewlwyd.md"),
)  # fmt: skip
"""A part of an issuer, and the page of docs/providers about it."""
_HERE = "on this host"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class Left(NamedTuple):
    """A place, and what is to be done there."""

    where: str
    lines: tuple[str, ...]


class Units(NamedTuple):
    """Units of the role that do not run yet, and those that are not installed."""

    waiting: Sequence[str]
    missing: Sequence[str]


def left(role: Role, answers: Mapping[str, str], config: Members, identity: Members, units: Units) -> list[Left]:
    """Returns what is left. `config` and `identity` are the new members."""
    found = [Left(_HERE, tuple(_of_units(units)))] if units.waiting or units.missing else []
    if role.has_identity:
        found += _of_identity(role, answers, identity)
    if role.has_factor:
        found += _of_factor(role, answers, config)
    if role == Role.HOST_LOGIN:
        found += _of_host_login(answers, config["host_login"])
    lines: dict[str, tuple[str, ...]] = {}
    for each in found:
        lines[each.where] = (*lines.get(each.where, ()), *each.lines)
    return [Left(where, each) for where, each in lines.items()]


def _of_units(units: Units) -> Iterator[str]:
    if units.missing:
        packages = " ".join(services.package_of(unit) for unit in units.missing)
        yield f"install what is missing: {', '.join(units.missing)}. With the project's Debian packages:"
        yield f"  apt-get install {packages}"
    if units.waiting or units.missing:
        yield "start the services:"
        yield f"  systemctl enable --now {' '.join([*units.waiting, *units.missing])}"


def _of_identity(role: Role, answers: Mapping[str, str], identity: Members) -> Iterator[Left]:
    parts = urlsplit(answers["public_url"])
    name = parts.hostname or ""
    if not is_loopback(name):
        yield Left("in the DNS", (f"{name} is the address of the proxy that ends TLS for the identity service",))
        yield Left(
            "at the proxy",
            (
                f"{answers['public_url']} goes to http://{answers['listen']} (docs/identity-service.md)",
                "its address belongs into trusted_proxies of identity.json, if it is not there yet",
                f"firewall: others reach only port {parts.port or 443} of the proxy",
            ),
        )
    if isinstance(identity.get("oidc"), dict):
        yield Left(
            f"at {identity['oidc'].get('issuer')}",
            (f"redirect URI of the client: {answers['public_url']}/sign-in/oidc/callback (code flow, PKCE)",),
        )
    yield Left(
        _HERE,
        (
            "people:       sshaft identity user add NAME, then sshaft identity invite NAME",
            "applications: sshaft identity client add NAME --for PROVIDER prints what to enter there",
        ),
    )
    if role == Role.IDENTITY:
        yield Left(
            f"at {answers['ssh_host']}, the host of the factor",
            (
                "sshaft identity client add factor --scope mfa:list --scope mfa:accept --config-json factor.json",
                "writes a file here. Copy it there, and run: sshaft setup --role factor --factor-file factor.json",
            ),
        )


def _of_factor(role: Role, answers: Mapping[str, str], config: Members) -> Iterator[Left]:
    port = answers.get("ssh_port", "22")
    if answers["sshd"] == "separate":
        yield Left("in the firewall", (f"people reach TCP port {port} of this host by ssh",))
    else:
        yield Left(
            _HERE,
            ("the block `Match User mfa` of docs/install-by-hand.md belongs at the end of /etc/ssh/sshd_config",),
        )
    if role == Role.FACTOR:
        host, scope = urlsplit(str(config["token_endpoint"])).hostname, config.get("token_scope") or "(none)"
        method = config.get("token_endpoint_auth_method", "client_secret_post")
        yield Left("at the identity service", (
            f"the client {config['client_id']} is registered at {host}: client_credentials, {method}, scope {scope}",
            f"the ssh command that it shows names this host and port {port}",
        ))  # fmt: skip
    else:
        yield Left("in the DNS", (f"{answers['ssh_host']} is this host",))


def _of_host_login(answers: Mapping[str, str], host_login: Members) -> Iterator[Left]:
    issuer = answers["issuer"]
    page = next((f"docs/providers/{page}" for part, page in _PAGES if part in issuer), "docs/host-login.md")
    allow, claim = host_login.get("allow", {}), _shown(host_login.get("claim", "preferred_username"))
    groups = _shown(host_login.get("groups_claim", "groups"))
    yield Left(f"at {issuer}", (
        f"a client {answers['client_id']} ({page} has the steps):",
        f"  grant         device authorization ({_DEVICE_GRANT}); it has no redirect URI",
        f"  secret        {_proof(host_login)}",
        f"  scopes        {' '.join(host_login.get('scopes', ('openid', 'profile')))}",
        f"  ID token      {claim} names the account; people must not be able to change it",
        *([f"                {groups} has the groups of the person"] if allow.get("groups") else []),
    ))  # fmt: skip
    approval = " --require-approval" if answers["create"] == "yes" else ""
    packages = "libpam-sshaft, libnss-sshaft and sshaft-accounts" if approval else "libpam-sshaft"
    yield Left(_HERE, (
        f"sshd needs {packages} (docs/host-login.md)",
        "try a login, and then let sshd ask for host login. Keep another session open meanwhile:",
        "  sshaft host check NAME",
        f"  sshaft host enable{approval}",
        "  systemctl reload ssh",
    ))  # fmt: skip


def _proof(host_login: Members) -> str:
    """Returns how the client proves itself at the provider."""
    if "private_key_file" in host_login:
        return "private_key_jwt"
    if {"client_secret", "client_secret_file"} & host_login.keys():
        return str(host_login.get("token_endpoint_auth_method", "client_secret_basic"))
    return "none: a public client"


def _shown(claim: Any) -> str:
    """Returns the name of a claim. A list names the objects around it."""
    return ".".join(map(str, claim)) if isinstance(claim, list) else str(claim)
