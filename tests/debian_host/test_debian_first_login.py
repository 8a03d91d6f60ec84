"""Tests the first login of a name that the host does not know: a Debian in a chroot, with its own sshd and useradd."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from debian_host.chroot import SUITES, log_in
from debian_host.first_login import FIRST_UID, ONE_TRY, FirstLogins, first_logins

from sshaft_demo.parts import connects, free_port, wait_for


@pytest.fixture(scope="module", params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[FirstLogins]:
    with first_logins(request.param) as made:
        yield made


def test_unknown_person_gets_an_account_and_keeps_it_without_us(debian: FirstLogins) -> None:
    assert debian.uid_of("newbie") is None
    said = log_in(debian, "id -un; id -u; id -g; pwd; echo in > file", user="newbie").split()
    uid = debian.uid_of("newbie")
    assert uid is not None
    assert int(uid) >= FIRST_UID
    assert said == ["newbie", uid, uid, "/home/newbie"]
    assert (debian.root / "home" / "newbie" / "file").stat().st_uid == int(uid)
    module = next(debian.root.glob("usr/lib/*/libnss_sshaft.so.2"))
    hidden = module.rename(module.with_suffix(".hidden"))
    try:
        assert log_in(debian, "id -u; cat file", user="newbie").split() == [uid, "in"]
    finally:
        hidden.rename(module)
    with_certificate = debian.ssh("echo in", options=debian.certificate("newbie"), user="newbie")
    assert with_certificate.end() == ("in\r\n", 0)


def test_scp_and_sftp_are_a_first_login_too(debian: FirstLogins) -> None:
    sent = debian.place.directory / "sent"
    sent.write_text("in")
    scp = debian.copy("scp", str(sent), "copier@127.0.0.1:got")
    debian.provider.answer(debian.code_at(scp), user="copier")
    scp.type("\n")
    assert scp.end()[1] == 0, debian.place.log("agent")
    sftp = debian.copy("sftp", "mover@127.0.0.1")
    debian.provider.answer(debian.code_at(sftp), user="mover")
    sftp.type("\n")
    sftp.wait_for("sftp> ")
    sftp.type(f"put {sent} got\nbye\n")
    assert sftp.end()[1] == 0, debian.place.log("agent")
    for name in ("copier", "mover"):
        got = debian.root / "home" / name / "got"
        assert (got.read_text(), str(got.stat().st_uid)) == ("in", debian.uid_of(name))


def test_key_opens_no_name_that_was_never_approved(debian: FirstLogins) -> None:
    said, status = debian.ssh("echo in", options=debian.key("ghost"), user="ghost").end()
    assert status == 255
    assert "Nobody has been approved for this account yet." in said
    assert debian.uid_of("ghost") is None


def test_certificate_opens_no_name_that_was_never_approved(debian: FirstLogins) -> None:
    said, status = debian.ssh("echo in", options=debian.certificate("ghost"), user="ghost").end()
    assert status == 255
    assert "Nobody has been approved for this account yet." in said
    assert debian.uid_of("ghost") is None
    assert not (debian.root / "home" / "ghost").exists()


def test_sshd_without_pam_opens_no_reserved_name(debian: FirstLogins) -> None:
    """There is no account phase, so nobody asks the agent. sshd itself refuses the password field of the name."""
    log_in(debian, "true", user="known")
    with_pam, debian.port = debian.port, free_port()
    words = ("-o", "UsePAM=no", "-o", f"Port={debian.port}", "-o", "PidFile=/run/without-pam")
    sshd = debian.place.start("without-pam", [*debian.enter, "/usr/sbin/sshd", "-D", "-e", *words])
    try:
        wait_for(lambda: connects(debian.port), sshd, lambda: debian.place.log("without-pam"), "sshd")
        for name, status in (("ghost", 255), ("known", 0)):
            for options in (debian.key(name), debian.certificate(name)):
                assert debian.ssh("echo in", options=options, user=name).end()[1] == status, name
        assert "ghost not allowed because account is locked" in debian.place.log("without-pam")
    finally:
        debian.inside("sh", "-c", "kill $(cat /run/without-pam)")
        debian.port = with_pam


@pytest.mark.parametrize(
    "command", [("getent", "passwd", "ghost"), ("id", "ghost"), ("su", "ghost", "-c", "true"), ("userdel", "ghost")]
)
def test_other_programs_do_not_know_a_reserved_name(debian: FirstLogins, command: tuple[str, ...]) -> None:
    debian.ssh("true", options=("-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes"), user="ghost").end()
    assert debian.inside(*command).returncode != 0


def test_account_that_an_operator_makes_for_a_reserved_name_opens_for_later_connections(debian: FirstLogins) -> None:
    """The sshd of an older one has the reserved uid. The operator's account has another one."""
    older = debian.ssh("echo in", options=ONE_TRY, user="manual")
    code = debian.code_at(older)
    assert debian.inside("useradd", "--create-home", "manual").returncode == 0
    debian.provider.answer(code, user="manual")
    older.type("\n")
    assert "Log in again" in older.wait_for("Enter to go on")
    older.type("\n")
    assert older.end()[1] == 255
    assert log_in(debian, "id -u", user="manual").split() == [debian.uid_of("manual")]


