"""Tests the forced command as the real process that sshd starts, with good, bad and missing agents."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest
from fakes import public_keys
from fakes.unix_server import UnixServer

from sshaft import messages
from sshaft_identity.people.key_policy import KeyRefusal
from sshaft_login import enrolment
from sshaft_login.sentences import USAGE, sentence

TOP = Path(__file__).parents[3]
PYTHON = str(Path(sys.executable).resolve())
KEY = public_keys.ed25519()
TYPE, ENCODED = public_keys.of(KEY)


def result(**fields: str) -> bytes:
    return messages.encode("result", fields)


ACCEPTED = result(state="accepted", reference="0" * 32)
CODE_REQUIRED = result(state="code_required", reference="0" * 32)


class Login:
    """The command in the environment that sshd gives it."""

    def __init__(self, launcher: Path, place: Path) -> None:
        self.launcher = launcher
        self.socket = place / "agent.sock"
        self.auth_info = place / "auth_info"
        self.auth_info.write_text(f"publickey {KEY}\n")
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "SSH_CONNECTION": "192.0.2.7 51234 192.0.2.1 22",
            "SSH_USER_AUTH": str(self.auth_info),
        }

    def __call__(
        self, command: str | bytes | None = None, *, typed: bytes = b"", **environment: str | bytes | None
    ) -> Any:
        changed: dict[str, Any] = self.environment | {"SSH_ORIGINAL_COMMAND": command} | environment
        return self.run(
            "--agent",
            str(self.socket),
            "--ticket",
            "tSecret-1",
            input=typed,
            env={name: value for name, value in changed.items() if value is not None},
        )

    def dialogue(self, command: str | None = None, typed: bytes = b"", **environment: str) -> "Dialogue":
        """Starts the command with an open input."""
        changed = self.environment | ({"SSH_ORIGINAL_COMMAND": command} if command else {}) | environment
        words = [self.launcher, "--agent", self.socket, "--ticket", "tSecret-1"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0, env=changed)
        return Dialogue(process, typed)

    def run(self, *words: str | bytes, **more: Any) -> tuple[int, str, str]:
        done = subprocess.run(
            [self.launcher, *words], **({"env": self.environment} | more), capture_output=True, timeout=60, check=False
        )
        shown = done.stdout + done.stderr
        assert all(byte == 0x0A or 0x20 <= byte < 0x7F for byte in shown), "something raw reached the terminal"
        return done.returncode, done.stdout.decode(), done.stderr.decode()


class Dialogue:
    """A running command whose person reads before typing."""

    def __init__(self, process: "subprocess.Popen[bytes]", typed: bytes) -> None:
        self.process = process
        if typed:
            self.type(typed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def type(self, typed: bytes, *, last: bool = False) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(typed)
        self.process.stdin.flush()
        if last:
            self.process.stdin.close()
            self.process.stdin = None

    def read_until(self, end: str, after: str = "") -> str:
        """Returns what is shown up to `end`, where that stands behind `after`."""
        assert self.process.stdout is not None
        shown = ""
        while not (after in shown and shown[shown.index(after) :].endswith(end)):
            part = self.process.stdout.read(1)
            assert part, shown
            shown += part.decode()
        return shown

    def status(self) -> int:
        return self.process.wait(20)


@pytest.fixture
def login(launchers: Path, tmp_path: Path) -> Login:
    return Login(launchers / "sshaft-login", tmp_path)


def test_agent_gets_the_code_and_the_key_that_signed(login: Login) -> None:
    with UnixServer(login.socket, ACCEPTED) as agent:
        assert login("482 913") == (0, "Passed. Your login goes on in the browser.\n", "")
    assert agent.asked == [
        (
            "accept",
            {"ticket": "tSecret-1", "key_type": TYPE, "key": ENCODED, "client_ip": "192.0.2.7", "code": "482913"},
        )
    ]


def test_request_without_a_code_has_no_code_field(login: Login) -> None:
    with UnixServer(login.socket, ACCEPTED) as agent:
        assert login()[0] == 0
    assert "code" not in agent.asked[0][1]


def test_deny_rejects_the_login(login: Login) -> None:
    with UnixServer(login.socket, result(state="rejected")) as agent:
        status, out, err = login("deny")
    assert (status, out) == (3, "")
    assert err.startswith("Denied.")
    ((kind, fields),) = agent.asked
    assert kind == "reject"
    assert "code" not in fields


@pytest.mark.parametrize(
    "command", ["sh", "482913 or", "1234567890123", "482913;id", b"\xff\xfe", "\x1b[2J", "1" * 100_000]
)
def test_other_words_print_the_usage_and_send_no_request(login: Login, command: str | bytes) -> None:
    with UnixServer(login.socket, ACCEPTED) as agent:
        status, out, err = login(command)
    assert (status, out) == (64, "")
    assert err.startswith("Usage: ssh")
    assert agent.asked == []


# --- the prompt


@pytest.mark.parametrize(
    ("typed", "sent"),
    [(b"482913\n", "482913"), (b" 482 913 \r\n", "482913"), (b"48-29-13", "482913"), (b"1\n2\n", "1")],
)
def test_person_is_asked_for_a_missing_code(login: Login, typed: bytes, sent: str) -> None:
    with UnixServer(login.socket, CODE_REQUIRED, ACCEPTED) as agent:
        assert login(typed=typed) == (0, "Passed. Your login goes on in the browser.\n", "Code: ")
    first, second = agent.asked
    assert "code" not in first[1]
    assert second == ("accept", first[1] | {"code": sent})


@pytest.mark.parametrize("typed", [b"", b"\n", b"  \r\n"])
def test_end_of_input_at_the_prompt_says_what_to_do(login: Login, typed: bytes) -> None:
    with UnixServer(login.socket, CODE_REQUIRED, ACCEPTED) as agent:
        status, out, err = login(typed=typed)
    assert (status, out) == (64, "")
    assert err.endswith(f"Code: \nNo code came. {USAGE}\n")
    assert len(agent.asked) == 1


@pytest.mark.parametrize("typed", [b"abc\n", b"1234567890123\n", b"\x1b[A\n", b"\xff\n", b"9" * 100_000, b"enrol 1\n"])
def test_text_that_is_no_code_is_named_so_and_the_person_is_asked_again(login: Login, typed: bytes) -> None:
    """Finding N14: "that is no code" was never said."""
    with UnixServer(login.socket, CODE_REQUIRED, ACCEPTED) as agent:
        status, out, err = login(typed=typed)
    assert (status, out) == (64, "")
    assert err.startswith("Code: That is no code: a code has digits only.\nCode: ")
    assert len(agent.asked) == 1


def test_person_can_deny_at_the_prompt(login: Login) -> None:
    """Finding N14: `deny` typed at the prompt was refused."""
    with UnixServer(login.socket, CODE_REQUIRED, result(state="rejected")) as agent:
        assert login(typed=b"Deny\n")[0] == 3
    assert [kind for kind, _ in agent.asked] == ["accept", "reject"]
    assert "code" not in agent.asked[1][1]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_each_line_end_ends_a_line_at_once(login: Login, end: bytes) -> None:
    """Case bare_cr, finding N4: the prompt waited for a line feed. The second code comes while the input is open."""
    wrong = result(state="invalid_code", attempts_left="4")
    with UnixServer(login.socket, CODE_REQUIRED, wrong, ACCEPTED) as agent, login.dialogue() as dialogue:
        dialogue.read_until("Code: ")
        dialogue.type(b"100000" + end)
        shown = dialogue.read_until("Code: ")
        dialogue.type(b"482913" + end)
        assert dialogue.status() == 0
    assert [fields.get("code") for _, fields in agent.asked] == [None, "100000", "482913"]
    assert ("left.\r\n" in shown) is (end == b"\r")  # a terminal in raw mode would show a staircase


def test_backspace_removes_a_character(login: Login) -> None:
    """Finding N4: PuTTY and dbclient send what the person types as it is."""
    with UnixServer(login.socket, CODE_REQUIRED, ACCEPTED) as agent, login.dialogue() as dialogue:
        dialogue.type(b"4829\x7f\b2913\r")
        assert dialogue.status() == 0
    assert agent.asked[1][1]["code"] == "482913"


def test_wrong_code_at_the_prompt_may_be_corrected_while_tries_are_left(login: Login) -> None:
    """Finding U11: one wrong code ended the session."""
    answers = [result(state="invalid_code", attempts_left=left) for left in ("2", "1", "0")]
    with UnixServer(login.socket, CODE_REQUIRED, *answers) as agent:
        status, _, err = login(typed=b"1\n2\n3\n4\n")
    assert (status, len(agent.asked)) == (4, 4)
    assert err.count("That is not the code of your login.") == err.count("Code: ") == 3


def test_wrong_code_of_the_command_may_be_corrected_in_a_terminal(login: Login) -> None:
    """Finding U11. Without a terminal the session ends: a script must not wait for a person."""
    answers = [result(state="invalid_code", attempts_left="4"), ACCEPTED]
    with UnixServer(login.socket, *answers) as agent:
        status, out, err = login("111111", typed=b"482913\n", SSH_TTY="/dev/pts/0")
    assert (status, out) == (0, "Passed. Your login goes on in the browser.\n")
    assert err == "That is not the code of your login. 4 tries are left.\nCode: "
    assert [fields["code"] for _, fields in agent.asked] == ["111111", "482913"]
    login.socket = login.socket.with_name("b")
    with UnixServer(login.socket, *answers):
        status, out, err = login("111111", typed=b"482913\n")
    assert (status, out, err) == (1, "", "That is not the code of your login. 4 tries are left.\n")


def test_agent_that_always_wants_a_code_is_asked_twice(login: Login) -> None:
    with UnixServer(login.socket, CODE_REQUIRED) as agent:
        assert login(typed=b"1\n1\n1\n")[0] == 64
    assert len(agent.asked) == 2
    with UnixServer(login.socket.with_name("b"), CODE_REQUIRED) as agent:
        login.socket = Path(agent.path)
        assert login("482913")[0] == 64
    assert len(agent.asked) == 1


def test_closed_input_counts_as_end_of_input(login: Login) -> None:
    with UnixServer(login.socket, CODE_REQUIRED):
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" <&-', "sh", login.launcher, "--agent", login.socket, "--ticket", "t"],
            capture_output=True,
            text=True,
            check=False,
            env=login.environment,
        )
    assert done.returncode in (64, 70)
    assert done.stderr.startswith("Code: ")
    assert "Traceback" not in done.stderr


# --- answers


@pytest.mark.parametrize(
    "state",
    [
        "invalid_code",
        "no_challenge",
        "expired",
        "cancelled",
        "already_rejected",
        "already_used",
        "too_many_attempts",
        "unknown_key",
        "refused",
        "invalid_ticket",
        "wrong_key",
        "no_denials",
        "unavailable",
        "misconfigured",
        "new",
    ],
)
def test_refusal_is_printed_on_standard_error_with_its_status(login: Login, state: str) -> None:
    with UnixServer(login.socket, result(state=state, attempts_left="4", reference="0123456789abcdef")):
        status, text = sentence(state, "4", "0123456789abcdef")
        assert login("482913") == (status, "", text + "\n")
    assert status != 0


@pytest.mark.parametrize(
    ("state", "more", "said"),
    [
        ("already_used", {"ended_ago": "0"}, "Your login was passed already: just now. If that was not you, tell"),
        (
            "already_used",
            {"ended_ago": "130", "ended_with": "laptop"},
            "Your login was passed already: 3 minutes ago, with the key laptop. If that",
        ),
        (
            "already_rejected",
            {"ended_ago": "1", "ended_with": "SHA256:x", "ended_because": "denied"},
            "Your login was denied: 1 second ago, with the key SHA256:x. Start it again",
        ),
        (
            "already_rejected",
            {"ended_ago": "9", "ended_because": "not_me"},
            "Your login was denied in the browser: 9 seconds ago. Start it again",
        ),
        (
            "cancelled",
            {"ended_ago": "5", "ended_because": "cancelled_in_browser"},
            "Your login was cancelled 5 seconds ago in the browser. Start it again there.",
        ),
        ("expired", {"ended_ago": "65"}, "Your login expired 65 seconds ago. Start it again"),
        ("cancelled", {"ended_ago": "5"}, "Your login was cancelled 5 seconds ago. Start it again"),
        (
            "cancelled",
            {"ended_ago": "5", "ended_because": "superseded"},
            "Your login was cancelled 5 seconds ago: a newer one took its place. Use the code that the newest page",
        ),
        ("expired", {"ended_ago": "soon", "ended_with": "laptop"}, "Your login has expired."),
        ("refused", {"ended_ago": "5", "ended_with": "laptop"}, "Your login was refused."),
        (
            "already_used",
            {"ended_ago": "5", "ended_with": "\x1b[2J\nPassed."},
            r"Your login was passed already: 5 seco",
        ),
    ],
)
def test_person_reads_what_became_of_a_login_that_is_over(
    login: Login, state: str, more: dict[str, str], said: str
) -> None:
    """Finding U12: ssh said only that no login was waiting."""
    with UnixServer(login.socket, result(state=state, **more)):
        _, out, err = login("482913")
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(said)


def test_passed_login_names_its_person(login: Login) -> None:
    with UnixServer(login.socket, result(state="accepted", user="alice\x1b[2J\n" + "x" * 100)):
        status, out, _ = login("482913")
    assert (status, out.count("\n")) == (0, 1)
    assert out.startswith(r"Passed for alice\x1b[2J\x0axxx")
    assert len(out) < 120


HOSTILE = '\x1b]0;evil\x07\x1b[2J\r\n{"event": "login.accepted"}\u202e\u2028'


@pytest.mark.parametrize(
    "answer",
    [
        result(state=HOSTILE, attempts_left=HOSTILE, reference=HOSTILE),
        result(state="invalid_code", attempts_left=HOSTILE, reference=HOSTILE),
        result(state="unavailable", attempts_left="9" * 1000, reference=HOSTILE),
        result(state=f"accepted{HOSTILE}"),
        result(state="accepted "),
        result(),
        result(states="accepted"),
        messages.encode("error", {"reason": HOSTILE, "state": "accepted"}),
        messages.encode("error", {"state": "accepted"}),
        messages.encode("keys", {"state": "accepted", "lines": HOSTILE}),
        ACCEPTED[:-1],
        ACCEPTED.replace(b"accepted", b"accepted\xff"),
        ACCEPTED + b"x",
        HOSTILE.encode(),
        b"a" * 200_000,
        b"",
    ],
    ids=lambda answer: repr(answer)[:40],
)
def test_hostile_answer_is_a_refusal_and_reaches_the_terminal_escaped(login: Login, answer: bytes) -> None:
    with UnixServer(login.socket, answer):
        status, out, err = login("482913")
    assert status in (1, 69, 77)
    assert out == ""
    assert err.count("\n") == 1
    assert "evil" not in err


def test_missing_agent_is_one_calm_line_without_internals(login: Login) -> None:
    status, out, err = login("482913")
    assert (status, out) == (69, "")
    assert err == "The login service can't be reached just now. Try again in a minute.\n"


# --- the key and the address that sshd reports


@pytest.mark.parametrize(
    "auth_info", [None, "", "/nowhere", "empty", "password", "hostbased", "short", "long", "binary"]
)
def test_missing_auth_info_is_a_wrong_set_up_and_sends_no_request(login: Login, auth_info: str | None) -> None:
    texts = {
        "empty": b"",
        "password": b"password\n",
        "hostbased": f"hostbased {KEY}\n".encode(),
        "short": b"publickey ssh-ed25519\n",
        "long": f"publickey {KEY} comment\n".encode(),
        "binary": os.urandom(1000).replace(b"\n", b"") + b"\n",
    }
    path: str | None = auth_info
    if auth_info in texts:
        login.auth_info.write_bytes(texts[auth_info])
        path = str(login.auth_info)
    with UnixServer(login.socket, ACCEPTED) as agent:
        status, out, err = login("482913", SSH_USER_AUTH=path)
    assert (status, out, err) == (78, "", "This host is not set up for it. Tell your administrators.\n")
    assert agent.asked == []


def test_key_is_found_among_other_methods(login: Login) -> None:
    login.auth_info.write_text(f"password\npublickey {KEY}\n")
    with UnixServer(login.socket, ACCEPTED) as agent:
        assert login("1")[0] == 0
    assert agent.asked[0][1]["key"] == ENCODED


@pytest.mark.parametrize(
    ("connection", "address"),
    [
        ("192.0.2.7 1 192.0.2.1 22", "192.0.2.7"),
        ("2001:db8::1 1 ::1 22", "2001:db8::1"),
        ("fe80::1%eth0 1 ::1 22", "fe80::1%eth0"),
        ("UNKNOWN 65535 UNKNOWN 65535", "UNKNOWN"),
        ("", ""),
        (None, ""),
        ("\x1b[2J 1", ""),
        ("a\nb 1", ""),
        ("x" * 1000, "x" * 64),
    ],
)
def test_agent_gets_a_valid_client_address(login: Login, connection: str | None, address: str) -> None:
    with UnixServer(login.socket, ACCEPTED) as agent:
        login("1", SSH_CONNECTION=connection)
    assert agent.asked[0][1]["client_ip"] == address


# --- options and start-up


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--agent", "/s"],
        ["--agent", "/s", "--ticket"],
        ["--agent", "/s", "--agent", "/t"],
        ["--agent", "/s", "--user", "u"],
        ["--config", "/c", "--ticket", "t"],
        ["--agent", "/s", "--ticket", "t", "--user", "u", "--config", "/c"],
        ["--agent=/s", "--ticket=t", "--x=y", "z"],
        ["xxagent", "/s", "--ticket", "t"],
        ["/s", "--agent", "t", "--ticket"],
        ["-c", "id"],
        [b"\xff", b"\x1b[2J"],
    ],
    ids=ascii,
)
def test_wrong_options_are_one_line_and_status_64(login: Login, words: list[str | bytes]) -> None:
    status, out, err = login.run(*words)
    assert (status, out) == (64, "")
    assert err.startswith("sshaft-login: give --agent and --ticket")
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_are_printed(login: Login, option: str) -> None:
    status, out, err = login.run(option)
    assert (status, err) == (0, "")
    assert "sshaft-login" in out


LOADED = """
import sys
sys.path.append({top!r})
from sshaft_login.__main__ import main
main(["--agent", {socket!r}, "--ticket", "t"])
sys.stderr.write("\\n" + " ".join(sys.modules) + "\\n")
"""


@pytest.mark.parametrize(
    "answers", [[ACCEPTED], [CODE_REQUIRED, ACCEPTED], [b"broken"]], ids=["code", "prompt", "broken"]
)
def test_only_built_in_modules_and_sshaft_are_loaded(login: Login, answers: list[bytes]) -> None:
    def modules(code: str) -> set[str]:
        done = subprocess.run(
            [PYTHON, "-I", "-S", "-c", code],
            capture_output=True,
            text=True,
            input="1\n",
            check=True,
            timeout=60,
            env=login.environment,
        )
        return set(done.stderr.splitlines()[-1].split())

    bare = modules('import sys; sys.stderr.write(" ".join(sys.modules))')
    with UnixServer(login.socket, *answers):
        loaded = modules(LOADED.format(top=str(TOP), socket=str(login.socket)))
    own = {name for name in loaded if name.partition(".")[0] in ("sshaft", "sshaft_login")}
    # some builds of Python have _socket as a file; in Debian it is built in
    assert loaded - bare - own - {"__main__"} <= {
        *sys.builtin_module_names,
        "_socket",
    }
    assert "sshaft_login.standalone" not in own


def test_closed_terminal_is_no_failure(login: Login) -> None:
    read, write = os.pipe()
    os.close(read)
    with UnixServer(login.socket, ACCEPTED) as agent:
        done = subprocess.run(
            [login.launcher, "--agent", login.socket, "--ticket", "t"],
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            env=login.environment | {"SSH_ORIGINAL_COMMAND": "1"},
            check=False,
            timeout=60,
        )
    os.close(write)
    assert done.returncode == 0
    assert len(agent.asked) == 1


def test_fault_of_the_program_shows_no_internals(login: Login, tmp_path: Path) -> None:
    with UnixServer(login.socket, ACCEPTED):
        status, out, err = login("1", SSH_USER_AUTH=str(tmp_path))  # a directory: can't be read as a file
    assert (status, out) == (70, "")
    assert err == "Something is wrong on this host. Tell your administrators.\n"
    assert not json.dumps(err).count("Errno")


# --- descriptions of the login, and codes for the browser


WIKI = {"app": "Wiki", "address": "198.51.100.7", "age": "20"}
ABOUT = "Login to Wiki, from a browser at 198.51.100.7, started 20 seconds ago.\n"
CONFIRM = result(state="confirm_required", reference="0" * 32, **WIKI)


def test_message_describes_the_accepted_login(login: Login) -> None:
    with UnixServer(login.socket, result(state="accepted", **WIKI)):
        assert login("482913") == (0, ABOUT + "Passed. Your login goes on in the browser.\n", "")


def test_prompt_for_the_code_describes_the_login(login: Login) -> None:
    with UnixServer(login.socket, result(state="code_required", **WIKI), ACCEPTED):
        status, _, err = login(typed=b"482913\n")
    assert (status, err) == (0, ABOUT + "Code: ")


def test_code_for_the_browser_is_printed(login: Login) -> None:
    with UnixServer(login.socket, result(state="presented", code="550127", **WIKI)) as agent:
        assert login() == (0, ABOUT + "Type it where your login asks for it: 550127\n", "")
    assert [kind for kind, _ in agent.asked] == ["accept"]


@pytest.mark.parametrize("code", ["", "55\x1b[2J0127", "abc", "\u0665\u0665\u0660"])
def test_only_digits_are_printed_as_a_code(login: Login, code: str) -> None:
    with UnixServer(login.socket, result(state="presented", code=code)):
        assert login()[0] == 69


NUMBER = re.compile(r"type (\d\d): ")


def test_login_from_another_address_is_accepted_after_a_confirmation(login: Login) -> None:
    """Finding S10: the number stands in the question only."""
    with UnixServer(login.socket, CONFIRM, ACCEPTED) as agent, login.dialogue("482913") as dialogue:
        shown = dialogue.read_until(": ", after="type")
        number = NUMBER.search(shown)
        assert number
        assert shown == ABOUT + f"This ssh comes from 192.0.2.7.\nIf this login is yours, type {number[1]}: "
        dialogue.type(f" {number[1]}\r\n".encode())
        assert dialogue.status() == 0
    first, second = (fields for _, fields in agent.asked)
    assert second == first | {"confirmed": "yes"}


@pytest.mark.parametrize("typed", [b"", b"\n", b"y\n", b"yes\n", b"n\n", b"482913\n", b"\xff\n", b"y\ny\ny\ny\n"])
def test_answer_that_was_typed_in_advance_confirms_no_login(login: Login, typed: bytes) -> None:
    """Finding S10: `echo y | ssh ...` confirmed a login that nobody had looked at."""
    with UnixServer(login.socket, CONFIRM, ACCEPTED) as agent:
        status, out, err = login("482913", typed=typed)
    assert (status, out) == (3, "")
    assert "Nothing was passed." in err
    assert len(agent.asked) == 1


def test_all_numbers_in_advance_confirm_no_login(login: Login) -> None:
    """Finding S10: what was typed before the question does not count."""
    every = "".join(f"{number}\n" for number in range(10, 100)).encode()
    with UnixServer(login.socket, CONFIRM, ACCEPTED) as agent, login.dialogue("482913", typed=every) as dialogue:
        dialogue.read_until(": ", after="type")
        dialogue.type(b"n\n")
        assert dialogue.status() == 3
    assert len(agent.asked) == 1


def test_typing_error_in_the_confirmation_is_asked_again_with_another_number(login: Login) -> None:
    """Finding U25: an own typing error ended the login as denied."""
    with UnixServer(login.socket, CONFIRM, ACCEPTED), login.dialogue("482913") as dialogue:
        dialogue.read_until(": ", after="type")
        dialogue.type(b"1\n")
        number = NUMBER.search(dialogue.read_until(": ", after="type"))
        assert number
        dialogue.type(number[1].encode() + b"\n")
        assert dialogue.status() == 0


def test_agent_that_always_wants_a_confirmation_is_asked_twice(login: Login) -> None:
    with UnixServer(login.socket, CONFIRM, CONFIRM, CONFIRM) as agent, login.dialogue("482913") as dialogue:
        number = NUMBER.search(dialogue.read_until(": ", after="type"))
        assert number
        dialogue.type(number[1].encode() + b"\n")
        assert dialogue.status() != 0
    assert len(agent.asked) == 2


def test_login_is_described_once(login: Login) -> None:
    """Finding N14: "Login to ..." was printed twice."""
    required = result(state="code_required", **WIKI)
    with UnixServer(login.socket, required, result(state="accepted", **(WIKI | {"age": "31"}))):
        status, out, err = login(typed=b"482913\n")
    assert (status, out.count("Login to"), err.count("Login to")) == (0, 0, 1)


# --- several logins that show their code in ssh

SEVERAL = result(
    state="choice_required",
    choices="3",
    app_a="Mail",
    address_a="203.0.113.9",
    age_a="3",
    app_b="Wiki\x1b[2J",
    age_b="90",
)
LISTED = (
    "These logins wait for a code from ssh:\n"
    "  1  to Mail, from a browser at 203.0.113.9, started 3 seconds ago.\n"
    "  2  to Wiki\\x1b[2J, started 90 seconds ago.\n"
    "  3  a login without a description.\n"
)
QUESTION = "Which one is yours? Its number, or the code that your page shows, or Return for none: "


def test_person_chooses_one_of_several_logins(login: Login) -> None:
    """Finding S4: ssh showed the code of a stranger's login."""
    shown = result(state="presented", code="550127")
    with UnixServer(login.socket, SEVERAL, shown) as agent, login.dialogue() as dialogue:
        assert dialogue.read_until("none: ") == LISTED + QUESTION
        dialogue.type(b"7\n")
        dialogue.read_until("none: ")
        dialogue.type(b"2\n")
        assert dialogue.status() == 0
    assert agent.asked[1][1] == agent.asked[0][1] | {"choice": "2"}


