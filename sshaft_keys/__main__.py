"""`sshaft-keys`, step one of a login: takes the offered key from sshd and prints the line that lets it in, or nothing.

With `--agent` it loads only built-in modules, because sshd starts it several times a login, before any proof of
identity. It prints everything at once at the end; sshd discards the output if the exit status is not 0.
"""

import _signal
import posix
import sys
import time

from sshaft import agent_socket, event, exit_status

PROGRAM = "sshaft-keys"
DEADLINE = 3.0
"""Seconds. sshd waits for this program as long as its LoginGraceTime, and the person cannot cancel."""

HELP = """\
Usage: sshaft-keys --agent SOCKET --fingerprint %f --type %t --key %k
       sshaft-keys --config FILE [--fingerprint %f --type %t --key %k]

The AuthorizedKeysCommand of sshd: prints the authorized_keys line of the offered key if its owner's login is waiting.

  --agent SOCKET      ask the agent that listens there (/run/sshaft/keys/agent.sock)
  --config FILE       stand-alone: ask the identity service itself; FILE is config.json
  --fingerprint TEXT  %f of sshd: SHA256:...
  --type TEXT         %t of sshd: ssh-ed25519, ...
  --key TEXT          %k of sshd: base64
  --version, --help

Stand-alone and without a key it prints a line for every key of every user whose login is waiting.

Exit status: 0 done (nothing printed: no), 64 usage, 65 the agent gave no usable answer, 69 the identity service or the
agent is not available, 70 a fault of this program, 75 not done within 3 seconds, 78 configuration.
"""

OPTIONS = ("agent", "config", "fingerprint", "type", "key")


def main(arguments: list[str] | None = None) -> int:
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    except Exception as error:  # noqa: BLE001 - the last handler: one event, no stack trace
        event.write(PROGRAM, "keys.failed", error=type(error).__name__, message=str(error))
        return exit_status.SOFTWARE


def _main(arguments: list[str]) -> int:  # noqa: PLR0911 - one return for each kind of call
    if arguments == ["--help"]:
        _print(HELP)
        return exit_status.OK
    if arguments == ["--version"]:
        from sshaft import __version__  # noqa: PLC0415 - rarely needed

        _print(f"{PROGRAM} {__version__}\n")
        return exit_status.OK
    options = parse(arguments, OPTIONS)
    if isinstance(options, str):
        return _usage(options)
    if ("agent" in options) == ("config" in options):
        return _usage("give either --agent SOCKET or --config FILE")
    if "config" in options:
        began = time.monotonic()
        from sshaft_keys import standalone  # noqa: PLC0415 - loads requests and pydantic

        return standalone.run(options, DEADLINE - (time.monotonic() - began), _print)
    missing = [name for name in ("fingerprint", "type", "key") if name not in options]
    if missing:
        return _usage(f"--agent needs --{missing[0]} too")
    return _ask_agent(options)


def _ask_agent(options: dict[str, str]) -> int:
    request_id = posix.urandom(16).hex()
    _signal.signal(_signal.SIGALRM, lambda *_: _too_late(request_id))
    _signal.setitimer(_signal.ITIMER_REAL, DEADLINE)
    question = {name: options[name] for name in ("fingerprint", "type", "key")}
    try:
        kind, answer = agent_socket.ask(options["agent"], "keys", {**question, "request_id": request_id})
    except agent_socket.AgentUnavailableError as error:
        event.write(PROGRAM, "keys.failed", error="agent_unavailable", message=str(error), request_id=request_id)
        return exit_status.UNAVAILABLE
    if kind != "keys" or "lines" not in answer:
        reason = answer.get("reason", "unknown answer")
        event.write(PROGRAM, "keys.failed", error=reason, message="the agent gives no keys", request_id=request_id)
        return exit_status.UNAVAILABLE if kind == "error" else exit_status.DATA
    _print(answer["lines"])
    return exit_status.OK


def _too_late(request_id: str) -> None:
    event.write(PROGRAM, "keys.failed", error="deadline", message="no answer within 3 s", request_id=request_id)
    posix._exit(exit_status.TEMPORARY)  # noqa: SLF001 - this is os._exit: no other code may run after it


def parse(arguments: list[str], known: tuple[str, ...]) -> dict[str, str] | str:
    """Parses `--name value` and `--name=value`. Returns a string that says what is wrong, if anything is.

    argparse would take 20 ms more.
    """
    options: dict[str, str] = {}
    rest = list(reversed(arguments))
    while rest:
        word = rest.pop()
        name, equals, value = word.partition("=")
        if name[:2] != "--" or name[2:] not in known:
            return f"unknown option {name}"
        if name[2:] in options:
            return f"{name} is given twice"
        if not equals:
            if not rest:
                return f"{name} needs a value"
            value = rest.pop()
        options[name[2:]] = value
    return options


def _usage(message: str) -> int:
    event.write(PROGRAM, "keys.failed", error="usage", message=f"{message}; see {PROGRAM} --help")
    return exit_status.USAGE


def _print(text: str) -> None:
    data = text.encode()
    try:
        while data:
            data = data[posix.write(1, data) :]
    except BrokenPipeError:
        pass  # sshd stops reading when it has found its line


if __name__ == "__main__":
    sys.exit(main())