def test_comment_of_an_account_opens_nothing_and_closes_it_at_most(debian: FirstLogins) -> None:
    """A person may be allowed to change GECOS by chfn. The NSS module writes there that an account is not made yet."""
    log_in(debian, "true", user="writer")
    options = debian.key("writer")
    for comment, status in (("no account yet (sshaft)", 255), ("colleague", 0), ("", 0)):
        assert debian.inside("usermod", "--comment", comment, "writer").returncode == 0
        assert debian.ssh("echo in", options=options, user="writer").end()[1] == status
    assert "was not accepted" in debian.refusal("colleague", "writer")


def test_another_person_gets_no_account(debian: FirstLogins) -> None:
    assert "was not accepted" in debian.refusal("stranger", "mallory")
    assert debian.uid_of("stranger") is None


def test_two_first_logins_of_one_person_are_one_account(debian: FirstLogins) -> None:
    terminals = [debian.ssh("id -u", user="twin") for _ in range(2)]
    for terminal in terminals:
        debian.provider.answer(debian.code_at(terminal), user="twin")
    for terminal in terminals:
        terminal.type("\n")
    uid = None
    for terminal in terminals:
        said, status = terminal.end()
        uid = uid or debian.uid_of("twin")
        assert (said.split(), status) == ([uid], 0), debian.place.log("agent")


def test_names_that_a_stranger_invents_keep_no_colleague_out(debian: FirstLogins) -> None:
    for i in range(12):
        debian.ssh("true", options=("-o", "BatchMode=yes", "-b", "127.0.0.3"), user=f"invented{i}").end()
    with closing(sqlite3.connect(debian.place.directory / "state" / "host-login.sqlite")) as database:
        reserved = "SELECT count(*) FROM reservations WHERE source = '127.0.0.3'"
        assert database.execute(reserved).fetchone() == (10,)
    assert int(log_in(debian, "id -u", user="colleague")) >= FIRST_UID


def test_account_works_after_everything_of_ours_is_removed(debian: FirstLogins) -> None:
    uid = log_in(debian, "id -u; echo in > file", user="stayer").split()[0]
    stack, switch = debian.root / "etc" / "pam.d" / "sshd", debian.root / "etc" / "nsswitch.conf"
    texts = {path: path.read_text() for path in (stack, switch)}
    modules = [*debian.root.glob("usr/lib/*/libnss_sshaft.so.2"), *debian.root.glob("usr/lib/*/security/pam_sshaft.so")]
    stack.write_text("".join(line for line in texts[stack].splitlines(keepends=True) if "pam_sshaft" not in line))
    switch.write_text(texts[switch].replace(" sshaft", ""))
    hidden = {path: path.rename(path.with_suffix(".hidden")) for path in modules}
    debian.kill_agent()
    debian.kill_accounts()
    try:
        options = debian.key("stayer")
        assert debian.ssh("id -u; cat file", options=options, user="stayer").end() == (f"{uid}\r\nin\r\n", 0)
        assert debian.inside("su", "stayer", "-c", "id -u").stdout == f"{uid}\n"
        assert debian.inside("userdel", "--remove", "stayer").returncode == 0
    finally:
        for path, text in texts.items():
            path.write_text(text)
        for path, other in hidden.items():
            other.rename(path)
        debian.start_agent()
        debian.start_accounts()
