"""Tests sshaft-accounts with `backend: userdb`: records in /etc/userdb, which libnss-systemd of this machine reads."""

import itertools
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from process.test_accounts import (
    BAD_FIELDS,
    BAD_NAMES,
    BAD_UIDS,
    UID,
    USER,
    WHOLE,
    Machine,
    create,
    expiry,
    files,
    random_request,
)

pytestmark = pytest.mark.root
NSS_MODULES = list(Path("/usr/lib").glob("*/libnss_systemd.so.2"))
RECORDS = {
    "70001.group",
    "70001.user",
    "70001.user-privileged",
    "quin.group",
    "quin.user",
    "quin.user-privileged",
}
GONE = ("refused", {"reason": "user: somebody else has removed or replaced this account"})


class Userdb(Machine):
    """A machine whose accounts.json says `userdb`."""

    def policy(self, **members: object) -> None:
        super().policy(**{"backend": "userdb", **members})

    def sources(self, names: str) -> None:
        """Writes the three lines of nsswitch.conf that count for accounts."""
        lines = [f"{kind}: {names}\n" for kind in ("passwd", "group", "shadow")]
        (self.root / "etc" / "nsswitch.conf").write_text("".join(lines))

    @property
    def folder(self) -> Path:
        return self.root / "etc" / "userdb"

    def records(self) -> set[str]:
        return {path.name for path in self.folder.glob("*")}

    def put(self, name: str, **members: object) -> None:
        """Writes a record as an operator does."""
        self.folder.mkdir(mode=0o755, exist_ok=True)
        (self.folder / name).write_text(json.dumps(members))
        (self.folder / name).chmod(0o644)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Userdb]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not NSS_MODULES:
        pytest.skip("needs libnss-systemd")
    made = Userdb(tmp_path)
    made.sources("files systemd")
    made.start()
    yield made
    made.end()


def test_create_makes_records_and_a_home_directory_and_leaves_passwd_alone(machine: Userdb) -> None:
    skel = machine.root / "etc" / "skel"
    (skel / "folder").mkdir(exist_ok=True)
    (skel / "folder" / "link").symlink_to("/etc/passwd")
    before = files(machine)
    assert create(machine, gecos="Quin: O'Neil,\n=&x") == WHOLE
    assert create(machine) == WHOLE  # the answer may have been lost
    assert files(machine) == before
    assert machine.records() == RECORDS
    assert machine.run("getent", "passwd", USER) == f"quin:x:{UID}:{UID}:Quin O'Neil x:/home/quin:/bin/sh"
    assert machine.run("getent", "passwd", str(UID)) == machine.run("getent", "passwd", USER)
    assert machine.run("id", USER) == f"uid={UID}(quin) gid={UID}(quin) groups={UID}(quin)"
    assert machine.run("getent", "shadow", USER) == "quin:*:::::::"
    assert machine.run("stat", "-c", "%u:%g:%a", "/home/quin") == f"{UID}:{UID}:700"
    owners = machine.run("find", "/home/quin", "-printf", "%U:%G ").split()
    assert set(owners) == {f"{UID}:{UID}"}
    copy, original = (machine.run("find", each, "-printf", "%P %y %l ").split() for each in ("/home/quin", "/etc/skel"))
    assert sorted(copy) == sorted(original)
    assert machine.run("stat", "-c", "%u", "/etc/passwd") == "0"
    assert machine.run("stat", "-c", "%a", "/etc/userdb", "/etc/userdb/quin.user-privileged").split() == ["755", "600"]


def test_other_program_may_make_the_home_directory(machine: Userdb) -> None:
    machine.policy(create_home=False)
    assert create(machine) == WHOLE
    assert not (machine.root / "home" / USER).exists()


def test_host_that_does_not_read_the_records_gets_none(machine: Userdb) -> None:
    machine.sources("files")
    kind, fields = create(machine)
    assert kind == "refused"
    assert fields["reason"].startswith("backend: the host does not find what is in /etc/userdb")
    assert machine.records() == set()
    assert not (machine.root / "home" / USER).exists()
    machine.sources("files systemd")
    assert create(machine) == WHOLE


