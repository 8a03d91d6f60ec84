"""Holds what belongs to the files of one terminal. It ends with the terminal."""

import asyncssh

from sshaft_web.files.sftp import Sftp
from sshaft_web.files.uploads import Uploads


class FileSession:
    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self.sftp = Sftp(connection)
        self.uploads = Uploads(self.sftp)
