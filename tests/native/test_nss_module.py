"""Tests libnss_sshaft with the real libc: who sees a reserved name, what is asked, and which answers count."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import pytest
from fakes.unix_server import Answer, UnixServer, drip, hang, read_question
from native.nss_host import ENTRY, NOBODY, RESERVED, NssHost, answer, build
from process.keys.conftest import NATIVE, SANITIZERS

from sshaft import messages
from sshaft_demo.parts import connects, free_port, wait_for

pytestmark = pytest.mark.root
THREADS = "-O1 -g -fsanitize=thread -fno-sanitize-recover=all"
AS_INSTALLED = pytest.mark.parametrize("host", ["installed"], indirect=True)
PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:/bin/sh
sshd:x:105:1::/run/sshd:/bin/false
bob:x:70001:1::/home/bob:/bin/sh
"""
GROUP = """\
root:x:0:
daemon:x:1:
admins:x:70002:bob
alice:x:70003:
"""
ASKED = ("name", {"user": "alice", "rhost": ""})


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flags = (f"CFLAGS={SANITIZERS}", "HARDENING=")
    return build(tmp_path_factory.mktemp("sanitized"), *flags, sanitize=SANITIZERS)


@pytest.fixture(params=["installed", "sanitized"])
def host(request: pytest.FixtureRequest) -> Iterator[NssHost]:
    """Returns a host with the module, in a folder that root trusts."""
    with tempfile.TemporaryDirectory(prefix="sshaft-test-", dir="/var/lib") as folder:
        Path(folder).chmod(0o755)
        made = NssHost(Path(folder), request.getfixturevalue(request.param))
        made.path.parent.mkdir(mode=0o755)
        made.write("passwd", PASSWD)
        made.write("group", GROUP)
        yield made


# --- who asks, for which name


@pytest.mark.parametrize("program", ["sshd", "sshd-session", "sshd-auth"])
def test_sshd_sees_the_account_that_the_agent_has_reserved(host: NssHost, program: str) -> None:
    with UnixServer(host.path, answer()) as agent:
        assert host.entry(program=program) == ENTRY
    assert agent.asked == [ASKED]


@AS_INSTALLED
@pytest.mark.parametrize("program", ["nss_client", "sshdx", "xsshd", "sshd.old", "ssh", "SSHD", "cron"])
def test_program_of_another_name_sees_nobody_and_asks_nothing(host: NssHost, program: str) -> None:
    with UnixServer(host.path, answer()) as agent:
        assert host.entry(program=program) == NOBODY
    assert agent.asked == []


@AS_INSTALLED
def test_other_programs_do_not_know_the_name(host: NssHost) -> None:
    with UnixServer(host.path, answer()) as agent:
        assert host.run("getent", "passwd", "alice").returncode == 2
        assert "no such user" in host.run("id", "alice").stderr
        assert "does not exist" in host.run("su", "alice", "-c", "true").stderr
        assert host.run("python3", "-c", "import pwd; pwd.getpwnam('alice')").returncode == 1
    assert agent.asked == []


@AS_INSTALLED
@pytest.mark.parametrize(
    ("who", "seen"),
    [("--reuid=64801", NOBODY), ("--ruid=64801", NOBODY), ("--euid=64801", NOBODY), ("--reuid=0", ENTRY)],
    ids=["another account", "set-user-ID root", "gave root away", "root"],
)
def test_only_root_sees_the_account(host: NssHost, who: str, seen: str) -> None:
    program = host.folder / "sshd"
    shutil.copy(host.programs / "nss_client", program)
    with UnixServer(host.path, answer()) as agent:
        host.path.chmod(0o666)
        assert f"alice: {seen}\n" in host.run("setpriv", who, "--clear-groups", program, "alice").stdout
    assert agent.asked == ([ASKED] if seen == ENTRY else [])


