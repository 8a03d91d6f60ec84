"""`sshaft web` serves SSH in the browser."""

import json
import signal
from pathlib import Path

import click

import sshaft
from sshaft import exit_status
from sshaft.command_line.severity import Severity
from sshaft.daemon.start import begin, log_level_option
from sshaft.http_server import certificate
from sshaft_web import configuration, server, targets
from sshaft_web.checks import examination
from sshaft_web.checks.findings import table
from sshaft_web.configuration import Settings
from sshaft_web.pages import static_files
from sshaft_web.recording.recorder import check_directory

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("/etc/sshaft/web.json"),
    show_default=True,
    help="web.json.",
)


@click.group("web", invoke_without_command=True)
@config_option
@log_level_option
@click.pass_context
def web(context: click.Context, config_path: Path, log_level: str) -> None:
    """Serve SSH in the browser, for people who cannot install an ssh client.

    People sign in at the OpenID Provider of web.json, and get terminals on the hosts of web.json. Start it as its own
    account. SIGTERM ends it, SIGHUP reads the certificate again. Log events are JSON lines on stderr.
    """
    if context.invoked_subcommand is not None:
        return
    begin(log_level, signal.SIGHUP)
    settings = configuration.load(config_path)
    check_files(settings)
    server.serve(settings, server.listen(settings))


@web.command()
@config_option
@click.option("--files", "files_only", is_flag=True, help="Only look at web.json and the files that it names.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def check(context: click.Context, config_path: Path, *, files_only: bool, as_json: bool) -> None:
    """Examine web.json, the OpenID Provider, and each host: its key, and whether its API takes tokens of the provider.

    Nobody is signed in, and nothing is changed. Exit status: 0 no errors, 78 at least one.
    """
    settings = configuration.load(config_path)
    check_files(settings)
    if files_only:
        click.echo(f"{config_path} is right.")
        return
    found = examination.examine(settings)
    if as_json:
        facts = {"version": sshaft.__version__, "findings": [finding.as_json() for finding in found]}
        click.echo(json.dumps(facts))
    else:
        click.echo(table(found))
    if any(finding.level is Severity.ERROR for finding in found):
        context.exit(exit_status.CONFIGURATION)


def check_files(settings: Settings) -> None:
    """Raises `ConfigurationError` if the files that the settings name cannot be used."""
    targets.read(settings)
    static_files.check()
    if settings.recording is not None:
        check_directory(settings.recording.directory)
    settings.provider.credentials()
    if found := certificate.of(settings.certificate_file, settings.private_key_file):
        found.check()
