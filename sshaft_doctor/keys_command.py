"""Parses the value of AuthorizedKeysCommand as sshd does, and checks the command line of sshaft-keys."""

import posixpath
import re
from collections.abc import Mapping

from sshaft.openssh_version import Version
from sshaft_doctor.findings import Finding, error, warning

_TOKENS = frozenset("%fhktUu")
_LATER_TOKENS = {"C": Version(9, 4), "D": Version(9, 4)}
WANTED = {"fingerprint": "%f", "type": "%t", "key": "%k"}
NATIVE = "sshaft-keys-native"
_NAMES = ("sshaft-keys", NATIVE, "keys")  # /sshaft/keys is the container's
RIGHT = "AuthorizedKeysCommand {} --fingerprint %f --type %t --key %k"


def split(text: str) -> list[str]:
    """Splits a command into words (misc.c argv_split): blanks, '...', "...", and backslash escapes."""
    words: list[str] = []
    word, quote, i = "", "", 0
    begun = False
    while i < len(text):
        character = text[i]
        if character == "\\" and text[i + 1 : i + 2] in (("'", '"', "\\") if quote else ("'", '"', "\\", " ")):
            i += 1
            word += text[i]
            begun = True
        elif quote:
            if character == quote:
                quote = ""
            else:
                word += character
        elif character in "'\"":
            quote, begun = character, True
        elif character in " \t":
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + character, True
        i += 1
    return [*words, word] if begun else words


def tokens(text: str) -> list[str]:
    """Returns the letter behind each %, and an empty string for a % at the end."""
    return re.findall(r"%(.?)", text)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replaces the tokens of a word. `values` has a value for each letter."""
    return re.sub(r"%(.)", lambda found: "%" if found[1] == "%" else values.get(found[1], ""), text)


def options(words: list[str]) -> dict[str, str]:
    """Reads the options `--name value` and `--name=value` of a command line."""
    found: dict[str, str] = {}
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--") and len(name) > 2:
            found[name[2:]] = value if equals else words[i + 1] if i + 1 < len(words) else ""
    return found


def is_ours(command: str) -> bool:
    """Whether this command runs `sshaft-keys`, directly or by an interpreter."""
    words = split(command)
    named = any(posixpath.basename(word) in _NAMES for word in words if not word.startswith("-"))
    return named and not {"agent", "config"}.isdisjoint(options(words))


def check(command: str, version: Version | None, where: str) -> list[Finding]:
    """Returns findings about the command line of sshaft-keys. sshd reports none of them before the first login."""
    words = split(command)
    found = [_unknown(letter, version, where) for letter in dict.fromkeys(tokens(command)) if _bad(letter, version)]
    given = options(words)
    if "agent" in given and "config" in given:
        return [*found, error("sshd.keys_command", "it has both --agent and --config", where, "leave one of them out")]
    if "config" in given and NATIVE in map(posixpath.basename, words):
        remedy = "give it --agent SOCKET, or take sshaft-keys instead"
        return [*found, error("sshd.keys_command", f"{NATIVE} asks an agent only: no --config", where, remedy)]
    way = f"--agent {given['agent']}" if "agent" in given else f"--config {given.get('config', '')}"
    program = command[: command.find(" --")] if " --" in command else command
    right = RIGHT.format(f"{program} {way}")
    wrong = [
        f"--{name} {given.get(name, '')}".strip() for name, token in WANTED.items() if given.get(name, token) != token
    ]
    missing = [f"--{name}" for name in WANTED if name not in given]
    if wrong:
        what = f"{' and '.join(wrong)}: not what sshaft-keys takes there"
        found.append(error("sshd.keys_command", what, where, right))
    if missing and "agent" in given:
        found.append(error("sshd.keys_command", f"it lacks {' and '.join(missing)}", where, right))
    elif missing:
        what = f"without {' and '.join(missing)} the keys of everybody who waits are fetched for every key offered"
        found.append(warning("sshd.keys_command", what, where, right))
    return found


def _bad(letter: str, version: Version | None) -> bool:
    if letter in _LATER_TOKENS:
        return version is not None and version < _LATER_TOKENS[letter]
    return letter not in _TOKENS or not letter


def _unknown(letter: str, version: Version | None, where: str) -> Finding:
    since = f" (only from {_LATER_TOKENS[letter]} on)" if letter in _LATER_TOKENS else ""
    what = f"OpenSSH {version or ''} does not know %{letter}{since}: it drops every connection, and sshd -t is silent"
    return error("sshd.token", what.replace("  ", " "), where, f"take %{letter} out of AuthorizedKeysCommand")
