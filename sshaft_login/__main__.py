"""`sshaft-login`, step three of a login: brings ticket, code and key to the agent and tells the person the outcome.

sshd runs it through the login account's shell after the key has signed. The ticket comes from the key line;
SSH_ORIGINAL_COMMAND has the words behind `ssh mfa@host`. Only built-in modules are loaded, as in `sshaft_keys`.
"""

import _signal
import posix
import sys

from sshaft import event, exit_status
from sshaft_login.asking import PROGRAM, ask
from sshaft_login.sentences import USAGE, about, choices, describe_login, message_for, sentence
from sshaft_login.terminal import (
    StopError,
    ask_code,
    choose,
    confirm,
    set_deadline,
    wait_for_return,
    write,
)
from sshaft_login.words import DENY, ENROL, read_wish

_MAX_AUTH_INFO = 64 * 1024
_MOST_QUESTIONS = 12
_READING_SECONDS = 100.0
_PASSED = "Your login goes on in the browser."
"""The end of the sentence after which nothing is left to read here."""

HELP = """\
Usage: sshaft-login --agent SOCKET --ticket T
       sshaft-login --config FILE --user USER

The forced command of a key line that sshaft-keys printed. Takes the code from SSH_ORIGINAL_COMMAND (482913, "482 913"
and 48-29-13 are the same code; "deny" rejects the login; "enrol 5821-7741" presents a key that is to be registered).
Asks for the code where one is needed and none was given, and again after a wrong one. Reads the key that signed from
SSH_USER_AUTH (sshd_config: ExposeAuthInfo yes), and reports the pass. Where the web login asks for a code from ssh, it
prints one; where several such logins wait, it asks which. Where browser and ssh come from different addresses, it asks
whether that is right. In a terminal without a command it waits for Return after its message.

  --agent SOCKET  report to the agent that listens there (/run/sshaft/login/agent.sock)
  --ticket T      the ticket that the agent wrote into the key line
  --config FILE   stand-alone: report to the identity service itself; FILE is config.json
  --user USER     stand-alone: whose key it was
  --version, --help

Exit status: 0 the identity service has accepted, or a code was printed, 1 wrong code, 2 no login is waiting or it is
over, 3 denied or not confirmed by you, 4 too many wrong codes, 64 usage or no code, 69 the service is not available,
70 a fault of this program, 75 too slow, 77 ticket, key or address not valid, 78 configuration.
"""


def main(arguments: list[str] | None = None) -> int:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # Ctrl-C ends the program without a stack trace
    try:
        status, text = _main(sys.argv[1:] if arguments is None else arguments)
    except StopError as stop:
        status, text = stop.status, stop.text
    except Exception as error:  # noqa: BLE001 - the last handler: the person never sees a stack trace
        event.write_to_syslog(PROGRAM, "login.failed", error=type(error).__name__, message=str(error))
        status, text = exit_status.SOFTWARE, "Something is wrong on this host. Tell your administrators."
    write(1 if status == exit_status.OK else 2, text + "\n")
    if _environment("SSH_TTY") and not _environment("SSH_ORIGINAL_COMMAND") and not text.endswith(_PASSED):
        # PuTTY has a terminal and no command. Its window closes with the session, and nobody could read the text.
        set_deadline(_READING_SECONDS, status, "")
        wait_for_return()
    return status


def _main(arguments: list[str]) -> tuple[int, str]:
    if arguments == ["--help"]:
        return exit_status.OK, HELP.rstrip()
    if arguments == ["--version"]:
        from sshaft import __version__  # noqa: PLC0415 - rarely needed

        return exit_status.OK, f"{PROGRAM} {__version__}"
    options = dict(zip((word[2:] for word in arguments[::2]), arguments[1::2], strict=False))
    ways = ({"agent", "ticket"}, {"config", "user"})
    if len(arguments) != 4 or set(options) not in ways or any(w[:2] != "--" for w in arguments[::2]):
        return exit_status.USAGE, f"{PROGRAM}: give --agent and --ticket, or --config and --user; see {PROGRAM} --help"
    return _log_in(options)


def _log_in(options: dict[str, str]) -> tuple[int, str]:
    wish = read_wish(_environment("SSH_ORIGINAL_COMMAND"))
    if wish is None:
        return exit_status.USAGE, USAGE
    client_ip = _client_ip(_environment("SSH_CONNECTION"))
    key = _key_used(_environment("SSH_USER_AUTH"))
    if "config" in options:
        from sshaft_login import standalone  # noqa: PLC0415 - loads requests and pydantic

        return standalone.run(options["config"], options["user"], wish, key, client_ip)
    if key is None:
        event.write_to_syslog(
            PROGRAM, "login.failed", error="no_auth_info", message="sshd_config needs: ExposeAuthInfo yes"
        )
        return sentence("misconfigured")
    fields = {"ticket": options["ticket"], "key_type": key[0], "key": key[1], "client_ip": client_ip}
    return _talk_to_agent(options["agent"], fields, wish)


def _talk_to_agent(agent: str, fields: dict[str, str], wish: str) -> tuple[int, str]:
    if wish.startswith(ENROL):
        from sshaft_login import enrolment  # noqa: PLC0415 - most logins do not need it

        return enrolment.run(agent, fields, wish.removeprefix(ENROL))
    described = ""
    can_ask_again = not wish or bool(_environment("SSH_TTY"))
    if wish and wish != DENY:
        fields["code"] = wish
    kind = "reject" if wish == DENY else "accept"
    for _ in range(_MOST_QUESTIONS):
        answer = ask(agent, kind, fields)
        state = answer.get("state")
        if state == "code_required" and not wish and "code" not in fields:
            write(2, describe_login(answer))
            described = about(answer)
        elif state == "invalid_code" and can_ask_again and answer.get("attempts_left", "0") != "0":
            write(2, message_for(answer, described)[1] + "\n")
        elif state == "choice_required" and not {"choice", "code"} & set(fields):
            word = choose(choices(answer))
            fields["choice" if len(word) == 1 else "code"] = word
            continue
        elif state == "confirm_required" and "confirmed" not in fields:
            confirm("" if about(answer) == described else describe_login(answer), fields["client_ip"])
            described = about(answer)
            fields["confirmed"] = "yes"
            continue
        else:
            break
        fields["code"] = ask_code()
        if fields["code"] == DENY:
            kind = "reject"
            del fields["code"]
    return message_for(answer, described)


def _key_used(path: str) -> tuple[str, str] | None:
    """Returns type and base64 of the key that signed, from the file that sshd's ExposeAuthInfo writes; or None."""
    if not path:
        return None
    try:
        file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = posix.read(file, _MAX_AUTH_INFO)
    finally:
        posix.close(file)
    for line in data.decode("ascii", "replace").split("\n"):
        words = line.split(" ")
        if len(words) == 3 and words[0] == "publickey":
            return words[1], words[2]
    return None


def _client_ip(connection: str) -> str:
    address = connection.partition(" ")[0][:64]
    return address if all(c in "0123456789abcdefABCDEF.:%_-" or c.isalnum() for c in address) else ""


def _environment(name: str) -> str:
    return posix.environ.get(name.encode(), b"").decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())
