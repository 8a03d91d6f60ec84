"""Defines `sshaft identity` with all its commands. They work directly on the database, also while `serve` runs."""

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from sshaft import log
from sshaft.daemon.handover import predecessor
from sshaft.daemon.host_port import HOST_PORT
from sshaft.daemon.metrics import MetricsServer
from sshaft.daemon.start import begin, log_level_option
from sshaft.errors import ConfigurationError
from sshaft_identity import settings as settings_of
from sshaft_identity.commands.audit import audit
from sshaft_identity.commands.challenge import challenge
from sshaft_identity.commands.client import client
from sshaft_identity.commands.client_face import set_face, test_client
from sshaft_identity.commands.database import backup, copy, restore
from sshaft_identity.commands.dry_run import dry_run as try_update
from sshaft_identity.commands.host_key import HostKeyFile, sshfp
from sshaft_identity.commands.invite import invite
from sshaft_identity.commands.owner import acting_as_owner, become_owner
from sshaft_identity.commands.session import session, token
from sshaft_identity.commands.shared import checked_store, database_failures, open_store, say
from sshaft_identity.commands.signing_key import signing_key
from sshaft_identity.commands.user_and_key import key, user
from sshaft_identity.common.times import utc_now
from sshaft_identity.settings import Settings


@click.group()
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SSHAFT_IDENTITY_DIRECTORY",
    show_envvar=True,
    default=settings_of.default_directory,
    show_default="/var/lib/sshaft-identity for root, else ~/.local/share/sshaft/identity",
    help="The directory of identity.json, hmac.key and the database.",
)
@click.pass_context
def identity(context: click.Context, directory: Path) -> None:
    """The identity service: users, their SSH keys, and the web logins that wait for an SSH login.

    To begin: `init`, `user add`, `key add`, `client add`, then `serve`. All other commands work while it serves. If
    root runs a command, it acts as the owner of the directory.
    """
    context.obj = directory


@identity.command()
@click.option("--listen", type=HOST_PORT, help="The address on which `serve` listens.  [default: 127.0.0.1:8080]")
@click.option(
    "--public-url", help="The URL at which browsers and agents reach the service, e.g. https://id.example.org."
)
@click.option("--ssh-host", help="The host of the shown ssh command.  [default: localhost]")
@click.option("--ssh-port", type=int, help="The port of the shown ssh command.  [default: 22]")
@click.option("--ssh-user", help="The account of the shown ssh command.  [default: mfa]")
@click.option(
    "--ssh-host-key", "ssh_host_keys", type=HostKeyFile(), multiple=True, metavar="FILE.pub",
    help="A public host key of that host, which the pages tell people to expect. May be given several times; the given "
    "keys take the place of the earlier ones.",
)  # fmt: skip
@click.option("--lifetime", type=int, metavar="SECONDS", help="How long a challenge runs, 30 to 600.  [default: 300]")
@click.option("--database", help="postgresql://USER@HOST/NAME.  [default: identity.db in the directory, SQLite]")
@click.option("--dry-run", is_flag=True, help="Try the update on a copy of the database. Change nothing.")
@click.pass_obj
def init(directory: Path, /, listen: tuple[str, int] | None, *, dry_run: bool, **options: Any) -> None:
    """Set the directory up, or bring it up to date.

    Makes what is missing (directory, settings, HMAC key, signing keys), migrates the database, and writes the options
    that are given into identity.json. You may run it again: it deletes nothing and replaces no key. Before it migrates
    SQLite, it copies the database to identity.db.REVISION.
    """
    if dry_run:
        with acting_as_owner(directory):
            click.echo(try_update(directory))
        return
    wishes = {name: value for name, value in options.items() if value is not None}
    if keys := wishes.pop("ssh_host_keys"):
        wishes["ssh_host_keys"] = tuple(map(str, keys))
    if listen is not None:
        wishes["host"], wishes["port"] = listen
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with acting_as_owner(directory):
            settings = _set_up(directory, wishes)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be set up: {error.strerror}") from error
    click.echo(f"The identity service in {directory} is ready; it will listen on {settings.listen_address}.")