def test_code_of_a_page_passes_none_of_the_listed_logins(login: Login) -> None:
    """Finding S4: a login that a stranger began does not take the place of the prompt for a code."""
    with UnixServer(login.socket, SEVERAL, result(state="accepted")) as agent, login.dialogue() as dialogue:
        dialogue.read_until("none: ")
        dialogue.type(b"003 121\n")
        assert dialogue.status() == 0
    assert agent.asked[1][1] == agent.asked[0][1] | {"code": "003121"}


@pytest.mark.parametrize(("typed", "status"), [(b"\n", 3), (b"", 64)])
def test_person_who_chooses_nothing_passes_nothing(login: Login, typed: bytes, status: int) -> None:
    with UnixServer(login.socket, SEVERAL) as agent, login.dialogue() as dialogue:
        dialogue.read_until("none: ")
        dialogue.type(typed, last=True)
        assert dialogue.status() == status
    assert len(agent.asked) == 1


def test_choice_without_input_says_to_use_a_terminal(login: Login) -> None:
    with UnixServer(login.socket, SEVERAL) as agent:
        status, _, err = login()
    assert (status, len(agent.asked)) == (64, 1)
    assert err.endswith("Run the same ssh command in a terminal and choose one.\n")


# --- windows that close


@pytest.mark.parametrize("answer", [result(state="presented", code="550127"), result(state="expired")])
def test_window_stays_open_until_its_text_was_read(login: Login, answer: bytes) -> None:
    """Case putty_window, finding N4: PuTTY's window closed before anybody could read the code."""
    with UnixServer(login.socket, answer), login.dialogue(SSH_TTY="/dev/pts/0") as dialogue:
        dialogue.read_until("Press Return to end this session. ")
        assert dialogue.process.poll() is None
        dialogue.type(b"\r")
        assert dialogue.status() == (0 if b"presented" in answer else 2)