def test_host_without_shadow_records_gets_none(machine: Userdb) -> None:
    """PAM would not see that an account is locked."""
    (machine.root / "etc" / "nsswitch.conf").write_text("passwd: files systemd\ngroup: files systemd\nshadow: files\n")
    assert create(machine)[0] == "refused"
    assert machine.records() == set()


def test_name_and_uid_of_the_host_are_refused(machine: Userdb) -> None:
    machine.run("useradd", "--uid", "70003", "--groups", "ops", "bob")
    machine.put("carol.user", userName="carol", uid=70004, gid=70004)
    (machine.folder / "70004.user").symlink_to("carol.user")
    machine.put("crew.group", groupName="crew", gid=70005)
    (machine.folder / "70005.group").symlink_to("crew.group")
    before = files(machine), machine.records()
    for user in ("bob", "root", "ops", "carol", "crew"):
        assert create(machine, user) == ("refused", {"reason": "user: an account or a group has this name"})
    for uid in (70003, 70004, 70005):
        assert create(machine, uid=uid) == ("refused", {"reason": "uid: an account or a group has this number"})
    for kind in ("lock", "unlock", "remove", "groups"):
        for user in ("bob", "root", "carol", "crew"):
            assert machine.ask(kind, user=user)[0] == "refused"
    assert (files(machine), machine.records()) == before


def test_create_outside_of_the_policy_is_refused_and_changes_nothing(machine: Userdb) -> None:
    for name in BAD_NAMES:
        assert create(machine, name)[0] == "refused", name
    for uid in BAD_UIDS:
        assert machine.ask("create", user=USER, uid=uid)[0] == "refused", uid
    for more in BAD_FIELDS:
        assert create(machine, **more)[0] == "refused", more
    assert machine.records() == set()


@pytest.mark.parametrize(
    "name",
    [
        "quin.user-privileged",
        "quin:adm.membership",
        "quin:later.membership",
        "bob:quin.membership",
        "70001.user",
        "quin.group",
        "70001.group-privileged",
    ],
)
@pytest.mark.parametrize("folder", ["etc/userdb", "run/userdb", "usr/lib/userdb"])
def test_file_that_would_give_rights_to_the_new_account_is_refused(machine: Userdb, name: str, folder: str) -> None:
    path = machine.root / folder / name
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text('{"privileged": {"hashedPassword": ["$6$x"]}}')
    at_fault = "uid: " if name.startswith("7") else "user: "
    assert create(machine) == ("refused", {"reason": f"{at_fault}/{folder}/{name} is there already"})
    assert path.read_text() == '{"privileged": {"hashedPassword": ["$6$x"]}}'
    path.unlink()
    assert create(machine) == WHOLE


def test_name_that_begins_like_another_name_is_free(machine: Userdb) -> None:
    assert create(machine, "quin.smith", UID + 1)[0] == "done"
    assert create(machine) == WHOLE


def test_cache_of_names_is_emptied_after_each_change(machine: Userdb) -> None:
    """nscd remembers for 20 seconds that the name was unknown. sshd would not find the new account."""
    nscd = machine.root / "usr" / "sbin" / "nscd"
    nscd.write_text('#!/bin/sh\necho "$@" >>/run/nscd.log; exit 1\n')
    nscd.chmod(0o755)
    for kind, fields in (("create", {"uid": str(UID)}), ("groups", {"add": "ops"}), ("lock", {}), ("remove", {})):
        assert machine.ask(kind, user=USER, **fields)[0] == "done"
        log = machine.root / "run" / "nscd.log"
        assert set(log.read_text().split()) == {"--invalidate=passwd", "--invalidate=group"}
        log.unlink()


def test_folder_that_others_may_write_is_not_used(machine: Userdb) -> None:
    machine.folder.mkdir()
    machine.folder.chmod(0o777)
    assert create(machine)[1]["reason"].startswith("backend: ")
    assert machine.records() == set()


