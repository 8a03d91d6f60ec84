"""Makes the PAM stacks of these tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from native.pam_stack import Stack, build, build_sanitized, environment


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the module, as it is installed, and its client."""
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the same folder, with sanitizers in the module."""
    return build_sanitized(tmp_path_factory.mktemp("sanitized"))


@pytest.fixture(params=["built", "sanitized"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Returns a service in a folder that root trusts."""
    programs: Path = request.getfixturevalue(request.param)
    folder = Path(tempfile.mkdtemp(prefix="sshaft-test-", dir="/var/lib" if os.geteuid() == 0 else None))
    (folder / "pam.d").mkdir()
    (folder / "pam.d" / "other").write_text("auth required pam_deny.so\n")
    seen = environment(folder / "pam.d", sanitized=request.param == "sanitized")
    yield Stack(folder, programs / "pam_sshaft.so", programs / "pam_client", seen)
    shutil.rmtree(folder)
