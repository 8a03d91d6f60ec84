"""Reads the public keys that people bring: recognises what a text is, and converts it or says what to bring instead.

Only people bring such texts. A key that a program sends is read by `sshaft.public_key.parse`, which is stricter.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from sshaft import public_key
from sshaft.errors import InvalidKeyError
from sshaft.public_key import DEFAULT_TYPES, PublicKey
from sshaft.text import printable
from sshaft_identity.common.language import N_, Filled

MAX_NAME = 200
_MAX_WORDS = 200
_RFC4716 = "---- BEGIN SSH2 PUBLIC KEY ----"
_BEGIN = re.compile(r"\s*(?:-----BEGIN [A-Z0-9 ]+-----|---- BEGIN [A-Z0-9 ]+ ----)")
_END = re.compile(r"\s*-----? ?END ")
_PEM_PUBLIC_KEY = re.compile(r"-----BEGIN (RSA )?PUBLIC KEY-----")
_PRIVATE = re.compile(
    r"(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY|PuTTY-User-Key-File|Private-(Lines|MAC):|SSH PRIVATE KEY FILE|"
    r"b3BlbnNzaC1rZXktdjE"
)
"""Marks of private keys: PEM and OpenSSH, PuTTY, SSH 1, and the base64 of OpenSSH's private keys."""
_HOST = re.compile(r"@cert-authority|@revoked|\|1\|.*|[\w,*?!\[\]-]*[.:][\w.,:*?!\[\]-]*")
_FINGERPRINT = re.compile(r"SHA256:|MD5:|([0-9a-f]{2}:){15}")

_ENCODED_TYPES = {
    kind: base64.b64encode(len(kind).to_bytes(4) + kind.encode()).decode().rstrip("=")[:-1] for kind in DEFAULT_TYPES
}
"""The base64 of a key begins with its type. The last character also holds bits of the next field."""

_NOT_TAKEN = N_("This key is not taken here: {reason}.")
PRIVATE_KEY = N_(
    "This is a private key. It was not stored, but others may have seen it. Do not use this key any more: make a new "
    "key with ssh-keygen, and bring its .pub file."
)
_HINTS = {
    "certificate": N_(
        "This is a certificate of an SSH authority. Bring the public key itself: the .pub file without "
        "-cert in its name."
    ),
    "x509": N_("This is an X.509 certificate, and no SSH key. Bring the .pub file that ssh-keygen has made."),
    "pgp": N_("This is a PGP key. `gpg --export-ssh-key NAME` prints its public key for SSH."),
    "signature": N_("This is a signature, and no public key. Bring the .pub file of the key that has signed."),
    "fingerprint": N_("This is the fingerprint of a key. Bring the whole public key, from the .pub file."),
    "path": N_("This is the name of a file. Bring the content of the file."),
    "options": N_("Other text stands before this key, such as options. Bring the key alone, without options."),
    "known_hosts": N_(
        "This is a line of known_hosts: the key of a server. Bring the key of a person, from a .pub file."
    ),
    "rfc4716": N_("This key in the format of RFC 4716 is not whole. `ssh-keygen -i -f FILE` converts a whole one."),
    "pem": N_("This key in the format PEM cannot be read. `ssh-keygen -i -m PKCS8 -f FILE` converts a whole one."),
    "type": Filled(
        N_("This is no public key of a type that is taken here. Taken are: {types}."), types=", ".join(DEFAULT_TYPES)
    ),
    "not_whole": N_("This key is not whole. Copy the whole line of the .pub file, or choose the file."),
    "several": N_("This is more than one key. Bring one public key."),
    "nothing": N_("This is no public key. A public key is the line of a .pub file: ssh-ed25519 AAAA..."),
}


@dataclass(frozen=True, slots=True)
class BroughtKey:
    """A public key with its comment. `line` is its first line in the text, for messages."""

    key: PublicKey
    comment: str
    line: int = 1


