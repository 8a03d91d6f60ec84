"""Finds the answers: from options, from the terminal, or from what the host has already."""

from collections.abc import Callable, Mapping

import click

from sshaft_setup.questions import Answers, Question, of_role, option_of
from sshaft_setup.roles import TEXTS, Role

Ask = Callable[[Question, str | None], str]
"""Returns the answer to a question, for which the text is the answer to Enter."""


def role_at_terminal() -> Role:
    """Asks what this host should be."""
    click.echo("What should this host be?\n")
    for number, (role, meaning) in enumerate(TEXTS.items(), 1):
        click.echo(f"  {number}  {role:<20} {meaning}")
    click.echo()
    roles = list(TEXTS)

    def read(value: str) -> Role:
        if value in {str(number) for number in range(1, len(roles) + 1)}:
            return roles[int(value) - 1]
        if value in TEXTS:
            return Role(value)
        raise click.UsageError(f"{value!r}: give a number from 1 to {len(roles)}, or a name of the list.")

    answer: Role = click.prompt("Number", value_proc=read)
    return answer


def answers(role: Role, given: Answers, current: Answers, ask: Ask) -> dict[str, str]:
    """Returns an answer for each question of the role. An option counts more than what the host has.

    Raises `click.UsageError` for an option of another role, or for a wrong one.
    """
    questions = of_role(role)
    known = {each.name for each in questions}
    for name in given:
        if name not in known:
            raise click.UsageError(f"{option_of(name)} does not belong to --role {role}.")
    found: dict[str, str] = {}
    for each in questions:
        if not each.is_asked(found):
            if each.name in given:
                raise click.UsageError(f"{each.option} does not fit the options before it.")
            continue
        if each.name in given:
            found[each.name] = _checked(each, given[each.name])
        else:
            found[each.name] = ask(each, current.get(each.name, each.suggestion()))
    return found


def at_terminal(question: Question, usual: str | None) -> str:
    """Asks a person, until the answer is right."""

    def read(value: str) -> str:
        try:
            return question.check(value.strip())
        except ValueError as error:
            raise click.UsageError(f"{error}.") from None

    try:
        usual = None if usual is None else question.check(usual)
    except ValueError:
        usual = None  # somebody has written something else into the file
    if question.explanation:
        click.echo(f"\n{question.explanation}")
    shows = bool(usual) and question.name != "database"  # its URL may hold a password
    answer: str = click.prompt(question.text, default=usual, show_default=shows, value_proc=read)
    return answer


def without_questions(question: Question, usual: str | None) -> str:
    """Returns the usual answer. Raises `click.UsageError` if there is none: nobody is asked."""
    if usual is None:
        raise click.UsageError(f"Missing option '{question.option}': {question.help}")
    return _checked(question, usual)


def secret_at_terminal(*, has_one: bool, may_be_empty: bool) -> str:
    """Asks for the secret of the client, without showing it. Empty: keep the present one, or a public client."""
    usual = "Enter: keep the present one" if has_one else "Enter: a public client" if may_be_empty else ""
    text = f"Secret of the client{f' ({usual})' if usual else ''}"
    optional = has_one or may_be_empty
    answer: str = click.prompt(text, hide_input=True, default="" if optional else None, show_default=False)
    return answer.strip()


def _checked(question: Question, value: str) -> str:
    try:
        return question.check(value)
    except ValueError as error:
        raise click.UsageError(f"{question.option}: {error}.") from None


def changed(found: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """Returns the answers that differ from what the host has."""
    return {name: value for name, value in found.items() if current.get(name) != value}
