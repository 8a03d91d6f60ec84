"""Tests the checks of the interpreter and the packages of the keys command."""

import os
import sys
from pathlib import Path

import pytest

from sshaft import launchers
from sshaft_doctor import program
from sshaft_doctor.accounts import Account
from sshaft_doctor.program import Program

ME = Account("me", os.geteuid(), os.getegid(), frozenset({os.getegid()}))


def script(tmp_path: Path, first: str, rest: str = "") -> Path:
    path = tmp_path / "sshaft-keys"
    path.write_text(f"{first}\n{rest}")
    path.chmod(0o755)
    return path


def test_launcher_shows_its_interpreter_its_flags_and_its_packages(tmp_path: Path) -> None:
    keys, _login = launchers.install(tmp_path)
    looked = program.look([str(keys), "--agent", "/x"])
    assert looked == Program(keys, Path(sys.executable).resolve(), ("-IS",), keys)
    assert str(Path(launchers.__file__).parent.parent) in program.added_paths(keys)


def test_interpreter_on_the_command_line_is_known(tmp_path: Path) -> None:
    keys, _login = launchers.install(tmp_path)
    python = str(Path(sys.executable).resolve())
    assert program.look([python, "-IS", str(keys), "--agent", "/x"]) == Program(
        Path(python), Path(python), ("-IS",), keys
    )


def test_compiled_program_needs_no_interpreter() -> None:
    assert program.look(["/bin/true", "x"]) == Program(Path("/bin/true"))


def test_program_that_is_missing_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        program.look([str(tmp_path / "none")])


def checks(path: Path) -> list[tuple[str, str]]:
    found = program.examine(program.look([str(path)]), None, None)
    return [(finding.check, finding.what) for finding in found]


def test_interpreter_by_path_search_has_a_finding(tmp_path: Path) -> None:
    told = checks(script(tmp_path, "#!/usr/bin/env python3"))
    assert [what for _, what in told if "finds first in PATH" in what]


def test_only_python_without_isolation_has_a_finding(tmp_path: Path) -> None:
    python = str(Path(sys.executable).resolve())
    assert "path.isolated" in [check for check, _ in checks(script(tmp_path, f"#!{python}"))]
    assert "path.isolated" in [check for check, _ in checks(script(tmp_path, f"#!{python} -S"))]
    assert "path.isolated" not in [check for check, _ in checks(script(tmp_path, f"#!{python} -IS"))]


def test_missing_interpreter_has_a_finding(tmp_path: Path) -> None:
    ((check, what),) = checks(script(tmp_path, f"#!{tmp_path}/python3 -IS"))
    assert check == "path.interpreter"
    assert "No such file" in what


def test_packages_that_others_can_change_have_a_finding(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir(mode=0o755)
    (packages / "module.py").write_text("")
    python = str(Path(sys.executable).resolve())
    path = script(tmp_path, f"#!{python} -IS", f"import sys\nsys.path += [{str(packages)!r}]\n")
    packages.chmod(0o777)
    told = [what for check, what in checks(path) if check == "path.packages"]
    assert any(str(packages) in what and "everybody" in what for what in told)


def test_source_checkout_has_one_finding_that_says_to_install(tmp_path: Path) -> None:
    """Finding N2 (U3): sshd ran the checkout of whoever had set it up, and the advice was to open /root."""
    checkout = tmp_path / "checkout"
    checkout.mkdir(mode=0o777)
    (checkout / "pyproject.toml").touch()
    python = str(Path(sys.executable).resolve())
    path = script(tmp_path, f"#!{python} -IS", f"import sys\nsys.path += [{str(checkout)!r}]\n")
    found = [f for f in program.examine(program.look([str(path)]), ME, {}) if str(checkout) in f.what]
    assert [f.check for f in found] == ["path.packages"]
    assert f"loads the source checkout {checkout}" in found[0].what
    assert found[0].remedy.endswith("then run: sshaft install-commands /usr/libexec/sshaft")


def test_missing_package_folder_that_others_could_make_has_a_finding(tmp_path: Path) -> None:
    python = str(Path(sys.executable).resolve())
    path = script(tmp_path, f"#!{python} -IS", f"import sys\nsys.path += [{str(tmp_path / 'a' / 'none')!r}]\n")
    tmp_path.chmod(0o777)
    told = [what for check, what in checks(path) if check == "path.packages"]
    assert any(what.startswith(f"{tmp_path} ") and "everybody" in what for what in told)
    tmp_path.chmod(0o755)
    told = [what for check, what in checks(path) if check == "path.packages"]
    assert not any(what.startswith(f"{tmp_path} ") and "everybody" in what for what in told)


def test_python_names_its_module_folders(tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()
    known = program.module_paths(python, ("-IS",), {})
    assert known
    assert not any("site-packages" in entry or "dist-packages" in entry for entry in known)
    assert str(tmp_path) not in known


@pytest.mark.parametrize("text", ["sys.path += [1 +", "sys.path += unknown", "import sys"])
def test_unknown_launcher_adds_no_known_folders(tmp_path: Path, text: str) -> None:
    assert program.added_paths(script(tmp_path, "#!/bin/sh", text)) == []


def test_script_behind_an_interpreter_must_be_readable_for_the_command_user(tmp_path: Path) -> None:
    path = script(tmp_path, "import sys")
    words = [str(Path(sys.executable).resolve()), "-IS", str(path)]

    def unreadable() -> list[str]:
        found = program.examine(program.look(words), ME, None)
        return [finding.what for finding in found if "can't read" in finding.what]

    assert unreadable() == []
    path.chmod(0o000)
    assert bool(unreadable()) is (os.geteuid() != 0)  # root can read it


def test_folder_that_the_command_user_cannot_enter_has_a_finding(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    path = script(tmp_path / "closed", "#!/bin/sh")
    stranger = Account("stranger", 4_000_000, 4_000_000, frozenset({4_000_000}))
    (tmp_path / "closed").chmod(0o700)
    assert "path.reach" in [f.check for f in program.examine(program.look([str(path)]), stranger, None)]
    assert "path.reach" not in [f.check for f in program.examine(program.look([str(path)]), ME, None)]