class WrongThingError(InvalidKeyError):
    """The text is something else than public keys. The message says what it is and what to bring, without the text."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def is_private(text: str) -> bool:
    """Whether the text seems to hold a private key. No program may show or store such a text."""
    return _PRIVATE.search(text) is not None


def read_key(text: str) -> BroughtKey:
    """Returns the one key of the text. Raises `WrongThingError`. The terminal may also have broken the comment."""
    _refuse_private(text)
    (line, item), *more = list(_items(text)) or [(1, "")]
    if more and _whole(item) and all(_hint(each) == _HINTS["nothing"] for _, each in more):
        return _read(" ".join([item, *(each for _, each in more)]), line)
    if more:
        raise WrongThingError(_HINTS["several"], more[0][0])
    return _read(item, line)


def read_keys(text: str) -> list[BroughtKey]:
    """Returns all keys of the text, which is like authorized_keys without options. Raises `WrongThingError`.

    Also reads RFC 4716 and PEM, and joins a line that a terminal has broken. A private key anywhere refuses the text.
    """
    _refuse_private(text)
    return [_read(item, line) for line, item in _items(text)]


def _refuse_private(text: str) -> None:
    if is_private(text):
        line = next((n for n, line in enumerate(text.splitlines(), 1) if is_private(line)), 1)
        raise WrongThingError(PRIVATE_KEY, line)


def _items(text: str) -> Iterator[tuple[int, str]]:
    """Yields each key of the text with the number of its first line: a line, a broken line, or a block."""
    lines = [line.replace("\u200b", "").replace("\ufeff", "").strip() for line in text.splitlines()]
    at = 0
    while at < len(lines):
        end = at + 1
        if _BEGIN.match(lines[at]):
            while end < len(lines) and not _END.match(lines[end - 1]):
                end += 1
        elif lines[at] and not lines[at].startswith("#"):
            is_broken = _begins_a_key(lines[at])
            while is_broken and end < len(lines) and _is_rest_of_key(lines[at], lines[end]):
                end += 1
        else:
            at = end
            continue
        yield at + 1, "\n".join(lines[at:end])
        at = end


def _begins_a_key(line: str) -> bool:
    """Whether the line is the beginning of a key, without its end."""
    return line.split(maxsplit=1)[0] in DEFAULT_TYPES and len(line) <= public_key.MAX_TEXT and _whole(line) is None


def _is_rest_of_key(first: str, line: str) -> bool:
    """Whether `line` continues the broken line that begins with `first`, and is no item of its own."""
    if first in DEFAULT_TYPES and line and _encoded_type(line.split(maxsplit=1)[0]):
        return True
    return bool(line) and not line.startswith("#") and _hint(line) in (_HINTS["nothing"], _HINTS["path"])


def _read(item: str, line: int) -> BroughtKey:
    if len(item) > public_key.MAX_TEXT:
        raise WrongThingError(N_("This is longer than 24 KiB, and no public key."), line)
    if item.startswith(_RFC4716):
        return _rfc4716(item, line)
    if _PEM_PUBLIC_KEY.match(item):
        return BroughtKey(_pem(item, line), "", line)
    whole = _whole(item.strip("\"'"))
    if whole is None:
        raise WrongThingError(_hint(item), line)
    return BroughtKey(whole[0], printable(whole[1], MAX_NAME), line)


def _whole(item: str) -> tuple[PublicKey, str] | None:
    """Returns the key and the comment of `TYPE BASE64 COMMENT`, whatever blanks and line breaks stand in it.

    A key says how long it is, so the base64 ends at the word with which the key is whole.
    """
    words = item.split()[:_MAX_WORDS]
    if words and (kind := _encoded_type(words[0])):  # without its type, which the base64 names too
        words.insert(0, kind)
    if not words or words[0] not in DEFAULT_TYPES:
        return None
    for end in range(2, len(words) + 1):
        try:
            key = public_key.from_blob(words[0], "".join(words[1:end]))
        except InvalidKeyError:
            continue
        return key, " ".join(words[end:])
    return None


def _encoded_type(word: str) -> str | None:
    """Returns the type of the key whose base64 this is, or begins with."""
    return next((kind for kind, beginning in _ENCODED_TYPES.items() if word.startswith(beginning)), None)


def _names_a_type(text: str) -> bool:
    return any(word in DEFAULT_TYPES for word in text.split())


def _rfc4716(item: str, line: int) -> BroughtKey:
    """Reads RFC 4716 §3: headers, of which a backslash continues the line, and the base64 of the key."""
    lines = item.replace("\\\n", "").split("\n")
    headers = dict(each.partition(":")[::2] for each in lines if ":" in each)
    body = "".join(each for each in lines[1:-1] if ":" not in each)
    whole = _whole(body) if _END.match(lines[-1]) else None
    if whole is None:
        raise WrongThingError(_HINTS["rfc4716"], line)
    comment = {name.lower(): value for name, value in headers.items()}.get("comment", "")
    return BroughtKey(whole[0], printable(comment.strip().strip('"'), MAX_NAME), line)


def _pem(item: str, line: int) -> PublicKey:
    """Reads a public key of PKCS 8 or PKCS 1, as `ssh-keygen -e -m PKCS8` and `-m PEM` write it."""
    try:
        found = load_pem_public_key(item.encode())
        return public_key.parse(found.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
    except InvalidKeyError as error:
        raise WrongThingError(Filled(_NOT_TAKEN, reason=error), line) from None
    except (ValueError, UnsupportedAlgorithm):
        raise WrongThingError(_HINTS["pem"], line) from None


def _hint(item: str) -> str:
    """Returns what this text is, which is no key, and what to bring in its place."""
    if _BEGIN.match(item):
        heading = item.split("\n", 1)[0]
        marks = {"SSH SIGNATURE": "signature", "CERTIFICATE": "x509", "PGP": "pgp"}
        return _HINTS[next((hint for mark, hint in marks.items() if mark in heading), "nothing")]
    words = item.split() or [""]
    if words[0] in DEFAULT_TYPES or _encoded_type(words[0]):
        return _not_whole(words)
    return _HINTS[_kind_of_line(item, words)]


def _kind_of_line(item: str, words: list[str]) -> str:
    if any(public_key.is_certificate_type(word) for word in words[:2]):
        return "certificate"
    if any(_FINGERPRINT.match(word) for word in words[:2]):
        return "fingerprint"
    if _names_a_type(item):
        return "known_hosts" if _HOST.fullmatch(words[0]) else "options"
    if len(words) <= 2 and re.search(r"^[~/.]|[\\/]|\.pub$", item):
        return "path"
    return "type" if re.match(r"(sk-)?(ssh|ecdsa)-", words[0]) else "nothing"


def _not_whole(words: list[str]) -> str:
    """Returns that a piece is missing, or that the RSA key itself is not taken."""
    try:
        public_key.from_blob(words[0], words[1] if len(words) > 1 else "")
    except InvalidKeyError as error:
        if "RSA" in str(error):
            return Filled(_NOT_TAKEN, reason=error)
    return _HINTS["not_whole"]
