"""Tests sshaft-accounts with the real useradd, in an overlay of this machine that the test throws away."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.unix_server import read_question

from sshaft import messages

TOP = Path(__file__).parents[2]
USER, UID = "quin", 70001
MAKE_ROOT = """set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1/overlay"
mkdir "$1/overlay/upper" "$1/overlay/work" "$1/overlay/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/overlay/upper,workdir=$1/overlay/work" "$1/overlay/root"
cd "$1/overlay/root"
mount -t proc proc proc
mount --bind /dev dev
mount -t tmpfs tmpfs home
mount -t tmpfs tmpfs run
mkdir run/shared var/lib/sshaft-accounts
mount --bind "$1/shared" run/shared
chmod 0755 . etc
mkdir -p etc/sshaft
useradd --root "$PWD" --system --no-create-home sshaft
groupadd --root "$PWD" --gid 65001 ops
groupadd --root "$PWD" --gid 65002 other
echo ready
sleep 3600 &
wait
"""


def children(process: int) -> list[int]:
    """Returns the children of a process: unshare(1) and nsenter(1) start one."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


class Machine:
    """A root file system with processes of its own: to lock an account there ends no process of this machine.

    `root` is the machine as a process of the tests reaches it.
    """

    def __init__(self, directory: Path) -> None:
        for name in ("overlay", "shared"):
            (directory / name).mkdir()
        self.socket = directory / "shared" / "socket"
        command = ["unshare", "-m", "-p", "-f", "--kill-child", "sh", "-c", MAKE_ROOT, "sh", str(directory)]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "ready\n"
        inside = directory / "overlay" / "root"
        (first,) = children(self._holder.pid)
        self._enter = ["nsenter", "-t", str(first), "-m", "-p", "chroot", str(inside)]
        self.root = Path(f"/proc/{self._holder.pid}/root") / inside.relative_to("/")
        self._helper: subprocess.Popen[str] | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self.policy()

    def policy(self, **members: object) -> None:
        path = self.root / "etc" / "sshaft" / "accounts.json"
        path.write_text(json.dumps({"shell": "/bin/sh", "groups": ["ops"], **members}))
        path.chmod(0o644)

    def run(self, *command: str) -> str:
        """Returns what a command in the machine prints; an empty text if it fails."""
        return subprocess.run([*self._enter, *command], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()

    def start(self, *before: str) -> None:
        """Starts sshaft-accounts by the words `before`, and waits for its socket."""
        self.socket.unlink(missing_ok=True)
        words = [*before, sys.executable, "-P", "-m", "sshaft_accounts", "--socket", "/run/shared/socket"]
        command = [*self._enter, "env", "-i", f"PYTHONPATH={TOP}", *words]
        self._helper = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while self._helper.poll() is None and not self._connects():
            time.sleep(0.02)

    def _connects(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as trial:
            trial.connect(str(self.socket))
            return True
        return False

    def stop(self) -> str:
        """Ends sshaft-accounts and returns its log."""
        if self._helper is None:
            return ""
        helper, self._helper = self._helper, None
        for process in children(helper.pid):
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(process, signal.SIGTERM)
        return helper.communicate(timeout=60)[1]

    def ask(self, kind: str, **fields: str) -> tuple[str, dict[str, str]]:
        return self.send(messages.encode(kind, fields))

    def send(self, data: bytes) -> tuple[str, dict[str, str]]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            connection.connect(str(self.socket))
            connection.sendall(data)
            return read_question(connection)

    def process(self, code: str, real: int = UID, effective: int | None = None, saved: int | None = None) -> int:
        """Starts a Python program in the machine, waits until it has printed a line, and returns its process id."""
        uids = [real if uid is None else uid for uid in (real, effective, saved)]
        first = f"import os, signal, time\nos.setresuid(*{uids})\n"
        words = [*self._enter, os.path.realpath(sys.executable), "-c", first + code]
        started = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self._processes.append(started)
        assert started.stdout
        assert started.stdout.readline() == "ready\n"
        return children(started.pid)[0]

    def processes(self, uid: int = UID) -> list[str]:
        """Returns the processes with this real uid, and their states."""
        return self.run("ps", "-o", "pid,stat", "-U", str(uid), "--no-headers").splitlines()

    def passwd(self, name: str = USER) -> str:
        lines = (self.root / "etc" / "passwd").read_text().splitlines()
        return next((line for line in lines if line.startswith(f"{name}:")), "")

    def end(self) -> None:
        self.stop()
        for each in (self._holder, *self._processes):
            each.kill()
            each.communicate()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Machine(tmp_path)
    made.start()
    yield made
    made.end()


pytestmark = pytest.mark.root
WHOLE = ("done", {"uid": str(UID), "home": f"/home/{USER}", "shell": "/bin/sh"})


def create(machine: Machine, user: str = USER, uid: int = UID, **more: str) -> tuple[str, dict[str, str]]:
    return machine.ask("create", user=user, uid=str(uid), **more)


def expiry(machine: Machine, user: str = USER) -> str:
    """Returns the first day on which the account is closed, in days since 1970 (empty: never)."""
    return machine.run("getent", "shadow", user).split(":")[7]


def test_person_gets_a_shell_of_the_list(machine: Machine) -> None:
    machine.policy(shells=["/bin/bash", "/bin/absent"])
    assert create(machine, shell="/bin/zsh") == ("refused", {"reason": "shell: not one of accounts.json"})
    assert create(machine, shell="/bin/absent") == ("refused", {"reason": "shell: not on this host"})
    assert create(machine, shell="/bin/bash") == ("done", {**WHOLE[1], "shell": "/bin/bash"})
    assert machine.passwd().endswith(":/bin/bash")


def test_create_makes_an_account_with_its_own_group_and_home(machine: Machine) -> None:
    assert create(machine, gecos="Quin: O'Neil,\n=&x") == WHOLE
    assert machine.passwd() == f"quin:x:{UID}:{UID}:Quin O'Neil x:/home/quin:/bin/sh"
    assert machine.run("id", USER) == f"uid={UID}(quin) gid={UID}(quin) groups={UID}(quin)"
    assert machine.run("stat", "-c", "%u:%g", "/home/quin") == f"{UID}:{UID}"
    assert machine.run("getent", "shadow", USER).startswith("quin:*:")
    assert create(machine) == WHOLE  # the answer may have been lost


def test_account_of_the_host_is_never_taken_or_changed(machine: Machine) -> None:
    machine.run("useradd", "--uid", "5000", "--groups", "ops", "bob")
    machine.run("groupadd", "--gid", "70002", "crew")
    machine.run("useradd", "--uid", "70003", "--gid", "crew", "carol")
    before = files(machine)
    for user in ("bob", "root", "crew", "ops"):
        assert create(machine, user) == ("refused", {"reason": "user: an account or a group has this name"})
    for uid in (70002, 70003):
        assert create(machine, uid=uid) == ("refused", {"reason": "uid: an account or a group has this number"})
    for kind in ("lock", "unlock", "remove", "groups"):
        for user in ("bob", "root", "sshaft", "nobody", ""):
            more = {"remove": "ops"} if kind == "groups" else {}
            assert machine.ask(kind, user=user, **more)[0] == "refused"
    assert files(machine) == before


def files(machine: Machine) -> list[str]:
    return [(machine.root / "etc" / name).read_text() for name in ("passwd", "shadow", "group", "gshadow")]


BAD_NAMES = (
    "-o",
    "--uid=0",
    "a:b",
    "a\nx::0:0::/:/bin/sh",
    "../x",
    "Quin",
    "qüin",
    "",
    "x" * 33,
    "q.",
    "7",
    "q q",
    "q\0",
)
BAD_UIDS = (
    "0",
    "1000",
    "69999",
    "100000",
    "65534",
    "-1",
    "+70001",
    "070001",
    "4294967295",
    "4295037297",
    "7e4",
    "\u0667\u0660\u0660\u0660\u0661",  # Arabic digits
    "",
)
BAD_FIELDS: tuple[dict[str, str], ...] = (
    {"home": "/root"},
    {"home": "/home/../etc"},
    {"shell": "/bin/bash"},
    {"expires": "soon"},
    {"gid": "0"},
)


def test_create_outside_of_the_policy_is_refused_and_changes_nothing(machine: Machine) -> None:
    before = files(machine)
    for name in BAD_NAMES:
        assert create(machine, name)[0] == "refused", name
    for uid in BAD_UIDS:
        assert machine.ask("create", user=USER, uid=uid)[0] == "refused", uid
    for more in BAD_FIELDS:
        assert create(machine, **more)[0] == "refused", more
    with (machine.root / "etc" / "subuid").open("a") as file:
        file.write("# x:y:z\nbob:70000:10\n")
    assert create(machine) == ("refused", {"reason": "uid: in a range that the system or containers use"})
    assert files(machine) == before


def test_name_that_a_group_still_lists_is_refused(machine: Machine) -> None:
    with (machine.root / "etc" / "group").open("a") as file:
        file.write(f"admins:x:65003:bob,{USER}\n")
    assert create(machine) == ("refused", {"reason": "user: a group of this host lists this name"})


def random_request(chance: random.Random) -> tuple[str, dict[str, str]]:
    """Returns the kind and the fields of a request that an agent in the wrong hands could send."""
    kind = chance.choice(("create", "create", "groups", "lock", "unlock", "remove"))
    fields = {"user": chance.choice(("quin", "quin", "eve", "bob", "root", "ops"))}
    match kind:
        case "create":
            fields["uid"] = chance.choice(("0", *map(str, range(69999, 70030))))
            fields["shell"] = chance.choice(("", "/bin/sh", "/bin/bash"))
        case "groups":
            fields[chance.choice(("add", "remove"))] = chance.choice(("ops", "root", "other", "ops,ops", "bob"))
        case "lock":
            fields["sessions"] = chance.choice(("end", "keep"))
        case "unlock":
            fields["expires"] = chance.choice(("", "never", "1970-01-02", "9999-12-31"))
    return kind, fields


def test_no_sequence_of_requests_changes_what_is_not_ours(machine: Machine) -> None:
    """The agent is in the hands of an attacker, and one account of an operator lies in its range."""
    machine.run("useradd", "--uid", "70003", "--groups", "ops", "bob")
    processes = [machine.process(WAITS, uid) for uid in (0, 70003)]
    before = [line for text in files(machine) for line in text.splitlines() if not line.startswith("ops:")]
    chance = random.Random(17)
    done = Counter[str]()
    for _ in range(300):
        kind, fields = random_request(chance)
        done[kind] += machine.ask(kind, **fields)[0] == "done"
        if not machine.passwd():
            shutil.rmtree(machine.root / "home" / "quin", ignore_errors=True)
        lines = [line for text in files(machine) for line in text.splitlines()]
        assert set(before) <= set(lines)
        assert {line.partition(":")[0] for line in lines} - {"ops", "quin", "eve"} <= {
            line.partition(":")[0] for line in before
        }
        assert "bob" in next(line for line in lines if line.startswith("ops:"))
        found = [line.split(":")[2] for line in (machine.passwd("quin"), machine.passwd("eve")) if line]
        assert set(found) <= {str(number) for number in range(70000, 70030)} - {"70003"}
        assert len(set(found)) == len(found)
    assert min(done.values()) > 2, done
    assert all(map(is_alive, processes))


def test_home_directory_of_somebody_else_is_refused(machine: Machine) -> None:
    (machine.root / "home" / USER).symlink_to("/etc")
    assert create(machine)[0] == "refused"
    (machine.root / "home" / USER).unlink()
    (machine.root / "home" / USER).mkdir()
    assert create(machine)[0] == "refused"
    os.chown(machine.root / "home" / USER, UID, UID)
    assert create(machine) == WHOLE


def test_only_allowed_groups_are_added_and_only_ours_are_removed(machine: Machine) -> None:
    create(machine)
    machine.run("usermod", "--append", "--groups", "other", USER)
    for names in ("other", "root", "ops,root", "sudo", "-a", "ops,"):
        assert machine.ask("groups", user=USER, add=names)[0] == "refused", names
    assert machine.ask("groups", user=USER, add="ops") == WHOLE
    assert set(machine.run("id", "-Gn", USER).split()) == {"quin", "other", "ops"}
    assert machine.ask("groups", user=USER, remove="ops,other,root") == WHOLE
    assert set(machine.run("id", "-Gn", USER).split()) == {"quin", "other"}


def test_lock_expires_the_account_and_unlock_gives_its_expiry_back(machine: Machine) -> None:
    create(machine)
    machine.run("usermod", "--expiredate", "2040-01-01", USER)
    before = machine.run("getent", "shadow", USER)
    assert machine.ask("lock", user=USER) == WHOLE
    assert machine.ask("lock", user=USER) == WHOLE
    assert expiry(machine) == "1"
    assert machine.ask("unlock", user=USER) == WHOLE
    assert machine.run("getent", "shadow", USER) == before


def test_unlock_sets_the_expiry_that_it_names(machine: Machine) -> None:
    create(machine, expires="2040-01-01")
    assert expiry(machine) == "25567"
    machine.ask("lock", user=USER)
    for expires, days in (("2041-01-01", "25933"), ("never", ""), ("2042-01-01", "26298"), ("", "26298")):
        assert machine.ask("unlock", user=USER, expires=expires) == WHOLE
        assert expiry(machine) == days
    machine.ask("lock", user=USER)
    assert expiry(machine) == "1"
    assert machine.ask("unlock", user=USER) == WHOLE
    assert expiry(machine) == "26298"


def test_lock_counts_also_after_an_operator_changed_the_account(machine: Machine) -> None:
    create(machine)
    machine.ask("lock", user=USER)
    machine.run("usermod", "--expiredate", "", "--gid", "other", "--shell", "/bin/false", USER)
    assert machine.ask("lock", user=USER) == ("done", {**WHOLE[1], "shell": "/bin/false"})
    assert expiry(machine) == "1"


# --- sessions

WAITS = "print('ready', flush=True); time.sleep(600)"
IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN);"
SIGNALS_ALL = """
print("ready", flush=True)
while True:
    try:
        os.kill(-1, signal.{})
    except ProcessLookupError:
        pass
"""
PROCESSES = {
    "waits": WAITS,
    "ignores signals": IGNORES + WAITS,
    "is stopped": "print('ready', flush=True); os.kill(os.getpid(), signal.SIGSTOP)",
    "starts another and ends, again and again": """
for _ in range(10):
    if os.fork() == 0:
        while os.fork() == 0:
            pass
        os._exit(0)
print("ready", flush=True)
""",
    "kills all others": IGNORES + SIGNALS_ALL.format("SIGKILL"),
    "stops all others": IGNORES + SIGNALS_ALL.format("SIGSTOP"),
}


def is_alive(process: int) -> bool:
    """Whether a process runs. One that has ended may wait for its parent."""
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return False


@pytest.mark.parametrize("code", PROCESSES.values(), ids=PROCESSES)
def test_lock_ends_each_process_of_the_account_and_no_other(machine: Machine, code: str) -> None:
    create(machine)
    create(machine, "eve", UID + 1)
    others = [machine.process(WAITS, uid) for uid in (0, UID + 1, 65534)]
    machine.process(code)
    assert machine.ask("lock", user=USER) == WHOLE
    assert [each for each in machine.processes() if "Z" not in each] == []
    assert all(map(is_alive, others))
    assert create(machine, "zoe", UID + 2)[0] == "done"


def test_lock_ends_a_setuid_program_of_the_account(machine: Machine) -> None:
    create(machine)
    program = machine.process(WAITS, UID, 0, 0)
    assert machine.ask("lock", user=USER) == WHOLE
    assert not is_alive(program)


def test_capabilities_of_the_unit_suffice(machine: Machine) -> None:
    machine.stop()
    unit = (TOP / "systemd" / "sshaft-accounts.service").read_text()
    words = next(line for line in unit.splitlines() if line.startswith("CapabilityBoundingSet=")).partition("=")[2]
    kept = ",".join(word.lower().replace("cap_", "+") for word in words.split())
    machine.start("setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all", "--no-new-privs")
    assert create(machine) == WHOLE
    assert machine.run("stat", "-c", "%u:%g", "/home/quin") == f"{UID}:{UID}"
    assert machine.ask("groups", user=USER, add="ops") == WHOLE
    process = machine.process(WAITS)
    assert machine.ask("lock", user=USER) == WHOLE
    assert not is_alive(process)
    assert machine.ask("unlock", user=USER) == WHOLE
    assert machine.ask("remove", user=USER) == WHOLE


def test_lock_ends_what_runs_in_a_user_namespace_of_the_account_and_of_nobody_else(machine: Machine) -> None:
    create(machine)
    (machine.root / "etc" / "subuid").write_text(f"quin:200000:65536\n{UID}:300000:10\neve:265000:10\n")
    machine.run("useradd", "--uid", "200007", "bob")
    own = [machine.process(IGNORES + WAITS, uid) for uid in (200005, 300009)]
    others = [machine.process(WAITS, uid) for uid in (199999, 200007, 265001, 300010)]
    assert machine.ask("remove", user=USER)[0] == "refused"
    assert machine.ask("lock", user=USER) == WHOLE
    assert not any(map(is_alive, own))
    assert all(map(is_alive, others))


@pytest.mark.parametrize("uid", [0, 777])
def test_processes_of_the_system_are_never_signalled(machine: Machine, uid: int) -> None:
    """No request gets so far. If a record were wrong, the whole host would end."""
    others = [machine.process(WAITS, each) for each in (0, 777)]
    code = f"from sshaft_accounts import sessions; sessions.end('x', {uid})"
    words = ["env", f"PYTHONPATH={TOP}", sys.executable, "-P", "-c", code]
    assert machine.run("sh", "-c", '"$@" 2>&1; echo ended', "sh", *words).splitlines()[-2:] == [
        "sshaft_accounts.host.ToolError: sessions: no signal was sent",
        "ended",
    ]
    assert all(map(is_alive, others))


def test_lock_says_that_a_service_which_acts_for_the_account_goes_on(machine: Machine) -> None:
    create(machine)
    service = machine.process(WAITS, 0, UID, 0)
    assert machine.ask("lock", user=USER) == ("refused", {"reason": "sessions: some processes of the account go on"})
    assert is_alive(service)
    assert expiry(machine) == "1"
    os.kill(service, signal.SIGKILL)
    assert machine.ask("lock", user=USER) == WHOLE


def test_lock_ends_no_process_where_another_account_has_the_same_uid(machine: Machine) -> None:
    create(machine)
    machine.run("useradd", "--uid", str(UID), "--non-unique", "quincy")
    process = machine.process(WAITS)
    kind, fields = machine.ask("lock", user=USER)
    assert (kind, fields["reason"][:9]) == ("refused", "sessions:")
    assert is_alive(process)
    assert expiry(machine) == "1"


def test_removed_account_leaves_its_files_and_its_uid_is_not_used_again(machine: Machine) -> None:
    before = files(machine)
    create(machine)
    machine.ask("groups", user=USER, add="ops")
    assert machine.ask("remove", user=USER)[0] == "done"
    assert files(machine) == before
    assert machine.run("stat", "-c", "%u", "/home/quin") == str(UID)
    assert create(machine, "mallory")[0] == "refused"
    assert create(machine)[0] == "refused"
    assert create(machine, uid=UID + 1)[0] == "refused"  # the directory belongs to the old account
    machine.run("rm", "-r", "/home/quin")
    assert create(machine, uid=UID + 1)[0] == "done"


def test_account_with_processes_is_not_removed(machine: Machine) -> None:
    create(machine)
    machine.process(WAITS)
    for _ in range(2):
        assert machine.ask("remove", user=USER) == (
            "refused",
            {"reason": "user: processes of this account are running"},
        )
        assert machine.ask("lock", user=USER, sessions="keep") == WHOLE
    assert machine.ask("lock", user=USER) == WHOLE
    assert machine.ask("remove", user=USER) == WHOLE


def test_group_that_others_have_joined_stays(machine: Machine) -> None:
    create(machine)
    machine.run("useradd", "--uid", "5000", "--groups", USER, "bob")
    assert machine.ask("remove", user=USER)[0] == "done"
    assert machine.run("id", "-Gn", "bob") == "bob quin"


def test_record_of_an_account_that_an_operator_removed_can_end(machine: Machine) -> None:
    create(machine)
    machine.run("userdel", USER)
    before = files(machine)
    assert machine.ask("lock", user=USER)[0] == "refused"
    assert machine.ask("remove", user=USER) == WHOLE
    assert files(machine) == before
    assert machine.ask("remove", user=USER) == ("refused", {"reason": "user: not an account of this program"})
    assert create(machine, "mallory")[0] == "refused"  # the files of the old account may still be there


def test_account_that_an_operator_replaced_is_left_alone(machine: Machine) -> None:
    create(machine)
    machine.run("userdel", USER)
    assert create(machine)[0] == "refused"
    machine.run("useradd", "--uid", "5000", USER)
    before = files(machine)
    for kind in ("lock", "unlock"):
        assert machine.ask(kind, user=USER)[0] == "refused"
    assert machine.ask("remove", user=USER)[0] == "done"
    assert files(machine) == before


ASK = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect("/run/shared/socket")
connection.sendall(f"sshaft/1 {sys.argv[1]}\\nuser {sys.argv[2]}\\n\\n".encode())
print(connection.recv(1000))
"""


def ask_as(machine: Machine, account: str, kind: str, user: str) -> str:
    """Returns the answer to a request of this account of the host."""
    words = ["setpriv", f"--reuid={account}", "--regid=sshaft", "--clear-groups", os.path.realpath(sys.executable)]
    return machine.run(*words, "-c", ASK, kind, user)


def test_only_root_and_the_agent_are_answered(machine: Machine) -> None:
    (machine.root / "run" / "shared").chmod(0o755)
    assert "refused" in ask_as(machine, "sshaft", "lock", USER)
    assert "sshaft" not in ask_as(machine, "nobody", "lock", USER)
    assert machine.run("stat", "-c", "%U:%G:%a", "/run/shared/socket") == "root:sshaft:660"


def test_broken_messages_are_refused_and_the_next_request_is_answered(machine: Machine) -> None:
    for data in (b"x\n\n", b"sshaft/1 create\n\n", b"sshaft/1 create\nuser a\nuser b\n\n", b"\xff\n\n", b"a" * 65537):
        assert machine.send(data)[0] == "refused"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.connect(str(machine.socket))
        gone.sendall(b"sshaft/1 cre")
    assert create(machine) == WHOLE


def test_policy_that_somebody_else_may_change_is_not_used(machine: Machine) -> None:
    (machine.root / "etc/sshaft/accounts.json").chmod(0o666)
    assert create(machine)[0] == "refused"
    machine.policy(uid_first=80000)
    assert create(machine)[0] == "refused"
    machine.policy()
    assert create(machine) == WHOLE


def test_process_of_systemd_answers_also_while_accounts_json_is_wrong(machine: Machine) -> None:
    if not shutil.which("systemd-socket-activate"):
        pytest.skip("needs systemd")
    machine.stop()
    machine.policy(uid_first=7)
    machine.start("systemd-socket-activate", "-l", "/run/shared/socket", "-E", f"PYTHONPATH={TOP}")
    kind, fields = create(machine)
    assert kind == "refused"
    assert "accounts.json: uid_first" in fields["reason"]
    machine.policy()
    assert create(machine) == WHOLE


def test_full_disk_refuses_before_anything_changes(machine: Machine) -> None:
    machine.stop()
    machine.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", "/var/lib/sshaft-accounts")
    machine.start()
    before = files(machine)
    machine.run("sh", "-c", "cat /dev/zero >/var/lib/sshaft-accounts/full")
    assert create(machine)[0] == "refused"
    assert files(machine) == before
    machine.run("rm", "/var/lib/sshaft-accounts/full")
    assert create(machine) == WHOLE


def test_second_process_ends_and_the_first_goes_on(machine: Machine) -> None:
    words = [sys.executable, "-P", "-m", "sshaft_accounts", "--socket", "/run/shared/socket"]
    assert machine.run("sh", "-c", 'PYTHONPATH=$0 "$@" 2>/dev/null; echo $?', str(TOP), *words) == "69"
    assert create(machine) == WHOLE


# --- adopt


def test_adopted_account_can_be_locked_and_removed_and_gets_groups(machine: Machine) -> None:
    machine.run("useradd", "--uid", "5000", "--create-home", "--shell", "/bin/sh", "--groups", "other", "bob")
    whole = ("done", {"uid": "5000", "home": "/home/bob", "shell": "/bin/sh"})
    before = files(machine)
    assert machine.ask("adopt", user="bob") == whole
    assert machine.ask("adopt", user="bob") == whole
    assert files(machine) == before
    assert machine.ask("groups", user="bob", add="ops", remove="other") == whole
    assert set(machine.run("id", "-Gn", "bob").split()) == {"bob", "other", "ops"}
    assert machine.ask("lock", user="bob") == whole
    assert expiry(machine, "bob") == "1"
    assert machine.ask("unlock", user="bob") == whole
    assert machine.ask("create", user="bob", uid="70000")[0] == "refused"
    assert machine.ask("remove", user="bob") == whole
    assert machine.run("stat", "-c", "%u", "/home/bob") == "5000"


def test_account_of_the_system_or_of_another_source_is_not_adopted(machine: Machine) -> None:
    machine.run("useradd", "--uid", "5000", "bob")
    machine.run("useradd", "--uid", "5000", "--non-unique", "bobby")
    machine.run("useradd", "--uid", "777", "--no-create-home", "service")
    machine.run("useradd", "--uid", "60100", "--no-create-home", "homed")
    machine.run("useradd", "--uid", "100100", "--no-create-home", "container")
    with (machine.root / "etc" / "subuid").open("a") as file:
        file.write("carol:100000:65536\n")
    create(machine)
    machine.run("usermod", "--login", "quincy", USER)
    refused = {
        "bob": "uid: another account has it too",
        "bobby": "uid: another account has it too",
        "quincy": "uid: it was the uid of quin: remove that account first",
        "nobody-has-it": "user: not in /etc/passwd",
        "sshaft": "user: this name is not allowed",
        "-o": "user: this name is not allowed",
        **dict.fromkeys(
            ("root", "service", "homed", "container", "nobody"), "uid: in a range that the system or containers use"
        ),
    }
    before = files(machine)
    for user, reason in refused.items():
        assert machine.ask("adopt", user=user) == ("refused", {"reason": reason})
        assert machine.ask("lock", user=user)[0] == "refused"
    assert files(machine) == before


def test_account_that_an_operator_made_with_an_old_uid_can_be_adopted(machine: Machine) -> None:
    create(machine)
    machine.ask("remove", user=USER)
    machine.run("useradd", "--uid", str(UID), "bob")
    assert machine.ask("adopt", user="bob")[0] == "done"
    assert machine.ask("remove", user="bob")[0] == "done"
    assert create(machine)[0] == "refused"


def test_agent_cannot_adopt(machine: Machine) -> None:
    machine.run("useradd", "--uid", "5000", "bob")
    (machine.root / "run" / "shared").chmod(0o755)
    assert "only%20root" in ask_as(machine, "sshaft", "adopt", "bob")
    assert machine.ask("lock", user="bob") == ("refused", {"reason": "user: not an account of this program"})


# --- crashes

WRAPPER = """#!/bin/sh
tool=/usr/sbin/{tool}
{before}
$tool.real "$@"
{after}
"""
CRASH = "kill -9 $PPID"


@contextlib.contextmanager
def wrapped(machine: Machine, tool: str, before: str = "", after: str = "") -> Iterator[None]:
    """Runs commands before and after the work of a program."""
    path = machine.root / "usr" / "sbin" / tool
    path.rename(path.with_suffix(".real"))
    path.write_text(WRAPPER.format(tool=tool, before=before, after=after))
    path.chmod(0o755)
    yield
    path.with_suffix(".real").rename(path)


def crash(
    machine: Machine, tool: str, kind: str = "create", fields: dict[str, str] | None = None, **moments: str
) -> None:
    """Sends a request, by default `create`, while a program kills sshaft-accounts."""
    with wrapped(machine, tool, **moments), pytest.raises(ConnectionError):
        machine.ask(kind, **(fields or {"user": USER, "uid": str(UID)}))
    machine.stop()


@pytest.mark.parametrize(
    ("tool", "moments"),
    [
        ("groupadd", {"before": "exit 1"}),
        ("groupadd", {"after": "exit 1"}),
        ("useradd", {"before": "exit 1"}),
        ("useradd", {"after": "rm -r /home/quin; mkdir /home/quin; exit 12"}),
    ],
)
def test_create_in_which_a_program_fails_leaves_nothing(machine: Machine, tool: str, moments: dict[str, str]) -> None:
    before = files(machine)
    with wrapped(machine, tool, **moments):
        kind, fields = create(machine)
    assert kind == "refused"
    assert fields["reason"].startswith(f"{tool}: status 1")
    assert files(machine) == before
    assert not (machine.root / "home" / USER).exists()
    assert create(machine, "other-name") == ("done", {**WHOLE[1], "home": "/home/other-name"})


@pytest.mark.parametrize(
    ("tool", "moments"),
    [
        ("groupadd", {"before": f"{CRASH}; exit"}),
        ("groupadd", {"after": CRASH}),
        ("groupadd", {"after": f"sed -i /^quin:/d /etc/gshadow; {CRASH}"}),
        ("useradd", {"before": f"{CRASH}; exit"}),
        ("useradd", {"after": CRASH}),
        ("useradd", {"after": f"sed -i /^quin:/d /etc/shadow; {CRASH}"}),
        ("useradd", {"after": f"rm -r /home/quin; {CRASH}"}),
        ("useradd", {"after": f"rm -r /home/quin; mkdir /home/quin; {CRASH}"}),
    ],
)
def test_create_that_was_killed_is_completed_at_the_next_start(
    machine: Machine, tool: str, moments: dict[str, str]
) -> None:
    crash(machine, tool, **moments)
    machine.start()
    assert "interrupted work" in machine.stop()
    assert machine.run("id", USER) == f"uid={UID}(quin) gid={UID}(quin) groups={UID}(quin)"
    assert machine.run("getent", "shadow", USER).startswith("quin:*:")
    assert machine.run("stat", "-c", "%u:%g", "/home/quin") == f"{UID}:{UID}"
    assert machine.run("getent", "gshadow", USER) == "quin:!::"
    machine.start()
    assert create(machine) == WHOLE


@pytest.mark.parametrize("moments", [{"before": f"{CRASH}; exit"}, {"after": CRASH}])
def test_change_that_was_killed_is_completed_at_the_next_start(machine: Machine, moments: dict[str, str]) -> None:
    create(machine, expires="2040-01-01")

    def crash_in(tool: str, kind: str, **fields: str) -> None:
        crash(machine, tool, kind, {"user": USER, **fields}, **moments)
        machine.start()
        assert "interrupted work" in machine.stop()
        machine.start()

    crash_in("usermod", "lock")
    assert expiry(machine) == "1"
    crash_in("usermod", "unlock")
    assert expiry(machine) == "25567"
    crash_in("usermod", "unlock", expires="2041-01-01")
    assert expiry(machine) == "25933"
    crash_in("userdel", "remove")
    assert not machine.passwd()


@pytest.mark.parametrize("kind", ["lock", "unlock"])
def test_change_that_was_killed_leaves_alone_what_an_operator_has_made_since(machine: Machine, kind: str) -> None:
    create(machine)
    if kind == "unlock":
        machine.ask("lock", user=USER)
    crash(machine, "usermod", kind, {"user": USER}, before=f"{CRASH}; exit")
    machine.run("userdel", USER)
    machine.run("useradd", "--uid", "5000", "--expiredate", "2030-01-01", USER)
    before = files(machine)
    machine.start()
    assert "Refused" in machine.stop()
    assert files(machine) == before
    machine.start()
    assert "interrupted work" not in machine.stop()


@pytest.mark.parametrize("user", [USER, "bob"])
def test_create_that_was_killed_is_undone_if_an_operator_took_the_name_or_the_uid(machine: Machine, user: str) -> None:
    crash(machine, "useradd", before=f"{CRASH}; exit")
    uid = "5000" if user == USER else str(UID)
    machine.run("useradd", "--uid", uid, "--gid", "other", user)
    taken = machine.passwd(user)
    machine.start()
    assert "Refused" in machine.stop()
    assert machine.passwd(user) == taken
    assert machine.run("getent", "group", USER) == ""
    machine.start()
    assert create(machine)[0] == "refused"
    assert machine.passwd(user) == taken
