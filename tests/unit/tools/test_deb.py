"""Tests what ./dev deb reads from the lock file."""

from tools.deb.fetch import platforms, requirements

LOCK = """\
# made by a tool
click==8.5.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via sshaft
zipp==4.1.2 ; python_full_version < '3.12' \\
    --hash=sha256:cc
pywin32-ctypes==0.2.3 ; sys_platform == 'win32' \\
    --hash=sha256:dd
"""


def test_requirements_are_those_of_the_python_of_the_suite_with_their_hashes() -> None:
    assert requirements(LOCK, "3.13") == "click==8.5.1 --hash=sha256:aa --hash=sha256:bb\n"
    assert requirements(LOCK, "3.11").splitlines()[1:] == ["zipp==4.1.2 --hash=sha256:cc"]


def test_wheels_for_a_newer_glibc_are_not_taken() -> None:
    names = " ".join(platforms(36))
    assert "manylinux_2_36_" in names
    assert "manylinux_2_17_" in names
    assert "manylinux_2_37_" not in names
