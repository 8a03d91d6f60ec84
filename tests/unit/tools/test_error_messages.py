"""Tests the list of the messages of errors that the documentation's site has."""

from pathlib import Path

from tools.site.messages import Message, collect, page

TOP = Path(__file__).resolve().parents[3]
SOURCE = '''
class LampError(Exception):
    """The lamp
    is off.

    More."""

def light(name, hot):
    if hot:
        raise LampError("too_hot", detail="the lamp is too hot: wait" if name else f"{name}: too hot | now")
    return errors.LampError(f"{name}: no lamp *here*")
'''


def test_messages_are_those_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "sshaft_light").mkdir()
    (tmp_path / "sshaft_light" / "lamp.py").write_text(SOURCE)
    messages, meanings = collect(tmp_path)
    texts = ["the lamp is too hot: wait", "{...}: no lamp *here*", "{...}: too hot | now"]
    assert messages == [Message("sshaft_light", "LampError", text) for text in texts]
    assert meanings == {("sshaft_light", "LampError"): "The lamp is off."}
    lines = page(messages, meanings).splitlines()
    assert "### sshaft_light: LampError" in lines
    assert "The lamp is off." in lines
    assert r"| `{...}`: no lamp \*here\* |" in lines
    assert r"| `{...}`: too hot \| now |" in lines


def test_every_program_has_messages_and_every_error_says_what_it_means() -> None:
    messages, meanings = collect(TOP)
    programs = {path.parent.name for path in TOP.glob("sshaft*/__init__.py")} - {"sshaft_demo", "sshaft_keys"}
    assert {message.package for message in messages} >= programs
    own = {name for _package, name in meanings}
    unclear = {m.error for m in messages if m.error in own and not any(meanings.get((p, m.error)) for p, _ in meanings)}
    assert unclear == set()