@AS_INSTALLED
@pytest.mark.parametrize(
    "name",
    ["Alice", "1alice", "_alice", "-alice", ".alice", "alice.", "al ice", "al/ice", "al:ice", "al\nice", "alicé",
     "alice@example.org", "alice$", "", "a" * 33, "%s", "root"],
)  # fmt: skip
def test_name_of_another_form_is_not_asked_for(host: NssHost, name: str) -> None:
    with UnixServer(host.path, answer()) as agent:
        host.look_up("--", name)
    assert agent.asked == []


@AS_INSTALLED
def test_names_of_every_permitted_form_are_asked_for(host: NssHost) -> None:
    names = ["a", "a.b-c_d", "x9", "a" * 32]
    with UnixServer(host.path, answer()) as agent:
        host.look_up(*names)
    assert [fields["user"] for _, fields in agent.asked] == names


def test_account_of_the_host_is_not_asked_for(host: NssHost) -> None:
    with UnixServer(host.path, answer()) as agent:
        assert host.entry("daemon").startswith("daemon:x:1:1:")
    assert agent.asked == []


@pytest.mark.parametrize(("descriptor", "rhost"), [("3", "127.0.0.1"), ("15", "127.0.0.1"), ("16", "")])
def test_agent_hears_the_address_of_the_person(host: NssHost, descriptor: str, rhost: str) -> None:
    with UnixServer(host.path, answer()) as agent, socket.create_server(("127.0.0.1", 0)) as sshd:
        assert host.entry("alice", "-p", str(sshd.getsockname()[1]), "-d", descriptor) == ENTRY
    assert agent.asked == [("name", {"user": "alice", "rhost": rhost})]


@AS_INSTALLED
@pytest.mark.parametrize(("said", "is_known"), [(answer(), True), (messages.encode("none", {}), False)])
def test_real_sshd_tells_the_agent_who_comes(host: NssHost, said: bytes, *, is_known: bool) -> None:
    port, key, log = free_port(), host.folder / "key", host.folder / "log"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=60)
    options = ["-D", "-f", "/dev/null", "-E", log, "-p", str(port), "-h", key, "-o", "ListenAddress=127.0.0.1"]
    with UnixServer(host.path, said) as agent, subprocess.Popen(host.inside("/usr/sbin/sshd", *options)) as sshd:
        try:
            wait_for(lambda: connects(port), sshd, log.read_text, "sshd")
            ssh = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
            known = ["-o", f"UserKnownHostsFile={host.folder}/known"]
            subprocess.run([*ssh, *known, "-p", str(port), "alice@127.0.0.1"], check=False, timeout=60)
        finally:
            sshd.terminate()
    assert agent.asked
    assert {tuple(fields.items()) for _, fields in agent.asked} == {(("user", "alice"), ("rhost", "127.0.0.1"))}
    assert ("Invalid user alice" not in log.read_text()) == is_known


# --- which answers count


@pytest.mark.parametrize(
    "said",
    [
        messages.encode("none", {}), messages.encode("none", RESERVED), messages.encode("names", RESERVED),
        messages.encode("result", {"result": "success"}), messages.encode("wait", {}) + answer(),
        messages.encode("name", {}), b"", b"\n\n", b"garbage\n\n", answer()[:-1], answer() + b"x" * 70_000,
        b"sshaft/1 name\nhome " + b"x" * 70_000,
    ],
    ids=["none", "none with fields", "other kind", "of PAM", "wait first", "no fields", "nothing", "empty", "garbage",
         "cut off", "more after it", "no end"],
)  # fmt: skip
def test_only_one_kind_of_answer_names_an_account(host: NssHost, said: bytes) -> None:
    with UnixServer(host.path, said):
        assert host.entry() == (ENTRY if said.startswith(answer()) else NOBODY)


@pytest.mark.parametrize("name", RESERVED)
def test_answer_without_one_field_names_nobody(host: NssHost, name: str) -> None:
    fields = {each: value for each, value in RESERVED.items() if each != name}
    with UnixServer(host.path, messages.encode("name", fields)):
        assert host.entry() == NOBODY