@pytest.mark.parametrize("command", [None, "482913"])
def test_passed_login_and_given_command_end_the_session_at_once(login: Login, command: str | None) -> None:
    answer = ACCEPTED if command is None else result(state="expired")
    with UnixServer(login.socket, answer), login.dialogue(command, SSH_TTY="/dev/pts/0") as dialogue:
        assert dialogue.status() == (0 if command is None else 2)


def test_foreign_words_reach_the_terminal_escaped_and_cut(login: Login) -> None:
    hostile = {"app": "\x1b]0;x\x07Wiki\u202e\n" + "x" * 200, "address": "1.2.3.4\nPassed.", "age": "1" * 40}
    with UnixServer(login.socket, result(state="accepted", **hostile)):
        status, out, _ = login("482913")
    assert status == 0
    assert len(out.splitlines()) == 2
    assert all(len(line) < 220 for line in out.splitlines())


# --- enrolment

PICTURE = "\n".join(["+--[ED25519 256]--+", *["|        .        |"] * 9, "+----[SHA256]-----+"])


def enrolled(**fields: str) -> bytes:
    return result(state="presented", fingerprint="SHA256:abc", randomart=PICTURE, reference="0" * 32, **fields)


@pytest.mark.parametrize("command", ["enrol 58217741", "enrol 5821-7741", " enrol  5821 7741 "])
def test_enrolment_code_is_presented_and_the_key_is_shown(login: Login, command: str) -> None:
    with UnixServer(login.socket, enrolled()) as agent:
        shown = f"Presented. Compare the fingerprint on the page and confirm there:\nSHA256:abc\n{PICTURE}\n"
        assert login(command) == (0, shown, "")
    fields = {"ticket": "tSecret-1", "key_type": TYPE, "key": ENCODED, "client_ip": "192.0.2.7", "code": "58217741"}
    assert agent.asked == [("enrol", fields)]


