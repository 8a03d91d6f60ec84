"""Tests that keys are read strictly and written anew, and that OpenSSH and asyncssh see the same key."""

import base64
import contextlib
import dataclasses
import subprocess
from pathlib import Path

import asyncssh
import pytest
from fakes import public_keys
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sshaft import public_key
from sshaft.errors import InvalidKeyError
from sshaft.public_key import DEFAULT_TYPES, SK_TYPES

ED25519 = public_keys.ed25519()
ENCODED = ED25519.split(" ")[1]
ALL = public_keys.one_of_each()


@pytest.mark.parametrize("key_type", DEFAULT_TYPES)
def test_every_type_has_the_fingerprint_that_openssh_and_asyncssh_see(key_type: str) -> None:
    text = ALL[key_type]
    key = public_key.parse(text + " alice@laptop")
    assert [key.fingerprint] == public_keys.openssh_fingerprints([text])
    assert key.fingerprint == asyncssh.import_public_key(text).get_fingerprint()
    assert str(key) == text
    assert key.type == key_type
    assert key.is_security_key is (key_type in SK_TYPES)
    assert public_key.from_blob(*public_keys.of(text)) == key


@pytest.mark.parametrize(
    "arguments",
    [
        ["-t", "ed25519"],
        ["-t", "ecdsa", "-b", "256"],
        ["-t", "ecdsa", "-b", "384"],
        ["-t", "ecdsa", "-b", "521"],
        ["-t", "rsa", "-b", "2048"],
    ],
    ids=" ".join,
)
def test_keys_that_ssh_keygen_makes_are_read(arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "key"
    subprocess.run([public_keys.SSH_KEYGEN, "-q", *arguments, "-N", "", "-C", "a comment", "-f", file], check=True)
    text = file.with_suffix(".pub").read_text()
    assert [public_key.parse(text).fingerprint] == public_keys.openssh_fingerprints([text])


def test_fingerprint_is_the_sha256_of_the_blob_without_padding() -> None:
    # the SHA-256 of no bytes, in the form of sshd's %f
    assert public_key.fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


COMMENTS = [
    "",
    " ",
    " c",
    " two words",
    "\t c",
    ' "; id #',
    ' "quoted" \\',
    " \x7f",
    " caf\u00e9 \u2028 \u0085 \U0001f511",
]


@pytest.mark.parametrize("comment", COMMENTS)
@pytest.mark.parametrize("around", ["{}", "  {}", "\t{}", "{}\n", "{}\r\n", "\n{}\n\n", "{}   "])
def test_comment_and_blanks_around_it_are_dropped(comment: str, around: str) -> None:
    key = public_key.parse(around.format(ED25519 + comment))
    assert str(key) == ED25519


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "ssh-ed25519",
        "ssh-ed25519 ",
        ENCODED,
        f"restrict {ED25519}",
        f'command="id" {ED25519}',
        f'command="id",no-pty {ED25519} c',
        f"cert-authority {ED25519}",
        f'environment="A=B" {ED25519}',
        f"# {ED25519}",
        f'"{ED25519}"',
        f"{ED25519}\n{ED25519}",
        f'{ED25519} c\ncommand="evil" {ED25519}',
        f'{ED25519} c\rcommand="evil" {ED25519}',
        f'{ED25519} c\r\ncommand="evil" {ED25519}',
        f"\r{ED25519}\r{ED25519}",
        f"{ED25519}\x00",
        f"{ED25519} c\x00d",
        f"\x00{ED25519}",
        f"{ED25519} \x1b[2J",
        f"{ED25519} \x0b{ED25519}",
        f"{ED25519} \x0c{ED25519}",
        f"ssh-ed25519\u00a0{ENCODED}",
        f"ssh-ed25519\u2003{ENCODED}",
        f"ssh-ed25519\u3000{ENCODED}",
        f"ssh-ed25519\u2028{ENCODED}",
        f"\ufeff{ED25519}",
        f"\u200b{ED25519}",
        f"ssh-ed25519 \u200b{ENCODED}",
        f"ssh-ed25519 {ENCODED}\u200b",
        f"ssh-ed25519 {ENCODED}\u00a0c",
        f"\uff53sh-ed25519 {ENCODED}",
        f"SSH-ED25519 {ENCODED}",
        f"ssh-ed25519\n{ENCODED}",
        f"ssh-rsa {ENCODED}",
        f"sk-ssh-ed25519@openssh.com {ENCODED}",
        f"ssh-dss {ENCODED}",
        f"ssh-ed25519 {ENCODED[:-4]}",
        f"ssh-ed25519 {ENCODED}=",
        f"ssh-ed25519 {ENCODED}====",
        f"ssh-ed25519 ={ENCODED}",
        f"ssh-ed25519 {ENCODED[:20]}!{ENCODED[20:]}",
        f"ssh-ed25519 {ENCODED[:20]}\n{ENCODED[20:]}",
        f"ssh-ed25519 {ENCODED}\uff11",
        ED25519 + " " + "x" * 65536,
        "ssh-ed25519 " + "A" * 65536,
        "x" * 65536,
        " " * 65536 + ED25519,
    ],
)
def test_text_that_is_not_one_plain_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeyError) as refused:
        public_key.parse(text)
    assert ENCODED not in str(refused.value)
    assert str(refused.value).isprintable()