@AS_INSTALLED
@pytest.mark.parametrize("name", ["uid", "gid"])
@pytest.mark.parametrize(
    "value",
    ["0", "1", "999", "60001", "60513", "61184", "65519", "65534", "65535", "524288", "1879048191", "2147483648",
     "4294967295", "4294967296", "4295037396", "18446744073709621716", "-1", "+70100", " 70100", "70100 ", "0x111D4",
     "7e4", "", "70100\0", "\u0667\u0660\u0660\u0660\u0661"],
)  # fmt: skip
def test_uid_that_no_person_may_have_names_nobody(host: NssHost, name: str, value: str) -> None:
    with UnixServer(host.path, answer(**{name: value})):
        assert host.entry() == NOBODY


@AS_INSTALLED
@pytest.mark.parametrize(
    "value",
    ["1000", "60000", "60514", "61183", "65520", "65533", "65536", "524287", "1879048192", "2147483647"],
)  # fmt: skip
def test_uid_at_each_limit_counts(host: NssHost, value: str) -> None:
    with UnixServer(host.path, answer(uid=value, gid=value)):
        assert host.entry() == f"alice:!:{value}:{value}:no account yet (sshaft):/home/alice:/bin/bash"


@AS_INSTALLED
@pytest.mark.parametrize("name", ["home", "shell"])
@pytest.mark.parametrize(
    "value", ["", "home/alice", "/a:b", "/a\nb", "/a\0b", "/a\x1b[2J", "/a\x7f", "/\u00e9", "/" + "x" * 255]
)
def test_path_that_no_entry_may_have_names_nobody(host: NssHost, name: str, value: str) -> None:
    with UnixServer(host.path, answer(**{name: value})):
        assert host.entry() == NOBODY


@AS_INSTALLED
@pytest.mark.parametrize(
    ("uid", "gid", "counts"),
    [("70001", "70004", False), ("70004", "70002", False), ("70004", "70003", True), ("70004", "70004", True)],
    ids=["uid of bob", "gid of admins", "gid of its own group", "free"],
)
def test_lying_agent_gives_nobody_the_uid_or_the_group_of_others(
    host: NssHost, uid: str, gid: str, *, counts: bool
) -> None:
    with UnixServer(host.path, answer(uid=uid, gid=gid)):
        assert (host.entry() != NOBODY) == counts


@AS_INSTALLED
def test_name_stays_unknown_while_another_source_of_the_host_is_away(host: NssHost) -> None:
    source = host.folder / "away.c"
    source.write_text("int _nss_away_getpwnam_r(void) { return -1; } int _nss_away_getpwuid_r(void) { return -1; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", host.programs / "libnss_away.so.2", source], check=True, timeout=60)
    host.sources = "files away sshaft"
    with UnixServer(host.path, answer()) as agent:
        assert host.entry() == NOBODY
    assert agent.asked == [ASKED]


# --- agents that break


@pytest.mark.parametrize("said", [hang, drip(answer(), 0.05)], ids=["silent", "slow"])
def test_agent_that_does_not_answer_in_time_names_nobody(host: NssHost, said: Answer) -> None:
    with UnixServer(host.path, said):
        assert host.entry() == NOBODY


@pytest.mark.parametrize("waiting", [0, 2], ids=["frozen", "frozen with a full queue"])
def test_frozen_agent_names_nobody_and_hides_no_account(host: NssHost, waiting: int) -> None:
    with socket.socket(socket.AF_UNIX) as frozen, ExitStack() as others:
        frozen.bind(str(host.path))
        frozen.listen(1)
        for _ in range(waiting):
            others.enter_context(socket.socket(socket.AF_UNIX)).connect(str(host.path))
        assert host.entry() == NOBODY
        assert host.entry("daemon").startswith("daemon:x:1:1:")


def test_missing_agent_names_nobody(host: NssHost) -> None:
    assert host.entry() == NOBODY
    host.path.touch()
    assert host.entry() == NOBODY


@AS_INSTALLED
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_folder_that_others_can_change_is_refused(host: NssHost, mode: int) -> None:
    with UnixServer(host.path, answer()) as agent:
        host.path.parent.chmod(mode)
        assert host.entry() == NOBODY
        assert agent.asked == []
        host.path.parent.chmod(0o750)
        os.chown(host.path.parent, 64801, 64801)
        assert host.entry() == ENTRY


