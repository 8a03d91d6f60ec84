"""Writes the commands that sshd starts into a folder: launchers.py FOLDER PACKAGES."""

import sys
from pathlib import Path

from sshaft import launchers

launchers.install(Path(sys.argv[1]), packages=Path(sys.argv[2]))