def test_enrol_without_a_code_asks_for_the_code(login: Login) -> None:
    with UnixServer(login.socket, CODE_REQUIRED, enrolled()) as agent:
        status, out, err = login("enrol", typed=b"5821-7741\n")
    assert (status, out.startswith("Presented."), err) == (0, True, "Code: ")
    assert [fields.get("code") for _, fields in agent.asked] == [None, "58217741"]


def test_wrong_code_of_an_invitation_may_be_corrected_at_the_prompt(login: Login) -> None:
    with UnixServer(login.socket, CODE_REQUIRED, result(state="invalid_code"), enrolled()) as agent:
        assert login("enrol", typed=b"1\n5821-7741\n")[0] == 0
    assert [fields.get("code") for _, fields in agent.asked] == [None, "1", "58217741"]


@pytest.mark.parametrize("typed", [b"", b"deny\n"])
def test_enrol_without_input_speaks_of_the_invitation(login: Login, typed: bytes) -> None:
    """Finding U26: `enrol` without input spoke of a login."""
    with UnixServer(login.socket, CODE_REQUIRED):
        status, _, err = login("enrol", typed=typed)
    assert (status, "login" in err) == (64, False)
    assert err.endswith("Usage: ssh ... enrol CODE (the digits that the page of your invitation shows)\n")


