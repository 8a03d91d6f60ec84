"""Defines `sshaft identity signing-key`: lists, rotates and retires the signing keys (docs/operating.md)."""

from datetime import datetime, timedelta
from pathlib import Path

import click

from sshaft.command_line.output import Columns, json_option, write_list
from sshaft_identity.commands.shared import checked_store, say
from sshaft_identity.common.times import rfc3339, utc_now
from sshaft_identity.signing import signing_keys
from sshaft_identity.signing.signing_keys import ROTATION_WAIT, Algorithm, SigningKey


@click.group("signing-key")
def signing_key() -> None:
    """Signing keys: RS256 for ID tokens, ES256 for results. A new key is published first and signs later."""


@signing_key.command("list")
@json_option
@click.pass_obj
def list_keys(directory: Path, as_json: bool) -> None:
    """Print the published keys, the newest first."""
    now = utc_now()
    with checked_store(directory) as (store, _):
        keys = store.signing_keys.published(now)
    current = [signing_keys.current_key(keys, now, each) for each in Algorithm]
    status = {key.kid: _status(key, now, is_signing=key in current) for key in keys}
    columns: Columns = {"KID": "kid", "ALGORITHM": "algorithm", "STATUS": lambda row: status[row["kid"]]}
    rows = [_as_json(key, key in current) for key in keys]
    write_list(rows, columns, as_json=as_json, nothing="No signing key: `sshaft identity init` makes them.")


@signing_key.command()
@click.option(
    "--now", "at_once", is_flag=True, help=f"Sign with it at once, not after {ROTATION_WAIT}: for emergencies."
)
@click.option(
    "--algorithm",
    type=click.Choice([each.value for each in Algorithm]),
    help="Rotate only this key: RS256 signs ID tokens, ES256 signs results.  [default: both]",
)
@click.pass_obj
def rotate(directory: Path, at_once: bool, algorithm: str | None) -> None:
    """Make and publish a new signing key for each algorithm. It signs as soon as all verifiers know it.

    With --now, verifiers that cache the old set refuse new signatures until they fetch the set again. If others may
    know the old key, retire it as well.
    """
    now = utc_now()
    with checked_store(directory) as (store, _):
        wait = timedelta() if at_once else ROTATION_WAIT
        made = store.signing_keys.rotate(now, None if algorithm is None else Algorithm(algorithm), wait)
    for key in made:
        click.echo(f"{key.kid} {key.algorithm} {_status(key, now, is_signing=key.signs_from <= now)}")
    say("The signing keys were rotated." if algorithm is None else f"The signing key for {algorithm} was rotated.")


@signing_key.command()
@click.argument("kid")
@click.pass_obj
def retire(directory: Path, kid: str) -> None:
    """Remove the key KID from the published set at once. Verifiers then refuse its signatures."""
    with checked_store(directory) as (store, _):
        store.signing_keys.retire(kid, utc_now())
    say(f"The signing key {kid} was retired.")


def _status(key: SigningKey, now: datetime, *, is_signing: bool) -> str:
    if key.signs_from > now:
        return f"signs from {rfc3339(key.signs_from)}"
    end = "" if key.retires_at is None else f"published until {rfc3339(key.retires_at)}"
    return ", ".join(part for part in ("signs" if is_signing else "", end) if part)


def _as_json(key: SigningKey, is_signing: bool) -> dict[str, object]:
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "signs": is_signing,
        "signs_from": rfc3339(key.signs_from),
        "retires_at": key.retires_at and rfc3339(key.retires_at),
    }