CERTIFICATE_TYPES = [
    "ssh-ed25519-cert-v01@openssh.com",
    "ssh-rsa-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("ca")
    for name in ("ca", "user"):
        subprocess.run(
            [public_keys.SSH_KEYGEN, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", place / name], check=True
        )
    subprocess.run(
        [public_keys.SSH_KEYGEN, "-q", "-s", place / "ca", "-I", "id", "-n", "mfa", place / "user.pub"], check=True
    )
    return (place / "user-cert.pub").read_text()


@pytest.mark.parametrize("name", ["its own type", "ssh-ed25519"])
def test_certificate_is_refused_under_any_name(certificate: str, name: str) -> None:
    key_type, encoded = public_keys.of(certificate)
    with pytest.raises(InvalidKeyError):
        public_key.from_blob(key_type if name == "its own type" else name, encoded)
    with pytest.raises(InvalidKeyError):
        public_key.parse(certificate)


def test_certificate_is_refused_even_if_the_operator_allows_its_type(certificate: str) -> None:
    for each in CERTIFICATE_TYPES:
        made = public_keys.text(public_keys.blob(each, b"nonce" * 6, b"k" * 32))
        with pytest.raises(InvalidKeyError):
            public_key.parse(made, (each,))
    with pytest.raises(InvalidKeyError):
        public_key.parse(certificate, (certificate.split(" ", 1)[0],))


def test_type_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(InvalidKeyError):
        public_key.parse(ED25519, ("ssh-rsa",))
    with pytest.raises(InvalidKeyError):
        public_key.from_blob(*public_keys.of(ED25519), ("ssh-rsa",))


def test_unknown_type_that_the_operator_allows_is_read() -> None:
    made = public_keys.text(public_keys.blob("ssh-new@example.com", b"x" * 40))
    assert str(public_key.parse(made + " c", ("ssh-new@example.com",))) == made
    with pytest.raises(InvalidKeyError):
        public_key.parse(public_keys.text(public_keys.blob("ssh-new@example.com")), ("ssh-new@example.com",))


P256 = public_keys.point(256)
MODULUS = (1 << 2047) | 1
E = b"\x01\x00\x01"


@pytest.mark.parametrize(
    ("key_type", "fields"),
    [
        ("ssh-ed25519", ()),
        ("ssh-ed25519", (b"k" * 31,)),
        ("ssh-ed25519", (b"k" * 33,)),
        ("ssh-ed25519", (b"",)),
        ("ssh-ed25519", (b"k" * 32, b"")),
        ("ssh-ed25519", (b"k" * 32, b"more")),
        ("sk-ssh-ed25519@openssh.com", (b"k" * 32,)),
        ("sk-ssh-ed25519@openssh.com", (b"k" * 32, b"")),
        ("sk-ssh-ed25519@openssh.com", (b"k" * 31, b"ssh:")),
        ("sk-ssh-ed25519@openssh.com", (b"k" * 32, b"ssh:", b"x")),
        ("ecdsa-sha2-nistp256", (b"nistp256",)),
        ("ecdsa-sha2-nistp256", (b"nistp384", P256)),
        ("ecdsa-sha2-nistp256", (b"nistp384", public_keys.point(384))),
        ("ecdsa-sha2-nistp256", (b"nistp256", b"")),
        ("ecdsa-sha2-nistp256", (b"nistp256", b"\x00")),
        ("ecdsa-sha2-nistp256", (b"nistp256", b"\x02" + P256[1:33])),
        ("ecdsa-sha2-nistp256", (b"nistp256", b"\x06" + P256[1:])),
        ("ecdsa-sha2-nistp256", (b"nistp256", P256[:-1] + bytes([P256[-1] ^ 1]))),
        ("ecdsa-sha2-nistp256", (b"nistp256", b"\x04" + bytes(64))),
        ("ecdsa-sha2-nistp256", (b"nistp256", b"\x04" + b"\xff" * 64)),
        ("ecdsa-sha2-nistp256", (b"nistp256", P256 + b"\x00")),
        ("ecdsa-sha2-nistp521", (b"nistp521", P256)),
        ("sk-ecdsa-sha2-nistp256@openssh.com", (b"nistp256", P256)),
        ("sk-ecdsa-sha2-nistp256@openssh.com", (b"nistp256", P256, b"")),
        ("sk-ecdsa-sha2-nistp256@openssh.com", (b"nistp384", public_keys.point(384), b"ssh:")),
        ("ssh-rsa", (E,)),
        ("ssh-rsa", (E, public_keys.mpint(MODULUS), b"")),
        ("ssh-rsa", (E, b"")),
        ("ssh-rsa", (E, public_keys.mpint(MODULUS >> 1))),  # 2047 bits
        ("ssh-rsa", (E, public_keys.mpint((1 << 1023) | 1))),
        ("ssh-rsa", (E, public_keys.mpint((1 << 16384) | 1))),
        ("ssh-rsa", (E, MODULUS.to_bytes(256))),  # negative
        ("ssh-rsa", (E, b"\x00" + public_keys.mpint(MODULUS))),
        ("ssh-rsa", (b"\x00" + E, public_keys.mpint(MODULUS))),
        ("ssh-rsa", (b"", public_keys.mpint(MODULUS))),
        ("ssh-rsa", (b"\x00", public_keys.mpint(MODULUS))),
        ("ssh-rsa", (b"\x01", public_keys.mpint(MODULUS))),
        ("ssh-rsa", (b"\x02", public_keys.mpint(MODULUS))),
        ("ssh-rsa", (b"\x04", public_keys.mpint(MODULUS))),
    ],
)
def test_key_data_that_does_not_fit_its_type_is_refused(key_type: str, fields: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidKeyError):
        public_key.parse(public_keys.text(public_keys.blob(key_type, *fields)))


@pytest.mark.parametrize("modulus", [MODULUS, (1 << 16383) | 1], ids=["2048 bits", "16384 bits"])
def test_rsa_keys_within_openssh_limits_are_read(modulus: int) -> None:
    text = public_keys.text(public_keys.blob("ssh-rsa", E, public_keys.mpint(modulus)))
    assert [public_key.parse(text).fingerprint] == public_keys.openssh_fingerprints([text])


def test_second_encoding_of_the_same_key_is_refused() -> None:
    # An sk-ecdsa blob ends in a padded group: a lax decoder ignores the unused bits of the group.
    for text in ALL.values():
        encoded = text.split(" ")[1]
        if encoded.endswith("="):
            last = encoded.rstrip("=")[-1]
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            other = alphabet[alphabet.index(last) ^ 1]
            respelled = encoded.rstrip("=")[:-1] + other + "=" * encoded.count("=")
            assert base64.b64decode(respelled) == base64.b64decode(encoded)
            with pytest.raises(InvalidKeyError):
                public_key.from_blob(text.split(" ")[0], respelled)
            break
    else:
        pytest.fail("no key with padding among the examples")


def test_key_cannot_be_changed() -> None:
    key = public_key.parse(ED25519)
    with pytest.raises(dataclasses.FrozenInstanceError):
        key.type = "ssh-rsa"  # type: ignore[misc]


@given(st.text(max_size=200))
def test_random_text_is_a_key_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidKeyError):
        public_key.parse(text)


@given(st.sampled_from(sorted(ALL)), st.binary(max_size=400))
def test_random_key_data_is_a_key_or_refused(key_type: str, data: bytes) -> None:
    with contextlib.suppress(InvalidKeyError):
        public_key.from_blob(key_type, base64.b64encode(data).decode())


@given(st.text(max_size=120))
@example("\n" + ED25519)
@example('\r\ncommand="x" ' + ED25519)
@example("\u2028x")
def test_comment_is_not_in_the_key(comment: str) -> None:
    try:
        key = public_key.parse(f"{ED25519} {comment}")
    except InvalidKeyError:
        return
    assert str(key) == ED25519


texts = st.sampled_from(sorted(ALL.values()))


@st.composite
def mutated_blobs(draw: st.DrawFn) -> str:
    key_type, encoded = public_keys.of(draw(texts))
    data = bytearray(base64.b64decode(encoded))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["flip", "set", "cut", "insert", "append"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[at] = draw(st.sampled_from([0, 1, 4, 0x20, 0x7F, 0x80, 0xFF]))
            case "cut":
                del data[at : at + draw(st.integers(1, 4))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "append":
                data += draw(st.binary(min_size=1, max_size=8))
        if not data:
            break
    return f"{key_type} {base64.b64encode(bytes(data)).decode()}"


@st.composite
def mutated_texts(draw: st.DrawFn) -> str:
    text = draw(texts) + draw(st.sampled_from(["", " c", " a b c"]))
    at = draw(st.integers(0, len(text)))
    piece = draw(
        st.sampled_from(["=", "==", "A", " ", "\t", "\r", '"', "\\", ",", "#", "\u00a0", "\x0b", "-", "_", "%", "\x7f"])
    )
    return text[:at] + piece + text[at + draw(st.integers(0, 2)) :]


def _assert_openssh_agrees(accepted: list[str]) -> None:
    ours = [public_key.parse(text).fingerprint for text in accepted]
    assert ours == public_keys.openssh_fingerprints([str(public_key.parse(text)) for text in accepted])


def _accepted(candidates: list[str]) -> list[str]:
    accepted = []
    for text in candidates:
        with contextlib.suppress(InvalidKeyError):
            public_key.parse(text)
            accepted.append(text)
    return accepted


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(mutated_blobs(), min_size=1, max_size=30))
def test_openssh_accepts_every_mutated_key_that_we_accept_and_sees_the_same(candidates: list[str]) -> None:
    _assert_openssh_agrees(_accepted(candidates))


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(mutated_texts(), min_size=1, max_size=30))
def test_openssh_reads_every_mutated_text_that_we_read_and_sees_the_same(candidates: list[str]) -> None:
    accepted = _accepted(candidates)
    _assert_openssh_agrees(accepted)
    # The original text, too: we must not read a key where OpenSSH reads another key.
    as_it_came = public_keys.openssh_fingerprints([text.strip(" \t\r\n") for text in accepted])
    assert as_it_came == [public_key.parse(text).fingerprint for text in accepted]


@pytest.mark.parametrize("key", ALL.values(), ids=ALL)
def test_accepted_certificate_has_the_fingerprint_of_its_key(key: str, tmp_path: Path) -> None:
    own, authority = tmp_path / "own.pub", tmp_path / "authority"
    own.write_text(key)
    subprocess.run([public_keys.SSH_KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", authority], check=True)
    subprocess.run([public_keys.SSH_KEYGEN, "-q", "-s", authority, "-I", "id", own], check=True)
    certificate = (tmp_path / "own-cert.pub").read_text().rstrip()
    found = public_key.accepted_fingerprint(*public_keys.of(certificate))
    assert [found] == public_keys.openssh_fingerprints([key])
    assert public_key.accepted_fingerprint(*public_keys.of(key)) == found


_CERTIFICATE_TYPE = "ssh-ed25519-cert-v01@openssh.com"


@pytest.mark.parametrize(
    "key",
    [
        public_keys.text(public_keys.blob(_CERTIFICATE_TYPE, b"nonce"), _CERTIFICATE_TYPE),
        public_keys.text(public_keys.blob(_CERTIFICATE_TYPE), _CERTIFICATE_TYPE),
        public_keys.text(public_keys.blob("ssh-ed25519", b"nonce", b"key"), _CERTIFICATE_TYPE),
        public_keys.text(public_keys.blob("ssh-new-cert-v01@openssh.com", b"nonce", b"key")),
        public_keys.text(public_keys.blob("ssh-ed25519-cert-v02@openssh.com", b"nonce", b"key")),
        public_keys.text(public_keys.blob("ssh-rsa", b"e", b"n"), "ssh-ed25519"),
        "ssh-ed25519 AAAA",
        "ssh-ed25519 %",
        "ssh-ed25519 ",
    ],
)  # fmt: skip
def test_text_of_another_form_is_no_accepted_key(key: str) -> None:
    with pytest.raises(InvalidKeyError):
        public_key.accepted_fingerprint(*public_keys.of(key))