def test_prompt_that_the_agent_refuses_names_the_command(login: Login) -> None:
    """Finding S9: strangers' prompts are bounded."""
    with UnixServer(login.socket, result(state="too_many_prompts")):
        status, _, err = login("enrol")
    assert status == 75
    assert err.startswith("Too many ssh logins wait for an answer.")


@pytest.mark.parametrize("command", ["enrol x", "enrol 1234567890123", "enrol;id", "enrolment 1"])
def test_wrong_enrol_command_prints_the_usage(login: Login, command: str) -> None:
    with UnixServer(login.socket, enrolled()) as agent:
        status, _, err = login(command)
    assert (status, err.startswith("Usage: ssh"), agent.asked) == (64, True, [])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"state": "invalid_code"}, (1, "That is not the code of an open invitation.")),
        ({"state": "no_enrolment"}, (2, "No invitation is open.")),
        ({"state": "too_many_attempts"}, (4, "Too many wrong codes. Try again in 15 minutes.")),
        ({"state": "too_many_attempts", "retry_after": "61"}, (4, "Too many wrong codes. Try again in 61 seconds.")),
        ({"state": "already_presented"}, (77, "Another key was presented")),
        ({"state": "already_registered"}, (77, "This key is registered for you already.")),
        ({"state": "key_taken"}, (77, "This key belongs to somebody else.")),
        ({"state": "key_refused", "reason": "rsa_too_short"}, (77, "This RSA key is too short.")),
        ({"state": "key_refused", "reason": "\x1b[2J"}, (77, "This key is not taken here.")),
        ({"state": "invalid_ticket"}, (77, "This connection is too old.")),
        ({"state": "unavailable", "reference": "ab" * 16}, (69, "The login service can't be reached just now.")),
        ({"state": "\x1b[2J"}, (77, "Your login was refused.")),
    ],
)
def test_each_outcome_of_an_enrolment_has_a_sentence(
    login: Login, fields: dict[str, str], expected: tuple[int, str]
) -> None:
    with UnixServer(login.socket, result(**fields)):
        status, out, err = login("enrol 58217741")
    assert (status, out) == (expected[0], "")
    assert err.startswith(expected[1])


def test_picture_that_would_move_the_cursor_is_not_shown(login: Login) -> None:
    with UnixServer(login.socket, result(state="presented", fingerprint="SHA256:abc", randomart="\x1b[2J")):
        status, out, _ = login("enrol 58217741")
    assert status == 0
    assert "SHA256" not in out


def test_unregistered_key_has_a_sentence(login: Login) -> None:
    with UnixServer(login.socket, result(state="not_registered", reference="0" * 32)):
        status, out, err = login("482913")
    assert (status, out) == (77, "")
    assert err.startswith("This key is not registered.")


def test_every_reason_of_the_key_policy_has_its_own_sentence() -> None:
    for reason in KeyRefusal:
        told = enrolment.sentence({"state": "key_refused", "reason": reason})
        assert reason in (KeyRefusal.TAKEN, KeyRefusal.OWN) or told[1] != "This key is not taken here."
