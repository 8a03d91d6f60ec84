"""Tests walks over real folders. The trusted uid is the uid of the tests, because only root can make files of root."""

import os
from pathlib import Path

import pytest

from sshaft_doctor import paths
from sshaft_doctor.accounts import Account
from sshaft_doctor.paths import Part, examine, examine_tree, reach, walk

ME = {0, os.geteuid()}
STRANGER = Account("stranger", 4_000_000, 4_000_000, frozenset({4_000_000}))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Makes `a/b/program`, safe below tmp_path (the folders above may be open, as /tmp is)."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for each in (tmp_path, tmp_path / "a", folder):
        each.chmod(0o755)
    program = folder / "program"
    program.write_text("x")
    program.chmod(0o755)
    return program


def below(tmp_path: Path, found: list[paths.Finding]) -> list[tuple[str, str]]:
    """Returns relative path and remedy of the findings below tmp_path."""
    return [
        (str(Path(f.where).relative_to(tmp_path)), f.remedy.replace(str(tmp_path), "."))
        for f in found
        if Path(f.where).is_relative_to(tmp_path) and f.where != str(tmp_path)
    ]


def test_program_in_safe_folders_has_no_finding(tmp_path: Path, place: Path) -> None:
    assert below(tmp_path, examine("path.x", place, ME)) == []


@pytest.mark.parametrize("where", ["a", "a/b", "a/b/program"])
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_finding_names_each_writable_part_and_the_remedy(tmp_path: Path, place: Path, where: str, mode: int) -> None:
    (tmp_path / where).chmod(mode)
    assert below(tmp_path, examine("path.x", place, ME)) == [(where, f"chmod go-w ./{where}")]


@pytest.mark.parametrize(
    "shared",
    [
        Part(Path("/"), 0, 0, 0o40777),
        Part(Path("/root"), 0, 0, 0o40700),
        Part(Path("/home"), 0, 0, 0o40777),
        Part(Path("/home/alice"), 1000, 1000, 0o40700),
        Part(Path("/tmp"), 0, 0, 0o41777),
        Part(Path("/var/lib"), 0, 0, 0o40777),
        Part(Path("/usr/local/bin"), 0, 0, 0o40775),
        Part(Path("/srv/exchange"), 0, 0, 0o41777),
    ],
    ids=lambda part: str(part.path),
)
def test_nobody_is_advised_to_change_a_folder_that_others_use(shared: Part) -> None:
    """Finding N2 (U3): the advice was chmod o+x /root and chmod go-w /tmp."""
    remedy = shared.remedy({0})
    assert "chmod" not in remedy
    assert "chown" not in remedy
    assert f"others use {shared.path} too" in remedy


def test_folders_and_files_of_sshaft_may_be_changed() -> None:
    assert Part(Path("/sshaft"), 0, 0, 0o40775).remedy({0}) == "chmod go-w /sshaft"
    assert Part(Path("/usr/libexec/sshaft"), 0, 0, 0o40775).remedy({0}) == "chmod go-w /usr/libexec/sshaft"
    assert Part(Path("/usr/program"), 7, 0, 0o100755).remedy({0}) == "chown root /usr/program"


def test_closed_folder_that_others_use_is_not_to_be_opened(place: Path) -> None:
    """Finding N2 (U3)."""
    place.parent.chmod(0o1770)
    *_, found = reach("path.x", place, STRANGER, 1)
    if found.where == str(place.parent):  # else a folder above it is closed too
        assert "chmod" not in found.remedy


def test_finding_names_a_foreign_owner(tmp_path: Path, place: Path) -> None:
    found = below(tmp_path, examine("path.x", place, {-1}))
    assert [where for where, _ in found] == ["a", "a/b", "a/b/program"]
    assert found[0][1] == "chown root ./a"


def test_links_and_their_targets_are_examined(tmp_path: Path, place: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "elsewhere" / "link").symlink_to("../a/b/program")
    link = tmp_path / "elsewhere" / "link"
    assert below(tmp_path, examine("path.x", link, ME)) == []
    assert walk(link)[-1].path == place
    (tmp_path / "a").chmod(0o775)
    assert [where for where, _ in below(tmp_path, examine("path.x", link, ME))] == ["a"]
    (tmp_path / "a").chmod(0o755)
    (tmp_path / "elsewhere").chmod(0o777)  # another account could replace the link
    assert [where for where, _ in below(tmp_path, examine("path.x", link, ME))] == ["elsewhere"]


def test_circular_links_and_missing_files_have_findings(tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to("ring")
    (ring,) = examine("path.x", tmp_path / "ring")
    assert "symbolic links" in ring.what
    (missing,) = examine("path.x", tmp_path / "none")
    assert "No such file" in missing.what


def test_walk_begins_at_the_root(place: Path) -> None:
    assert walk(place)[0].path == Path("/")
    assert [part.path for part in walk(place)] == [*reversed(place.parents), place]


def test_findings_name_the_first_files_and_count_the_rest(tmp_path: Path) -> None:
    for i in range(6):
        (tmp_path / f"module{i}.py").write_text("")
        (tmp_path / f"module{i}.py").chmod(0o644)
    assert examine_tree("path.x", tmp_path, ME) == []
    (tmp_path / "module3.py").chmod(0o666)
    assert below(tmp_path, examine_tree("path.x", tmp_path, ME)) == [("module3.py", "chmod go-w ./module3.py")]
    for i in range(6):
        (tmp_path / f"module{i}.py").chmod(0o664)
    found = examine_tree("path.x", tmp_path, ME)
    assert len(found) == 4
    assert "and 3 more" in found[-1].what


def test_finding_names_a_folder_that_the_account_cannot_enter(tmp_path: Path, place: Path) -> None:
    remedies = [f.remedy for f in reach("path.x", place, STRANGER, 5) if Path(f.where).is_relative_to(tmp_path)]
    assert remedies == []
    (tmp_path / "a").chmod(0o700)
    (found,) = reach("path.x", place, STRANGER, 5)
    # folders above tmp_path may be closed as well (pytest's own folder is)
    assert found.remedy.startswith("chmod o+x ")


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "bits", "may"),
    [
        (7, 7, 0o40500, 5, True),
        (7, 7, 0o40077, 1, False),
        (0, 8, 0o40050, 5, True),
        (0, 8, 0o40705, 5, False),
        (0, 0, 0o40005, 5, True),
        (0, 0, 0o40771, 4, False),
    ],
)
def test_mode_is_read_as_in_the_kernel(uid: int, gid: int, mode: int, bits: int, may: bool) -> None:
    account = Account("x", 7, 7, frozenset({7, 8}))
    assert Part(Path("/x"), uid, gid, mode).lets(account, bits) is may


def test_root_can_enter_and_read_all_and_run_executable_files() -> None:
    root = Account("root", 0, 0, frozenset({0}))
    assert Part(Path("/x"), 7, 7, 0o40000).lets(root, 1)
    assert Part(Path("/x"), 7, 7, 0o100000).lets(root, 4)
    assert not Part(Path("/x"), 7, 7, 0o100644).lets(root, 1)
