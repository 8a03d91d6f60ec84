"""Defines `sshaft identity client`: registers the programs that may call the API."""

import json
import os
import stat
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from sshaft import files
from sshaft.command_line.output import Columns, json_option, write_json, write_list
from sshaft.errors import ConfigurationError
from sshaft.validation import first_fault
from sshaft_identity.clients.clients import Client, Scope
from sshaft_identity.clients.return_urls import checked_prefix
from sshaft_identity.commands.option_types import Duration
from sshaft_identity.commands.owner import acting_as_caller
from sshaft_identity.commands.shared import checked_store, say
from sshaft_identity.common.errors import RegistryError
from sshaft_identity.common.times import rfc3339, utc_now
from sshaft_identity.face_support.setup import GivenOptions, Registration, recipe
from sshaft_identity.faces import all_providers
from sshaft_identity.settings import Settings


@click.group()
def client() -> None:
    """Clients: the programs that may call the API, each with its own secret and scopes."""


class _AddClient(click.Command):
    """Takes the options of `--for` from the faces. The faces are loaded only when this command runs."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *own, help_option = super().get_params(ctx)
        providers = all_providers()
        options = {option.name: option for _, provider in providers.values() for option in provider.options}
        names = ", ".join(sorted(providers))
        provider = click.Option(
            ["--for", "provider"],
            type=click.Choice(sorted(providers)),
            metavar="PROVIDER",
            help=f"Set the client up for this identity provider, and print what to enter there: {names}.",
        )
        return [provider, *own, *options.values(), help_option]


@client.command("add", cls=_AddClient)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="May be given several times; not with --for. The sshd side needs mfa:list and mfa:accept, a web login "
    "challenges, a help desk enrolments. A host that asks people to approve SSH logins needs approvals alone.",
)
@click.option(
    "--allow-unbound",
    is_flag=True,
    help="Let it open challenges with binding none: any SSH login of the user passes them, whatever its purpose.",
)
@click.option(
    "--return-url",
    "return_urls",
    multiple=True,
    metavar="PREFIX",
    callback=lambda _context, _option, urls: _prefixes(urls),
    help="Let its challenges lead people back to addresses at or below PREFIX. May be given several times.",
)
@click.option(
    "--from",
    "networks",
    multiple=True,
    metavar="NETWORK",
    callback=lambda _context, _option, networks: _networks(networks),
    help="Let it call, also with its access tokens, from this address or network (CIDR) only. May be given several "
    "times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print client_id and client_secret as JSON.")
@click.option(
    "--config-json",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a config.json for the sshd side, readable by its owner only, and print no secret.",
)
@click.option("--login-path", default="/sshaft/login", show_default=True, help="The login_path of that config.json.")
@click.option("--force", is_flag=True, help="Overwrite the file of --config-json.")
@click.pass_obj
def add_client(  # noqa: PLR0913 - one parameter for each option
    directory: Path,
    /,
    name: str,
    *,
    provider: str | None,
    scopes: tuple[str, ...],
    allow_unbound: bool,
    return_urls: tuple[str, ...],
    networks: tuple[str, ...],
    as_json: bool,
    config_json: Path | None,
    login_path: str,
    force: bool,
    **given: tuple[str, ...],
) -> None:
    """Make the client NAME and print its secret, which cannot be shown again."""
    if config_json is not None and config_json.exists() and not force:
        raise RegistryError(f"{config_json} exists: --force overwrites it")
    if Scope.APPROVALS in scopes and len(set(scopes)) > 1:
        raise click.UsageError("the scope approvals is for a host, which needs no other scope")
    if (provider is None) == (not scopes):
        raise click.UsageError("needs either --for PROVIDER or --scope SCOPE")
    face, registration = (None, Registration()) if provider is None else _registration(provider, given)
    new = Client(
        name,
        frozenset(scopes),
        allow_unbound,
        return_urls,
        networks,
        {} if face is None else {face: registration.options},
        registration.jwks,
        registration.pairwise_sector,
    )
    with checked_store(directory) as (store, settings):
        secret = store.clients.add(new, utc_now())
        if config_json is not None:
            try:
                with acting_as_caller():
                    write_private(config_json, sshd_side_config(settings, name, secret, scopes, login_path))
            except OSError as error:
                store.revocation.remove_client(name, utc_now())
                raise ConfigurationError(f"{config_json} cannot be written: {error.strerror}") from error
    if allow_unbound:
        click.echo(
            "Warning: without a code, an attacker who knows the password passes with the person's next SSH login. "
            "NIST SP 800-63B-4 §3.1.3 no longer accepts this.",
            err=True,
        )
    if as_json:
        write_json({"client_id": name, "client_secret": secret})
        return
    if config_json is not None:
        say(f"The client {name} was added, and its secret is in {config_json}.")
    else:
        click.echo(f"client_id      {name}\nclient_secret  {secret}")
        say(f"The client {name} was added. Its secret is not shown again.")
    if provider is not None:
        values = {
            "settings": settings,
            "client_id": name,
            "client_secret": secret,
            "client": registration.options,
            "given": {**given, "allow_unbound": allow_unbound, "networks": networks},
            "calls": settings.base_url.replace("://", f"://{name}:{secret}@", 1),
            "basic": b64encode(f"{name}:{secret}".encode()).decode(),
            "shared": store.codes.shared,
        }
        click.echo("\n" + recipe(provider, values).rstrip())


def _registration(name: str, given: GivenOptions) -> tuple[str, Registration]:
    """Returns the name of the face and the registration. Raises `ConfigurationError` for a missing or wrong option."""
    face, provider = all_providers()[name]
    for need in provider.needs:
        if not given.get(need):
            raise ConfigurationError(f"--for {name} needs --{need.replace('_', '-')}")
    try:
        return face.name, provider.register(given)
    except ValidationError as error:
        raise ConfigurationError(f"--for {name}: {first_fault(error)}") from None


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for each in networks:
        try:
            ip_network(each)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return networks


def _prefixes(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        try:
            checked_prefix(url)
        except ValueError as error:
            raise click.BadParameter(f"{url} {error}") from None
    return urls


def sshd_side_config(
    settings: Settings, client_id: str, secret: str, scopes: Sequence[str], login_path: str
) -> dict[str, str]:
    """Returns the config.json of `sshaft-keys`, `sshaft-login` and the agent."""
    api = f"{settings.base_url}/api/v1/mfa/ssh"
    return {
        "token_endpoint": f"{settings.base_url}/oauth2/token",
        "client_id": client_id,
        "client_secret": secret,
        "token_scope": " ".join(scopes),
        "mfa_list_endpoint": f"{api}/keys",
        "mfa_accept_endpoint": f"{api}/accept",
        "mfa_reject_endpoint": f"{api}/reject",
        "mfa_enrol_endpoint": f"{api}/enrol",
        "login_path": login_path,
    }


def write_private(path: Path, content: dict[str, Any], like: os.stat_result | None = None) -> None:
    """Writes a file for its owner only, or with the owner and mode of `like`, the file that was there."""
    mode = 0o600 if like is None else stat.S_IMODE(like.st_mode)
    files.replace(path, (json.dumps(content, indent=2) + "\n").encode(), mode, keep_owner=like is not None)


@client.command("list")
@json_option
@click.pass_obj
def list_clients(directory: Path, as_json: bool) -> None:
    """Print the clients with their scopes and other settings."""
    with checked_store(directory) as (store, _):
        clients = store.clients.all()
    write_list(map(_as_json, clients), _COLUMNS, as_json=as_json, nothing="No client is registered.")


_COLUMNS: Columns = {
    "CLIENT": "client_id",
    "SCOPES": "scopes",
    "FACES": lambda row: sorted(row["faces"]),
    "UNBOUND": "allow_unbound",
    "FROM": "networks",
    "RETURN URLS": "return_urls",
}


def _as_json(each: Client) -> dict[str, object]:
    return {
        "client_id": each.client_id,
        "scopes": sorted(each.scopes),
        "allow_unbound": each.allows_unbound,
        "return_urls": each.return_urls,
        "networks": each.networks,
        "faces": each.faces,
        "jwks": each.jwks,
        "pairwise_sector": each.pairwise_sector,
    }


@client.command("set-return-urls")
@click.argument("name")
@click.argument("urls", metavar="[PREFIX]...", nargs=-1, callback=lambda _context, _option, urls: _prefixes(urls))
@click.pass_obj
def set_return_urls(directory: Path, name: str, urls: tuple[str, ...]) -> None:
    """Let the challenges of NAME lead people back to addresses at or below each PREFIX, and nowhere else."""
    with checked_store(directory) as (store, _):
        store.clients.set_return_urls(name, urls, utc_now())
    say(f"The client {name} may lead people back to: {', '.join(urls) or 'nowhere'}.")


@client.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(directory: Path, name: str) -> None:
    """Revoke every access token of the client NAME. With its secret it can get new ones."""
    with checked_store(directory) as (store, _):
        count = store.access_tokens.revoke_all(name, utc_now())
    what = "access token was" if count == 1 else "access tokens were"
    say(f"{count} {what} revoked. The client {name} can get new ones.")


@client.command("rotate-secret")
@click.argument("name")
@click.option(
    "--overlap",
    type=Duration(),
    default="24h",
    show_default=True,
    help="How long the old secret stays valid. 0 ends it, and every access token, at once.",
)
@click.option(
    "--write-config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the secret into this config.json, which is made if there is none, and print no secret.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print client_id, client_secret and previous_secret_until as JSON."
)
@click.pass_obj
def rotate_secret(directory: Path, name: str, overlap: timedelta, write_config: Path | None, as_json: bool) -> None:
    """Give the client NAME a new secret.

    Give it to the client while the old one is still valid. The agent reads its config.json again on SIGHUP. A second
    rotation within the overlap ends the oldest secret.
    """
    now = utc_now()
    with checked_store(directory) as (store, settings):
        if write_config is None:
            secret = store.clients.rotate_secret(name, now, overlap)
        else:
            scopes = [tuple(sorted(each.scopes)) for each in store.clients.all() if each.client_id == name]
            with acting_as_caller():
                content, like = _config_to_renew(write_config, name)
            if not content and scopes:
                content = sshd_side_config(settings, name, "", scopes[0], "/sshaft/login")

            def deliver(secret: str) -> None:
                with acting_as_caller():
                    write_private(write_config, {**content, "client_secret": secret}, like)

            try:
                secret = store.clients.rotate_secret(name, now, overlap, deliver)
            except OSError as error:
                raise ConfigurationError(f"{write_config} cannot be written: {error.strerror}") from error
    until = rfc3339(now + overlap) if overlap else None
    result = {"client_id": name} | ({} if write_config else {"client_secret": secret})
    if as_json:
        write_json({**result, "previous_secret_until": until})
        return
    for label, value in result.items():
        click.echo(f"{label:<13}  {value}")
    where = f" and is in {write_config}" if write_config else ""
    end = f"stays good until {until}" if until else "and every access token are void"
    say(f"The client {name} has a new secret{where}. The old secret {end}.")


def _config_to_renew(path: Path, client_id: str) -> tuple[dict[str, Any], os.stat_result | None]:
    """Returns the content and the status of the file; an empty dict and None if there is no file.
    Raises `ConfigurationError` if the file is not the configuration of this client.
    """
    try:
        content = json.loads(files.read_text(path))
        like = path.stat()
    except FileNotFoundError:
        return {}, None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        raise ConfigurationError(f"{path} is no JSON: nothing was changed") from None
    if not isinstance(content, dict) or content.get("client_id") != client_id:
        raise ConfigurationError(f"{path} is not of the client {client_id}: nothing was changed")
    if "client_secret" not in content:
        raise ConfigurationError(f"{path} has no client_secret to replace: nothing was changed")
    return content, like


@client.command("remove")
@click.argument("name")
@click.pass_obj
def remove_client(directory: Path, name: str) -> None:
    """Remove the client NAME. Its secret, its access tokens, its waiting logins and its invitations end at once."""
    with checked_store(directory) as (store, _):
        store.revocation.remove_client(name, utc_now())
    say(f"The client {name} was removed. Its secret and its access tokens are void.")
