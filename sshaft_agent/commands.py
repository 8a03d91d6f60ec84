"""`sshaft agent` starts the agent; `sshaft agent status` shows its state."""

import asyncio
import ctypes
import json
import os
import pwd
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from sshaft import agent_socket, exit_status, log
from sshaft.daemon.handover import predecessor
from sshaft.daemon.host_port import HOST_PORT
from sshaft.daemon.start import begin, log_level_option
from sshaft.errors import ConfigurationError, SshaftError
from sshaft.identity_client import IdentityClient
from sshaft.text import printable
from sshaft_agent import configuration, sockets
from sshaft_agent.agent import Agent

_PR_SET_DUMPABLE = 4  # prctl(2)

directory_option = click.option(
    "--runtime-directory",
    "directory",
    type=click.Path(path_type=Path),
    default=sockets.DEFAULT_DIRECTORY,
    show_default=True,
    help="The folder of the sockets: keys/agent.sock, login/agent.sock, host/agent.sock, api/agent.sock, status.sock.",
)


@click.group(invoke_without_command=True)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="config.json; read again on SIGHUP.")
@directory_option
@click.option("--keys-user", help="sshd's AuthorizedKeysCommandUser.  [default: the account that runs this]")
@click.option("--login-user", help="The account people log in to (mfa).  [default: the account that runs this]")
@click.option("--api-user", help="The account of sshaft-host-api, which asks for people with access tokens.")
@click.option("--metrics-listen", type=HOST_PORT, help="Answer Prometheus there, at /metrics; needs sshaft[metrics].")
@log_level_option
@click.pass_context
def agent(  # noqa: PLR0913, PLR0917 - one for each option
    context: click.Context,
    config_path: Path | None,
    directory: Path,
    keys_user: str | None,
    login_user: str | None,
    api_user: str | None,
    metrics_listen: tuple[str, int] | None,
    log_level: str,
) -> None:
    """Run the agent. Only the agent holds the client credentials and speaks to the identity service.

    Start it as its own account, which must be in the groups of the two users it serves. SIGTERM lets running logins end
    first, SIGHUP reads the configuration again, and SIGUSR2 lets a new process of the installed version take over. Log
    events are JSON lines on stderr.
    """
    if context.invoked_subcommand is not None:
        return
    if config_path is None:
        raise click.UsageError("Missing option '--config'.")
    begin(log_level, signal.SIGHUP, signal.SIGUSR2)
    _keep_memory_private()
    if os.geteuid() == 0:
        log.get_logger().warning("agent.runs_as_root", message="start it as an account of its own instead")
    new_agent = partial(
        Agent, config_path, directory, sockets.account(keys_user), sockets.account(login_user),
        api_user=None if api_user is None else sockets.account(api_user),
    )  # fmt: skip
    if metrics_listen is None:
        asyncio.run(new_agent().run())
    else:
        _run_with_metrics(new_agent, *metrics_listen)


@agent.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), required=True, help="config.json.")
def check(config_path: Path) -> None:
    """Check config.json and the files that it names. Exit status 78 if the agent refuses them."""
    found = configuration.load(config_path)
    if found.factor is not None:
        IdentityClient(found.factor).close()
    if found.host_login is not None:
        for provider in found.host_login.providers:
            provider.credentials()
            provider.http_client("provider").close()
    for note in found.notes:
        click.echo(printable(note, 500))
    click.echo(f"{config_path} is right.")


@agent.command()
@directory_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(directory: Path, *, as_json: bool) -> None:
    """Show the state of the agent, to root and to the agent's group.

    Exit status 0 if the agent answers, 69 if not, 77 if you may not ask it.
    """
    kind, answer = ask_agent(directory, "status")
    try:
        facts = dict(json.loads(answer["json"]))
    except (KeyError, TypeError, ValueError):
        path = sockets.status_path(directory)
        raise NotRunningError(f"what answers at {path} ({kind}) gives no status") from None
    if as_json:
        click.echo(json.dumps(facts))
        return
    # Another account than that of this terminal has written the answer.
    names = [printable(name.replace("_", " ")) for name in facts]
    values = ["-" if value is None else printable(str(value), 500) for value in facts.values()]
    width = max(map(len, names), default=0)
    for name, value in zip(names, values, strict=True):
        click.echo(f"{name:{width}}  {value}")


def ask_agent(directory: Path, kind: str, *, seconds: int = 5, **fields: str) -> tuple[str, dict[str, str]]:
    """Returns what the running agent answers to its operator. SIGALRM ends this process after `seconds` without it.

    Raises `NotRunningError`, or `_NotPermittedError` for an account that may not ask.
    """
    path = str(sockets.status_path(directory))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    try:
        return agent_socket.ask_as_owner(path, kind, fields)
    except agent_socket.AgentUnavailableError as error:
        if isinstance(error.__cause__, PermissionError):
            raise _NotPermittedError(_who_may_ask(path)) from None
        raise NotRunningError(str(error)) from None
    finally:
        signal.alarm(0)


def _run_with_metrics(new_agent: Callable[..., Agent], host: str, port: int) -> None:
    from sshaft.daemon import metrics  # noqa: PLC0415 - loads an HTTP server, which most agents do not need
    from sshaft_agent.metrics import AgentCollector, observer  # noqa: PLC0415 - as above

    registry = metrics.new_registry("agent")
    agent = new_agent(observe=observer(registry))
    registry.register(AgentCollector(agent))
    name = f"{host}:{port}"
    agent.listening[name] = predecessor.listening(name) or metrics.listen(host, port)
    with metrics.MetricsServer(agent.listening[name], registry) as serving:
        agent.on_retire = serving.close
        log.get_logger().info("metrics.ready", address=f"http://{serving.address}{metrics.PATH}")
        asyncio.run(agent.run())


def _who_may_ask(path: str) -> str:
    try:
        owner = pwd.getpwuid(os.stat(path).st_uid).pw_name  # noqa: PTH116 - the text says the same path
    except (OSError, KeyError):
        return f"this account may not ask the agent at {path}: run the command as root"
    return f"this account may not ask the agent at {path}: run the command as root, or with `sudo -u {owner}`"


class _NotPermittedError(SshaftError):
    code = "not_permitted"
    exit_status = exit_status.NO_PERMISSION


class NotRunningError(SshaftError):
    """No agent runs there, or it gives no usable answer."""

    code = "agent_unavailable"
    exit_status = exit_status.UNAVAILABLE


def _keep_memory_private() -> None:
    """Forbids core files, and hides the memory from other processes of this account (/proc/PID/mem, ptrace)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise ConfigurationError(f"prctl(PR_SET_DUMPABLE): {os.strerror(ctypes.get_errno())}")