def test_home_directory_of_somebody_else_is_refused(machine: Userdb) -> None:
    home = machine.root / "home" / USER
    home.symlink_to("/etc")
    assert create(machine)[0] == "refused"
    home.unlink()
    home.mkdir()
    assert create(machine)[0] == "refused"
    os.chown(home, UID, UID)
    assert create(machine) == WHOLE


def test_group_is_given_by_a_record_and_only_ours_is_removed(machine: Userdb) -> None:
    create(machine)
    before = files(machine)
    machine.put("quin:other.membership")
    for names in ("other", "root", "ops,root", "sudo", "-a", "ops,", "../ops"):
        assert machine.ask("groups", user=USER, add=names)[0] == "refused", names
    assert machine.ask("groups", user=USER, add="ops") == WHOLE
    assert set(machine.run("id", "-Gn", USER).split()) == {"quin", "other", "ops"}
    assert machine.ask("groups", user=USER, remove="ops,other,root") == WHOLE
    assert set(machine.run("id", "-Gn", USER).split()) == {"quin", "other"}
    assert files(machine) == before


def test_lock_expires_the_account_and_unlock_gives_its_expiry_back(machine: Userdb) -> None:
    create(machine)
    record = json.loads((machine.folder / "quin.user").read_text())
    changed = {**record, "shell": "/bin/false", "notAfterUSec": 25567 * 86_400_000_000}
    machine.put("quin.user", **changed)
    assert machine.ask("lock", user=USER) == ("done", {**WHOLE[1], "shell": "/bin/false"})
    assert machine.ask("lock", user=USER)[0] == "done"
    assert expiry(machine) == "1"
    assert machine.ask("unlock", user=USER)[0] == "done"
    assert expiry(machine) == "25567"
    assert json.loads((machine.folder / "quin.user").read_text()) == changed


def test_day_of_expiry_is_set_at_creation_and_by_unlock(machine: Userdb) -> None:
    assert create(machine, expires="2040-01-01", shell="/bin/sh") == WHOLE
    assert expiry(machine) == "25567"
    machine.ask("lock", user=USER)
    for expires, day in (("", "25567"), ("2040-01-02", "25568"), ("never", "")):
        assert machine.ask("unlock", user=USER, expires=expires) == WHOLE
        assert expiry(machine) == day


def test_account_that_never_expired_does_not_expire_after_unlock(machine: Userdb) -> None:
    create(machine)
    before = machine.run("getent", "shadow", USER)
    for _ in range(2):
        assert machine.ask("lock", user=USER) == WHOLE
        assert machine.ask("unlock", user=USER) == WHOLE
    assert machine.run("getent", "shadow", USER) == before


def test_removed_account_leaves_its_files_and_its_uid_is_not_used_again(machine: Userdb) -> None:
    create(machine)
    machine.ask("groups", user=USER, add="ops")
    assert machine.ask("remove", user=USER)[0] == "done"
    assert machine.records() == set()
    assert machine.run("id", USER) == ""
    assert machine.run("stat", "-c", "%u", "/home/quin") == str(UID)
    assert create(machine, "mallory")[0] == "refused"
    assert create(machine, uid=UID + 1)[0] == "refused"  # the directory belongs to the old account
    machine.run("rm", "-r", "/home/quin")
    assert create(machine, uid=UID + 1)[0] == "done"
    assert machine.run("id", "-Gn", USER) == "quin"


def test_account_stays_where_it_is_after_the_policy_changed(machine: Userdb) -> None:
    create(machine)
    machine.policy(backend="passwd")
    assert create(machine, "eve", UID + 1)[0] == "done"
    machine.policy()
    for user in (USER, "eve"):
        assert machine.ask("lock", user=user)[0] == "done"
        assert expiry(machine, user) == "1"
    assert machine.passwd() == ""
    assert machine.passwd("eve").startswith("eve:x:70002:")
    for user in (USER, "eve"):
        assert machine.ask("remove", user=user)[0] == "done"
        assert machine.run("id", user) == ""


