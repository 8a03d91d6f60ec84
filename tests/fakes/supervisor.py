"""Kills programs and starts them again, as a supervisor such as systemd does."""

from contextlib import suppress

from fakes.postgresql import PostgreSQL

from sshaft_demo.parts import Agent, Identity, StartError


def kill(victim: Identity | Agent | PostgreSQL) -> None:
    """Kills the process (SIGKILL), and starts a new one. Tries again while its database is away."""
    if isinstance(victim, PostgreSQL):
        victim.crash()
        return
    victim.process.kill()
    victim.process.wait(10)
    while True:
        with suppress(StartError):
            victim.process = victim.start()
            return
