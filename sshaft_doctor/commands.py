"""Defines the commands `sshaft doctor` and `sshaft sshd-config`."""

import json
from pathlib import Path

import click

import sshaft
from sshaft import exit_status, openssh_version
from sshaft.command_line.severity import Severity
from sshaft_doctor import examination, hardened
from sshaft_doctor.examination import Subject
from sshaft_doctor.findings import report
from sshaft_doctor.hardened import Choices

SSHD = Path("/usr/sbin/sshd")

_path = click.Path(path_type=Path, readable=False)  # an unreadable file is a finding, not a usage error
_sshd = click.option("--sshd", type=_path, default=SSHD, show_default=True, help="The sshd that runs here.")


@click.command()
@click.option("--sshd-config", "sshd_config", type=_path, help="The file that sshd is started with.  [default: "
              f"{examination.SEPARATE} if it is there, and {examination.HOST} if it uses sshaft]")  # fmt: skip
@_sshd
@click.option("--config", type=_path, help="The agent's config.json.  [default: /etc/sshaft/config.json]")
@click.option("--runtime-directory", "runtime", type=_path, help="Where the agent's sockets are.  [default: as the "
              "keys command says]")  # fmt: skip
@click.option("--login-user", default="mfa", show_default=True, help="The account people log in to.")
@click.option("--host-api-config", "host_api", type=_path, default=Path("/etc/sshaft/host-api.json"),
              show_default=True, help="The file that sshaft host-api is started with.")  # fmt: skip
@click.option("--api-user", default="sshaft-host-api", show_default=True, help="The account of sshaft host-api.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def doctor(  # noqa: PLR0913, PLR0917 - one for each option
    context: click.Context,
    sshd_config: Path | None,
    sshd: Path,
    config: Path | None,
    runtime: Path | None,
    login_user: str,
    host_api: Path,
    api_user: str,
    *,
    as_json: bool,
) -> None:
    """Examine the host of sshd: find what would keep people out, and what would let too many in.

    The command changes nothing. Run it as root; as another user it names what it could not examine. It asks the agent
    and the identity service. It runs the keys command once as sshd would, with a key that nobody has.

    Exit status: 0 no errors, 78 at least one.
    """
    subject = Subject(
        sshd=sshd.absolute(),
        sshd_config=sshd_config and sshd_config.absolute(),
        config=config and config.absolute(),
        runtime=runtime and runtime.absolute(),
        login_user=login_user,
        host_api=host_api.absolute(),
        api_user=api_user,
    )
    version, findings = examination.examine(subject)
    if as_json:
        facts = {
            "version": sshaft.__version__,
            "openssh": version and str(version),
            "findings": [finding.as_json() for finding in findings],
        }
        click.echo(json.dumps(facts))
    else:
        click.echo(report(findings))
    if any(finding.severity == Severity.ERROR for finding in findings):
        context.exit(exit_status.CONFIGURATION)


@click.command("sshd-config")
@click.option("--for", "version", help="A version: 9.2, 9.8p1, or what sshd -V says.  [default: that of this host]")
@_sshd
@click.option("--port", type=click.IntRange(1, 65535), help="[default: 2222]")
@click.option("--login-user", help="The account people log in to.  [default: mfa]")
@click.option("--keys-command", help="Where sshaft-keys is.  [default: /sshaft/keys]")
@click.option("--keys-user", help="The account that runs it.  [default: _sshaft-keys]")
@click.option("--host-key", "host_keys", multiple=True, help="May be repeated.  [default: "
              "/etc/ssh/keys/ssh_host_ed25519_key]")  # fmt: skip
def sshd_config(
    version: str | None,
    sshd: Path,
    port: int | None,
    login_user: str | None,
    keys_command: str | None,
    keys_user: str | None,
    host_keys: tuple[str, ...],
) -> None:
    """Write the hardened sshd_config for a version of OpenSSH to standard output."""
    wanted = openssh_version.installed(sshd) if version is None else openssh_version.parse(version)
    choices = Choices(port, login_user, keys_command, keys_user, host_keys)
    click.echo(hardened.write(wanted, choices), nl=False)