def test_account_that_an_operator_removed_or_replaced_is_left_alone(machine: Userdb) -> None:
    create(machine)
    machine.ask("groups", user=USER, add="ops")
    machine.put("quin.user", userName="quin", uid=5000, gid=5000)
    for kind in ("lock", "unlock", "groups"):
        assert machine.ask(kind, user=USER) == GONE
    assert machine.ask("remove", user=USER)[0] == "done"
    assert "quin.user" in machine.records()
    assert not {name for name in machine.records() if name.startswith("70001")}


def test_record_of_an_operator_that_took_over_the_number_is_left_alone(machine: Userdb) -> None:
    create(machine)
    for kind in ("user", "group"):
        (machine.folder / f"quin.{kind}").unlink()
        (machine.folder / f"{UID}.{kind}").unlink()
        (machine.folder / f"{UID}.{kind}").symlink_to(f"bob.{kind}")
    machine.put("bob.user", userName="bob", uid=UID, gid=UID)
    machine.put("bob.group", groupName="bob", gid=UID)
    assert machine.ask("remove", user=USER)[0] == "done"
    assert machine.records() == {"bob.user", "bob.group", "70001.user", "70001.group"}
    assert machine.run("id", str(UID)) == f"uid={UID}(bob) gid={UID}(bob) groups={UID}(bob)"


def test_group_that_an_operator_uses_for_another_account_stays(machine: Userdb) -> None:
    create(machine)
    machine.run("useradd", "--gid", str(UID), "--no-create-home", "bob")
    assert machine.ask("remove", user=USER)[0] == "done"
    assert machine.records() == {"quin.group", "70001.group"}
    assert machine.run("id", "-gn", "bob") == USER


def test_removed_record_ends_the_account(machine: Userdb) -> None:
    create(machine)
    machine.ask("groups", user=USER, add="ops")
    (machine.folder / "quin.user").unlink()
    assert machine.ask("lock", user=USER) == GONE
    assert machine.ask("remove", user=USER)[0] == "done"
    assert machine.records() == set()


def test_line_of_passwd_counts_more_than_our_record(machine: Userdb) -> None:
    create(machine)
    with (machine.root / "etc" / "passwd").open("a") as file:
        file.write("quin:x:5000:5000::/home/operator:/bin/sh\n")
    before = files(machine)
    for kind in ("lock", "unlock", "groups"):
        assert machine.ask(kind, user=USER) == GONE
    assert machine.ask("remove", user=USER)[0] == "done"
    assert machine.records() == set()
    assert files(machine) == before


def test_no_sequence_of_requests_changes_what_is_not_ours(machine: Userdb) -> None:
    """The agent is in the hands of an attacker, and an operator's record lies in its range."""
    machine.put("bob.user", userName="bob", uid=70003, gid=70003)
    (machine.folder / "70003.user").symlink_to("bob.user")
    machine.put("bob:ops.membership")
    foreign = machine.records()
    before, texts = files(machine), {name: (machine.folder / name).read_text() for name in foreign}
    chance = random.Random(17)
    done = Counter[str]()
    for _ in range(300):
        kind, fields = random_request(chance)
        done[kind] += machine.ask(kind, **fields)[0] == "done"
        for user in ("quin", "eve"):
            if not (machine.folder / f"{user}.user").exists():
                shutil.rmtree(machine.root / "home" / user, ignore_errors=True)
        assert {name: (machine.folder / name).read_text() for name in foreign} == texts
        ours = machine.records() - foreign
        assert {
            name for name in ours if not name.startswith(("quin.", "eve.", "quin:ops.", "eve:ops.", "700"))
        } == set()
    assert files(machine) == before
    assert min(done.values()) > 2, done


def test_full_disk_leaves_nothing(machine: Userdb) -> None:
    for folder in ("/etc/userdb", "/home"):
        machine.run("mkdir", "-p", "/etc/userdb")
        machine.run("mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs", folder)
        machine.run("sh", "-c", f"cat /dev/zero >{folder}/full")
        assert create(machine)[0] == "refused"
        machine.run("umount", folder)
        assert machine.records() == set(), folder
        assert not [*(machine.root / "home").iterdir()]
    assert create(machine) == WHOLE


# --- crashes

