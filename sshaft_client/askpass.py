"""The program that ssh starts for each question (SSH_ASKPASS). It takes the token from the broker, or asks the person.

It imports built-in modules and small ones only: ssh waits for it.
"""

import os
import sys

from sshaft import agent_socket
from sshaft.text import printable

_MAX_PROMPT = 16 * 1024
_VISIBLE = ("(yes/no)", "(yes/no/[fingerprint])? ", "Please type 'yes' or 'no': ", "'yes', 'no' or the fingerprint: ")


def main(words: list[str]) -> int:
    """Prints the answer to a question. `words` are the socket of the broker, and the question of ssh."""
    path, prompt = words[0], " ".join(words[1:2])
    kind, fields = _ask_broker(path, prompt)
    if explanation := fields.get("explanation"):
        sys.stderr.write(f"sshaft: {explanation}\n")
        sys.stderr.flush()
    try:
        answer = fields.get("text", "") if kind == "answer" else _ask_person(prompt) if kind == "person" else None
    except KeyboardInterrupt:  # Ctrl-C ends ssh too
        answer = None
    if answer is None:
        return 1
    sys.stdout.write(answer + "\n")
    return 0


def _ask_broker(path: str, prompt: str) -> tuple[str, dict[str, str]]:
    """Returns the answer of the broker, or `person`: it has none, or is gone."""
    try:
        return agent_socket.ask(path, "prompt", {"prompt": prompt[:_MAX_PROMPT], "ssh": str(os.getppid())})
    except agent_socket.AgentUnavailableError:
        return "person", {}


def _ask_person(prompt: str) -> str | None:
    """Returns what the person types at the terminal, or in the window of their own askpass. None: there is neither."""
    is_seen = prompt.endswith(_VISIBLE)
    own, require = os.environ.get("SSHAFT_SSH_ASKPASS"), os.environ.get("SSHAFT_SSH_ASKPASS_REQUIRE", "").lower()
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        terminal = -1
    if own and require != "never" and (require == "force" or (has_display and (terminal < 0 or require == "prefer"))):
        os.execvp(own, [own, prompt])  # noqa: S606 - the person's own program, with the standard output for ssh
    if terminal < 0:
        return None
    shown = "\n".join(printable(line, 1000) for line in prompt.split("\n"))
    return _read_line(terminal, shown, is_seen=is_seen)


def _read_line(terminal: int, shown: str, *, is_seen: bool) -> str | None:
    import termios  # noqa: PLC0415 - only where a person types

    before = termios.tcgetattr(terminal)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    try:
        if not is_seen:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        os.write(terminal, shown.encode())
        line = b""
        while not line.endswith(b"\n"):
            part = os.read(terminal, 1024)
            if not part:
                return None
            line += part
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        if not is_seen:
            os.write(terminal, b"\n")
    return line.decode(errors="surrogateescape").rstrip("\r\n")
