"""`sshaft demo` runs a real login on this machine, and shows each step with its time."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import click

from sshaft.text import printable
from sshaft_demo.approval import approval
from sshaft_demo.host import host
from sshaft_demo.parts import Agent, Identity, Sshd, free_port
from sshaft_demo.place import Place, StartError
from sshaft_demo.steps import Steps, until_stopped
from sshaft_demo.web import web

USER = "alice"


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--once", is_flag=True, help="End after the scripted login; exit status 0 if it passed.")
@click.option("--port", default=2222, show_default=True, help="The port of sshd, or the next free one.")
@click.option(
    "--identity-port", default=8080, show_default=True, help="The port of the identity service, or the next free one."
)
def demo(context: click.Context, *, once: bool, port: int, identity_port: int) -> None:
    """Run a real login: identity service, agent, sshd and ssh on loopback, with a temporary key.

    Then everything stays up for you to try, until Ctrl-C. No account, file or process is left behind.
    """
    if context.invoked_subcommand is not None:
        return
    with until_stopped(once=once) as step, Place() as place:
        identity, sshd, key = _start(place, step, free_port(port), free_port(identity_port))
        _log_in(step, identity, sshd, key)
        if not once:
            _stay(identity, sshd, key)


demo.add_command(approval)
demo.add_command(host)
demo.add_command(web)


def _start(place: Place, step: Steps, port: int, identity_port: int) -> tuple[Identity, Sshd, Path]:
    step(f"a folder for this run: {place.summary}")
    identity = Identity(place, identity_port, port)
    step(f"identity service up: {identity.url} (SQLite)")
    key = place.generate_key("id_ed25519")
    identity.add_user(USER, key.with_suffix(".pub"))
    config = identity.write_config(place.directory / "config.json")
    step(f"user {USER} with a throwaway key, and a client for the agent")
    agent = Agent(place, config)
    step(f"agent up: {agent.runtime}/{{keys,login}}/agent.sock")
    sshd = Sshd(place, agent.runtime, port)
    step(f"sshd up: 127.0.0.1 port {port}, with our sshd_config")
    return identity, sshd, key


def _log_in(step: Steps, identity: Identity, sshd: Sshd, key: Path) -> None:
    """Opens a challenge and passes it by ssh. Raises `StartError` if it does not pass."""
    opened = identity.open_challenge(USER, app="the demo")
    step(f"challenge opened: {opened['state']}; its page says: {opened['ssh_command']}")
    began = time.monotonic()
    done = sshd.ssh(key, opened["code"])
    took = time.monotonic() - began
    said = "\n          ".join(printable(line) for line in (done.stdout + done.stderr).splitlines())
    step(f"$ {opened['ssh_command']}\n          {said} (exit status {done.returncode}, {took:.2f} s)")
    now: dict[str, Any] = identity.challenge(opened["id"])
    step(f"challenge is now: {now['state']} ({now.get('key_type')}, amr {', '.join(now.get('amr') or [])})")
    if done.returncode != 0 or now["state"] != "accepted":
        raise StartError(f"the login did not pass\n{sshd.log()}\n{sshd.place.log('agent')}")


def _stay(identity: Identity, sshd: Sshd, key: Path) -> None:
    """Opens a challenge for each Enter and says how to pass it, until Ctrl-C."""
    folder = sshd.place.directory
    ssh = sshd.by_hand(key)
    click.echo("\nTry it by hand:")
    while True:
        opened = identity.open_challenge(USER, app="the demo", expires_in=600)
        click.echo(f"""
  a login of {USER} waits at   {opened["page_url"]}
  pass it   {ssh} {opened["code"]}
  or deny   {ssh} deny
  the logs  tail -f {folder}/*.log

Enter opens another one, Ctrl-C ends it all and removes everything.""")
        if not sys.stdin.readline():  # standard input is no terminal
            threading.Event().wait()
