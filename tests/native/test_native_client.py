"""Tests memory safety and message parsing of the native client. process/keys/test_sshaft_keys.py tests all clients."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.unix_server import UnixServer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from process.keys.conftest import NATIVE, native  # noqa: F401 - a fixture
from process.keys.test_sshaft_keys import ANSWER, LINE, arguments

from sshaft import messages

PIECES = st.lists(
    st.sampled_from(
        [
            b"sshaft/1 ", b"keys", b"error", b"\n", b"\n\n", b"lines ", b"reason ", b" ", b"%", b"%41", b"%e2%82%AC",
            b"%ED%A0%80", b"%C0%80", b"%F4%90%80%80", b"%F0%9F%98%80", b"%00", b"%zz", b"_", b"a", b"Z",
            b"\x00", b"\xff",
        ]
    )
    | st.binary(max_size=3),
    max_size=12,
).map(b"".join)  # fmt: skip
WHOLE = st.dictionaries(st.sampled_from(["lines", "reason", "a_b"]), st.text(max_size=20)).map(
    lambda fields: messages.encode("keys", fields)
)


def expected(answer: bytes) -> tuple[int, bytes]:
    """Returns exit status and output according to the Python parser of messages."""
    try:
        kind, fields = messages.decode(answer)
    except messages.MessageError:
        return 69, b""
    if kind == "keys" and "lines" in fields:
        return 0, fields["lines"].encode()
    return (69 if kind == "error" else 65), b""


@settings(max_examples=500)
@given(PIECES | PIECES.map(lambda body: b"sshaft/1 keys\n" + body + b"\n\n") | WHOLE)
@example(b"sshaft/1 keys\nlines \n\n")
@example(b"sshaft/1 keys\nlines x\nlines x\n\n")
@example(b"sshaft/1 keys\n\n\n")
@example(b"sshaft/1 _\nlines x\n\n")
@example(b"sshaft/1 keys\nlines %00x\n\n")
@example(b"sshaft/1 keys\n" + b"".join(b"%c%c x\n" % (97 + i // 26, 97 + i % 26) for i in range(32)) + b"lines x\n\n")
@example(b"sshaft/1 keys\n" + b"".join(b"%c%c x\n" % (97 + i // 26, 97 + i % 26) for i in range(31)) + b"lines x\n\n")
@example(b"sshaft/1 keys\nlines " + b"x" * (messages.MAX_MESSAGE - 22) + b"\n\n")
@example(b"sshaft/1 keys\nlines " + b"x" * (messages.MAX_MESSAGE - 21) + b"\n\n")
def test_native_client_reads_answers_as_python_does(
    native: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    answer: bytes,
) -> None:
    path = tmp_path_factory.getbasetemp() / "agent"
    path.unlink(missing_ok=True)
    with UnixServer(path, answer) as agent:
        done = subprocess.run([native, *arguments(agent.path)], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == expected(answer)


@pytest.mark.parametrize(
    ("answer", "status"),
    [(ANSWER, 0), (b"sshaft/1 error\nreason %1b\n\n", 69), (ANSWER[:-1], 69), (None, 69)],
    ids=["line", "error", "cut off", "absent"],
)
def test_valgrind_finds_no_fault_and_no_allocation(
    native: Path,  # noqa: F811
    tmp_path: Path,
    answer: bytes | None,
    status: int,
) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind: ./dev setup test")
    report = tmp_path / "valgrind"
    watch = ["valgrind", "--error-exitcode=99", "--leak-check=full", "--track-fds=yes", f"--log-file={report}"]
    with UnixServer(tmp_path / "s", answer or b"") as agent:
        words = arguments(agent.path if answer is not None else tmp_path / "none")
        done = subprocess.run([*watch, native, *words], capture_output=True, timeout=60, check=False)
    assert done.returncode == status, report.read_text()
    assert done.stdout == (LINE.encode() if status == 0 else b"")
    if status == 0:
        found = re.search(r"total heap usage: (\d+) allocs", report.read_text())
        assert found
        assert found[1] == "0"


def test_native_client_needs_only_libc(native: Path) -> None:  # noqa: F811
    told = subprocess.run(["readelf", "-dW", native], capture_output=True, text=True, timeout=30, check=True).stdout
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", told) == ["libc.so.6"]
    assert "BIND_NOW" in told
    assert "PIE" in told


def test_fuzzing_the_messages_finds_no_fault(tmp_path: Path) -> None:
    if not shutil.which("clang"):
        pytest.skip("needs clang: ./dev setup test")
    target, corpus = tmp_path / "fuzz_message", tmp_path / "corpus"
    corpus.mkdir()
    for name, answer in {
        "keys": ANSWER, "error": b"sshaft/1 error\nreason busy\n\n", "odd": b"sshaft/1 keys\na_b \nlines %C3%A9%00\n\n",
    }.items():  # fmt: skip
        (corpus / name).write_bytes(answer)
    subprocess.run(["make", "-s", "-C", NATIVE, f"FUZZ_OUT={target}", target], check=True, timeout=120)
    runs = ["-runs=300000", "-max_len=600", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([target, *runs, corpus], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = re.findall(r"cov: (\d+)", done.stderr)
    assert int(found[-1]) > int(found[0])
