"""`sshaft host-api` serves the HTTP API of token login."""

import signal
from pathlib import Path

import click

from sshaft.daemon.handover import predecessor
from sshaft.daemon.start import begin, log_level_option
from sshaft_host_api import configuration, server

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("/etc/sshaft/host-api.json"),
    show_default=True,
    help="host-api.json.",
)


@click.group("host-api", invoke_without_command=True)
@config_option
@log_level_option
@click.pass_context
def host_api(context: click.Context, config_path: Path, log_level: str) -> None:
    """Serve the HTTP API that mccli, `sshaft ssh` and web terminals ask before a login with an access token.

    Start it as its own account, which the agent knows by its option --api-user. It holds no secret: the agent decides.
    SIGTERM ends it, SIGHUP reads the certificate again, and SIGUSR2 lets a new process of the installed version take
    over. Log events are JSON lines on stderr.
    """
    if context.invoked_subcommand is not None:
        return
    begin(log_level, signal.SIGHUP, signal.SIGUSR2)
    settings = configuration.load(config_path)
    server.check_files(settings)
    listening = server.listen(settings)
    predecessor.wait()
    server.serve(settings, listening)


@host_api.command()
@config_option
def check(config_path: Path) -> None:
    """Check host-api.json and the files that it names. Exit status 78 if the API refuses them."""
    server.check_files(configuration.load(config_path))
    click.echo(f"{config_path} is right.")
