"""Puts the rows of "My activity" into the words of the page. A login is one row with its state and its steps."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sshaft_identity.challenges.challenge import MAX_LIFETIME
from sshaft_identity.common.language import N_, _
from sshaft_identity.pages.words import app_name, moment
from sshaft_identity.people.activity import Event, Happening, Outcome

_STATES = {
    Outcome.PASSED: N_("Passed"),
    Outcome.DENIED: N_("Denied"),
    Outcome.CANCELLED: N_("Cancelled"),
    Outcome.EXPIRED: N_("Too late"),
}


def happening_values(happening: Happening, names: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Returns the values that the page shows of a row. `names` are those of the person's keys, by fingerprint."""
    newest = happening.newest
    return {
        "title": _title_of_login(happening) if happening.is_login else _sentence(newest),
        "state": _state(happening, now) if happening.is_login else None,
        "tone": happening.tone,
        "facts": _facts(happening.facts, names),
        "steps": [_step(each, names) for each in reversed(happening.events)] if happening.is_login else [],
        **_time(newest),
    }


def _title_of_login(login: Happening) -> str:
    if login.newest.is_of_web_login:
        return _("Login to {app}").format(app=app_name(login.app)) if login.app else _("Login")
    return _("SSH login to {host}").format(host=login.app or "")


def _state(login: Happening, now: datetime) -> str:
    if login.outcome is not None:
        return _(_STATES[login.outcome])
    waits = now < login.events[-1].at + MAX_LIFETIME
    return _("Waiting") if waits else _("Over")


def _step(event: Event, names: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values of a step. The name of a key stands in the place of its fingerprint."""
    key = names.get(str(event.facts.get("fingerprint")))
    facts = [fact for fact in event.step_facts if not key or fact[1] != event.facts["fingerprint"]]
    passed = event.name == "challenge.accepted" and key
    text = _("Passed with the key {name}").format(name=key) if passed else _sentence(event)
    return {"text": text, "facts": _facts(facts, names), **_time(event)}


def _sentence(event: Event) -> str:
    return f"{_(event.sentence)}: {_(event.reason)}" if event.reason else _(event.sentence)


def _facts(facts: list[tuple[str, str]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns facts with the label of the page. `name`: that of the person's key, if the fact is its fingerprint."""
    return [
        {"label": _(label), "value": value, "name": names.get(value), "is_key": label == "Key"}
        for label, value in facts
    ]


def _time(event: Event) -> dict[str, str]:
    return {"at": moment(event.at), "iso": event.at.isoformat()}
