"""Tests that a build of the Debian packages depends on the content of the checkout, and on nothing else."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from debian_host.chroot import SUITES
from debian_host.packages import build, built, copy_checkout
from image.debian import need_root, skipping

from sshaft_demo.place import CHECKOUT

pytestmark = pytest.mark.timeout(1800)  # it waits for two builds

VENDOR = "sshaft_web/pages/static/vendor"


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.deb")}


def test_another_person_builds_the_same_bytes(tmp_path: Path) -> None:
    """The second build has another time, folder, umask, time zone, language and number of processors."""
    with skipping():
        need_root()
        first = built(SUITES[0])
    other = copy_checkout(tmp_path / "another place")
    shutil.copytree(CHECKOUT / VENDOR, other / VENDOR)
    subprocess.run(["git", "init", "--quiet", other], check=True)
    one_processor = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
    around = [*one_processor, "env", "TZ=Asia/Tokyo", "LC_ALL=C", "sh", "-c", 'umask 077 && exec "$@"', "sh"]
    build(SUITES[0], tmp_path / "second", checkout=other, around=around)
    assert len(digests(first)) > 7
    assert digests(tmp_path / "second") == digests(first)
