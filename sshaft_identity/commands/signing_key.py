"""`sshaft identity signing-key`: which keys sign the service's statements, and their rotation (docs/operating.md)."""

from datetime import datetime, timedelta
from pathlib import Path

import click

from sshaft_identity.commands.shared import echo_json, opened
from sshaft_identity.common.times import rfc3339, utc_now
from sshaft_identity.signing import signing_keys
from sshaft_identity.signing.signing_keys import ROTATION_WAIT, Algorithm, SigningKey


@click.group("signing-key")
def signing_key() -> None:
    """Signing keys, RS256 for ID tokens and ES256 for results: a new one is published, then signs; the old one stays
    published a while.
    """


@signing_key.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the keys as JSON.")
@click.pass_obj
def list_keys(directory: Path, as_json: bool) -> None:
    """Print the published keys, the newest first: kid, algorithm, and what it does until when."""
    now = utc_now()
    with opened(directory) as (store, _):
        keys = store.signing_keys.published(now)
    current = [signing_keys.current_key(keys, now, each) for each in Algorithm]
    if as_json:
        echo_json([shown(key, key in current) for key in keys])
        return
    for key in keys:
        click.echo(f"{key.kid} {key.algorithm} {told(key, now, is_signing=key in current)}")


@signing_key.command()
@click.option(
    "--now", "at_once", is_flag=True, help=f"Sign with it at once, not after {ROTATION_WAIT}: for emergencies."
)
@click.option(
    "--algorithm",
    type=click.Choice([each.value for each in Algorithm]),
    help="Rotate the key of this one only: RS256 signs ID tokens, ES256 results.  [default: both]",
)
@click.pass_obj
def rotate(directory: Path, at_once: bool, algorithm: str | None) -> None:
    """Make a new signing key for each algorithm and publish it; it signs when all verifiers know it.

    With --now verifiers that keep the old set refuse what we sign, until they fetch the set again. Where the old key
    may be known to others, retire it as well.
    """
    now = utc_now()
    with opened(directory) as (store, _):
        wait = timedelta() if at_once else ROTATION_WAIT
        made = store.signing_keys.rotate(now, None if algorithm is None else Algorithm(algorithm), wait)
    for key in made:
        click.echo(f"{key.kid} {key.algorithm} {told(key, now, is_signing=key.signs_from <= now)}")


@signing_key.command()
@click.argument("kid")
@click.pass_obj
def retire(directory: Path, kid: str) -> None:
    """Take the key KID out of the published set, at once. What it has signed is refused from then on."""
    with opened(directory) as (store, _):
        store.signing_keys.retire(kid, utc_now())


def told(key: SigningKey, now: datetime, *, is_signing: bool) -> str:
    if key.signs_from > now:
        return f"signs from {rfc3339(key.signs_from)}"
    end = "" if key.retires_at is None else f"published until {rfc3339(key.retires_at)}"
    return ", ".join(part for part in ("signs" if is_signing else "", end) if part)


def shown(key: SigningKey, is_signing: bool) -> dict[str, object]:
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "signs": is_signing,
        "signs_from": rfc3339(key.signs_from),
        "retires_at": key.retires_at and rfc3339(key.retires_at),
    }