KILLED_AT = """
import os, runpy, sys

left, changes = int(sys.argv[1]), {"os.mkdir", "os.rename", "os.remove", "os.symlink", "os.chown", "os.chmod", "open"}

def count(event, args):
    global left
    if event in changes and isinstance(args[0], str) and args[0].startswith(("/etc/userdb", "/home")):
        if event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)

sys.argv[:] = sys.argv[5:]
sys.addaudithook(count)
runpy.run_module("sshaft_accounts", run_name="__main__")
"""


def killed(machine: Userdb, at: int, kind: str, **fields: str) -> bool:
    """Whether a kill before the change number `at` of a file interrupted the request."""
    machine.stop()
    machine.start(sys.executable, "-P", "-c", KILLED_AT, str(at))
    try:
        machine.ask(kind, **fields)
    except ConnectionError:
        return True
    finally:
        machine.stop()
    return False


def restart(machine: Userdb) -> None:
    """Returns after the start has completed the interrupted work."""
    machine.start()
    assert machine.ask("lock", user="nobody")[0] == "refused"


@pytest.mark.parametrize("operator", [False, True])
def test_create_that_was_killed_at_any_change_is_completed_or_undone(machine: Userdb, operator: bool) -> None:
    at = 0
    for at in itertools.count(1):
        uid, before = UID + at, files(machine)
        if not killed(machine, at, "create", user=USER, uid=str(uid)):
            break
        if operator:
            machine.folder.mkdir(mode=0o755, exist_ok=True)
            machine.run("sh", "-c", "echo quin:x:5000:5000::/:/bin/sh >>/etc/passwd")
            before = files(machine)
        restart(machine)
        if operator:
            assert create(machine, uid=uid)[0] == "refused", at
            assert machine.records() == set(), at
            assert machine.run("id", "-u", USER) == "5000"
            machine.run("sed", "-i", "$d", "/etc/passwd")
        else:
            assert machine.run("id", USER) == f"uid={uid}(quin) gid={uid}(quin) groups={uid}(quin)"
            assert machine.run("getent", "shadow", USER) == "quin:*:::::::"
            assert machine.run("stat", "-c", "%u:%g:%a", "/home/quin") == f"{uid}:{uid}:700"
            assert len(machine.records()) == len(RECORDS)
            assert homes(machine) == {USER}
            assert machine.ask("remove", user=USER)[0] == "done"
            assert files(machine) == before
        shutil.rmtree(machine.root / "home" / USER, ignore_errors=True)
        assert homes(machine) == set(), at
    assert at > 20


@pytest.mark.parametrize(
    ("kind", "fields", "shown"),
    [
        ("groups", {"add": "ops"}, "ops"),
        ("groups", {"remove": "ops"}, ""),
        ("lock", {}, ":1:"),
        ("unlock", {}, "::"),
        ("remove", {}, ""),
    ],
)
def test_change_that_was_killed_is_completed(machine: Userdb, kind: str, fields: dict[str, str], shown: str) -> None:
    at = 0
    for at in itertools.count(1):
        uid = str(UID + at)
        machine.ask("create", user=USER, uid=uid)
        if kind == "unlock":
            machine.ask("lock", user=USER)
        if "remove" in fields:
            machine.ask("groups", user=USER, add="ops")
        interrupted = killed(machine, at, kind, user=USER, **fields)
        restart(machine)
        if kind != "groups":  # groups are only completed by the same request
            assert said_of(machine, kind) == shown
        assert machine.ask(kind, user=USER, **fields)[0] == ("refused" if kind == "remove" else "done")
        assert said_of(machine, kind) == shown
        machine.ask("remove", user=USER)
        assert machine.records() == set()
        shutil.rmtree(machine.root / "home" / USER)
        if not interrupted:
            break
    assert at > 1


def homes(machine: Userdb) -> set[str]:
    return {path.name for path in (machine.root / "home").iterdir()}


def said_of(machine: Userdb, kind: str) -> str:
    if kind in ("lock", "unlock"):
        return machine.run("getent", "shadow", USER).removeprefix("quin:*:::::")
    return " ".join(set(machine.run("id", "-Gn", USER).split()) - {USER})