def _set_up(directory: Path, wishes: dict[str, object]) -> Settings:
    """Makes what is missing in the directory, and returns the settings. Raises `OSError`."""
    before = settings_of.load(directory) if (directory / settings_of.SETTINGS_FILE).exists() else None
    settings = settings_of.changed(before or Settings(), wishes)
    settings_of.make_key(directory)
    with open_store(directory, settings, patient=True) as store, database_failures():
        if kept := store.database.copy_before_migration():
            say(f"{kept} is the database from before the migration. Remove it when all works.")
        store.database.migrate()
        store.signing_keys.ensure(utc_now())
    if settings != before:  # a directory that others fill, as in Kubernetes, may be read-only
        settings_of.save(directory, settings)  # last, so that the settings never name a database that cannot be used
    return settings


@identity.command()
@click.option("--listen", type=HOST_PORT, help="Listen here instead of where identity.json says. Port 0: a free port.")
@click.option("--metrics-listen", type=HOST_PORT, help="Answer Prometheus here.  [default: as identity.json says]")
@log_level_option
@click.pass_obj
def serve(
    directory: Path, listen: tuple[str, int] | None, metrics_listen: tuple[str, int] | None, log_level: str
) -> None:
    """Serve the API and the challenge pages until SIGTERM. SIGHUP reads identity.json again. SIGUSR2 lets a new process
    of the installed version take over.

    It speaks plain HTTP: put a proxy with TLS in front of it, or keep it on loopback. It logs JSON lines to stderr. The
    event `identity.ready` names the address on which it listens. If the address is in use, it ends with status 69.
    """
    from sshaft.http_server import server as http_server  # noqa: PLC0415 - the web framework, which no other command needs
    from sshaft_identity.service import app, server  # noqa: PLC0415 - as above
    from sshaft_identity.service.metrics import Metrics  # noqa: PLC0415 - as above
    from sshaft_identity.service.metrics_http import read_token  # noqa: PLC0415 - as above
    from sshaft_identity.service.named_files import read_named_files  # noqa: PLC0415 - as above
    from sshaft_identity.service.reload import Reload  # noqa: PLC0415 - as above

    begin(log_level, signal.SIGHUP, signal.SIGUSR2)
    become_owner(directory)
    with checked_store(directory) as (store, settings), ExitStack() as stack:
        if metrics_listen is None and settings.metrics_host is not None:
            metrics_listen = settings.metrics_host, settings.metrics_port
        token = read_token(Path(settings.metrics_token_file)) if settings.metrics_token_file else None
        metrics = Metrics(store, utc_now) if metrics_listen or token else None
        host, port = listen or (settings.host, settings.port)
        listening = stack.enter_context(http_server.listen(host, port))
        sockets = {http_server.name_of(host, port): listening}
        if metrics_listen and metrics:
            name = http_server.name_of(*metrics_listen, "metrics")
            sockets[name] = of_metrics = http_server.listen(*metrics_listen, "metrics")
            serving = stack.enter_context(MetricsServer(of_metrics, metrics.registry))
            log.get_logger().info("metrics.ready", address=f"http://{serving.address}/metrics")
        real = settings_of.changed(settings, {"host": host, "port": listening.getsockname()[1]})
        ready = app.create_app(store, real, utc_now, metrics, token, named=read_named_files(real, directory))
        reload = Reload(ready, directory, settings)
        predecessor.wait()
        server.serve(ready, sockets, metrics.count_events if metrics else None, reload)


@identity.command()
@click.pass_obj
def check(directory: Path) -> None:
    """Check identity.json and the files that it names, without the database. Exit status 78 if `serve` refuses them."""
    from sshaft_identity.service.app import create_app  # noqa: PLC0415 - the web framework
    from sshaft_identity.service.metrics_http import read_token  # noqa: PLC0415 - as above
    from sshaft_identity.service.named_files import read_named_files  # noqa: PLC0415 - as above

    become_owner(directory)
    settings = settings_of.load(directory)
    token = read_token(Path(settings.metrics_token_file)) if settings.metrics_token_file else None
    with open_store(directory, settings) as store:
        create_app(store, settings, metrics_token=token, named=read_named_files(settings, directory))
    click.echo(f"{directory / settings_of.SETTINGS_FILE} is right.")


client.add_command(set_face)
client.add_command(test_client)
for command in (user, key, invite, client, challenge, session, token, backup, restore, copy, signing_key, audit, sshfp):
    identity.add_command(command)