# --- buffers, threads, memory


def test_agent_is_asked_once_for_one_look_up_of_any_size(host: NssHost) -> None:
    longest = answer(home="/" + "h" * 254, shell="/" + "s" * 254)
    with UnixServer(host.path, longest) as agent:
        for size in (1, 32, 500, 570):
            assert host.entry("alice", "-b", str(size)) == "nobody 34"
        assert agent.asked == []
        assert host.entry("a" * 32, "-b", "571").endswith("s" * 254)
    assert len(agent.asked) == 1


def test_threads_get_the_entry_of_their_own_name(host: NssHost, tmp_path_factory: pytest.TempPathFactory) -> None:
    def reserve(connection: socket.socket) -> None:
        user = read_question(connection)[1]["user"]
        connection.sendall(answer(home=f"/home/{user}"))

    flags = (f"CFLAGS={THREADS}", "HARDENING=")
    names = [f"user{number}" for number in range(20)]
    for programs in (host.programs, build(tmp_path_factory.mktemp("threads"), *flags, sanitize=THREADS)):
        host.programs = programs
        with UnixServer(host.path, reserve):
            said = host.look_up("-t", "-r", "5", *names)
        host.path.unlink()
        assert sorted(re.findall(r"(user\d+): \1:.*:/home/\1:", said)) == sorted(names)


@AS_INSTALLED
def test_three_thousand_look_ups_in_one_process_keep_no_memory(host: NssHost) -> None:
    with UnixServer(host.path, answer()):
        grown = re.search(r"grown: (-?\d+) kB", host.look_up("-r", "3000", "alice"))
    assert grown
    assert int(grown[1]) < 500


@AS_INSTALLED
def test_valgrind_finds_no_fault_in_the_module(host: NssHost) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("needs valgrind: ./dev setup test")
    report = host.folder / "valgrind"
    host.watch = ["valgrind", "--leak-check=full", "--track-fds=yes", "--error-exitcode=9", f"--log-file={report}"]
    with UnixServer(host.path, answer(), b"garbage\n\n", messages.encode("none", {}), b""):
        assert host.look_up("alice", "carol", "dan", "eve").startswith(f"alice: {ENTRY}\ncarol: {NOBODY}\n")
    assert "sshaft" not in report.read_text().replace(str(host.folder), ""), report.read_text()


def test_module_needs_only_libc_and_shows_one_function(installed: Path) -> None:
    module = installed / "libnss_sshaft.so.2"
    told = subprocess.run(["readelf", "-dW", module], capture_output=True, text=True, timeout=30, check=True).stdout
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", told) == ["libc.so.6"]
    assert "BIND_NOW" in told
    shown = subprocess.run(["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True).stdout
    assert shown.split()[2:] == ["_nss_sshaft_getpwnam_r"]


def test_fuzzing_the_answers_of_the_agent_names_nobody_against_the_rules(tmp_path: Path) -> None:
    if not shutil.which("clang"):
        pytest.skip("needs clang: ./dev setup test")
    target, corpus = tmp_path / "fuzz_nss", tmp_path / "corpus"
    corpus.mkdir()
    worlds = (0, 1, 2, 4, 8 + 16, 32 + 2, 128 + 8)  # the options of the target
    first = [answer(), messages.encode("none", {}), answer(uid="0"), answer(home="/a:b"), b"garbage\n\n", answer()[:-1]]
    for number, (world, said) in enumerate(product(worlds, first)):
        (corpus / str(number)).write_bytes(bytes([world]) + said)
    command = ["make", "-s", "-C", NATIVE, "TARGET=fuzz_nss", f"FUZZ_OUT={target}", target]
    subprocess.run(command, check=True, timeout=120)
    runs = ["-runs=30000", "-max_len=400", "-len_control=0", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([target, *runs, corpus], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = re.findall(r"cov: (\d+)", done.stderr)
    assert int(found[-1]) > int(found[0])
