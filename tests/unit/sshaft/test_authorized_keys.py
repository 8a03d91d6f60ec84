"""Tests the line that lets a key in, with a model of sshd's option parser that reads the line back."""

import subprocess
from dataclasses import dataclass, field

import pytest
from fakes import public_keys
from hypothesis import example, given
from hypothesis import strategies as st

from sshaft import authorized_keys, public_key

KEY = public_key.parse(public_keys.ed25519())
SK_KEY = public_key.parse(public_keys.sk_ed25519())
ALL = [public_key.parse(text) for text in public_keys.one_of_each().values()]
COMMAND = ("/sshaft/login", "--agent", "/run/sshaft/login/agent.sock", "--ticket", "tAb-_9")


# --- sshd's parser (OpenSSH 9.2: sshkey_advance_past_options, sshauthopt_parse, opt_dequote)


class RefusedError(Exception):
    """sshd would skip the line."""


@dataclass
class Line:
    flags: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    key: str = ""


def sshd_reads(line: str) -> Line:
    end, quoted = 0, False
    while end < len(line) and (quoted or line[end] not in " \t"):
        if line[end] == "\\" and line[end + 1 : end + 2] == '"':
            end += 1
        elif line[end] == '"':
            quoted = not quoted
        end += 1
    if quoted:
        raise RefusedError("missing end quote")
    read = _options(line[:end])
    read.key = line[end:].strip(" \t")
    return read


def _options(text: str) -> Line:
    read = Line()
    while text:
        for name in ("restrict", "verify-required", "pty", "port-forwarding", "cert-authority", "no-touch-required"):
            if text.lower().startswith(name) and text[len(name) : len(name) + 1] in ("", ","):
                read.flags.append(name)
                text = text[len(name) :]
                break
        else:
            name, equals, rest = text.partition("=")
            if not equals or name.lower() not in ("command", "expiry-time", "environment", "from", "principals"):
                raise RefusedError("unknown key option")
            if name.lower() in read.values:
                raise RefusedError("multiple clauses")
            read.values[name.lower()], text = _dequoted(rest)
        if text:
            if text[0] != ",":
                raise RefusedError("invalid option list")
            text = text[1:]
            if not text:
                raise RefusedError("unexpected end-of-options")
    return read


def _dequoted(text: str) -> tuple[str, str]:
    if text[:1] != '"':
        raise RefusedError("missing start quote")
    value, at = "", 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] == '"':
            at += 1
        value += text[at]
        at += 1
    if at >= len(text):
        raise RefusedError("missing end quote")
    return value, text[at + 1 :]


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (r'restrict,command="a \"b\"" k', 'a "b"'),
        (r'command="a\b",pty k', r"a\b"),
        ('command="a b,c" k', "a b,c"),
    ],
)
def test_model_of_sshd_reads_the_examples_of_its_manual(line: str, command: str) -> None:
    assert sshd_reads(line).values["command"] == command


@pytest.mark.parametrize(
    "line", ['command="a k', "command=a k", "bad k", 'command="a"x k', 'command="a",command="b" k']
)
def test_model_of_sshd_refuses_lines_that_sshd_refuses(line: str) -> None:
    with pytest.raises(RefusedError):
        sshd_reads(line)


# --- our writer


def test_line_has_exactly_this_form() -> None:
    assert authorized_keys.line(KEY, COMMAND) == (
        f'restrict,pty,command="/sshaft/login --agent /run/sshaft/login/agent.sock --ticket tAb-_9" {KEY}'
    )
    line = authorized_keys.line(SK_KEY, ("/l",), verify_required=True)
    assert line == f'restrict,pty,command="/l",verify-required {SK_KEY}'


def test_every_supported_sshd_reads_each_option_in_the_same_way() -> None:
    """Case old_openssh: OpenSSH before 9.1 refused the `Z` in `expiry-time`, and so every line."""
    since = {"restrict": (7, 2), "pty": (7, 2), "command": (1, 0), "verify-required": (8, 4)}
    read = sshd_reads(authorized_keys.line(SK_KEY, COMMAND, verify_required=True))
    assert max(since[option] for option in [*read.flags, *read.values]) < (8, 7)


words = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="abcXYZ019._@+/:-", min_size=1, max_size=20),
    st.text(alphabet="/a \"\\,\n\r\t\0;$`'=#%é\u2028", max_size=8),
)
commands = st.one_of(
    st.lists(words, max_size=5).map(tuple),
    st.lists(words, max_size=4).map(lambda rest: ("/sshaft/login", *rest)),
)


@given(commands, st.sampled_from(ALL), st.booleans())
@example(("/l", 'x" ssh-ed25519 AAAA'), KEY, False)
@example(("/l", 'x",environment="A=b'), KEY, False)
@example(("/l", "x\ncommand=y"), KEY, False)
@example(("/l", "x\\"), KEY, False)
def test_random_arguments_are_refused_or_give_a_line_that_sshd_reads_as_meant(
    command: tuple[str, ...],
    key: public_key.PublicKey,
    verify_required: bool,
) -> None:
    try:
        line = authorized_keys.line(key, command, verify_required=verify_required)
    except ValueError:
        return
    assert line.isascii()
    assert line.isprintable()
    read = sshd_reads(line)
    assert read.flags == ["restrict", "pty"] + ["verify-required"] * verify_required
    assert read.values.pop("command") == " ".join(command)
    assert read.values == {}
    assert read.key == str(key)


@given(st.lists(st.text(alphabet="abcXYZ019._@+/:-", min_size=1, max_size=20), max_size=5))
def test_shell_reads_the_command_as_the_words_that_were_given(rest: list[str]) -> None:
    command = ("/bin/echo", *rest)
    assert all(authorized_keys.is_safe_word(word) for word in command)
    line = sshd_reads(authorized_keys.line(KEY, command)).values["command"]
    assert line.split(" ") == list(command)
    assert not set(line) & set("\"'\\$`;&|<>()*?[]#~!{}=\n\t")


HOSTILE_WORDS = [
    "",
    " ",
    "a b",
    'a"b',
    "a'b",
    "a\\",
    "a\nb",
    "a\n",
    "a\rb",
    "a\0b",
    "a\tb",
    "$(id)",
    "`id`",
    "a;b",
    "a&b",
    "a|b",
    "a>b",
    "a*",
    "~root",
    "a=b",
    "#a",
    "!a",
    "{a,b}",
    "caf\u00e9",
    "a\u00a0b",
    "a\u2028b",
    "\uff41",
    "\u0661",
    "\ud800",
]


@pytest.mark.parametrize("word", HOSTILE_WORDS)
def test_word_with_syntax_of_a_shell_or_sshd_is_refused(word: str) -> None:
    assert not authorized_keys.is_safe_word(word)
    with pytest.raises(ValueError, match=r"not plain$"):
        authorized_keys.line(KEY, ("/login", word))
    with pytest.raises(ValueError, match=r"not plain$"):
        authorized_keys.line(KEY, ("/" + word + "\n",))


@pytest.mark.parametrize("command", [(), ("login",), ("./login",), ("",), ("-x", "/login")])
def test_command_without_an_absolute_path_is_refused(command: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"not plain$"):
        authorized_keys.line(KEY, command)


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.type)
def test_verify_required_is_for_security_keys_only(key: public_key.PublicKey) -> None:
    if key.is_security_key:
        assert ",verify-required " in authorized_keys.line(key, ("/l",), verify_required=True)
    else:
        with pytest.raises(ValueError, match=r"no security key$"):
            authorized_keys.line(key, ("/l",), verify_required=True)


def test_ssh_keygen_finds_the_key_behind_the_options_of_every_line() -> None:
    lines = [authorized_keys.line(key, COMMAND, verify_required=key.is_security_key) for key in ALL] + [
        authorized_keys.line(key, COMMAND) for key in ALL
    ]
    assert public_keys.openssh_fingerprints(lines) == [key.fingerprint for key in ALL] * 2


def test_ssh_keygen_takes_a_line_on_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("line") / "authorized_keys"
    file.write_text(authorized_keys.line(KEY, COMMAND) + "\n")
    done = subprocess.run([public_keys.SSH_KEYGEN, "-l", "-f", file], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == KEY.fingerprint
