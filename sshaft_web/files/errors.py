"""Defines the one failure of file transfer, and turns the errors of an SFTP server into it.

Each text is one sentence for the person at the page.
"""

import asyncssh

from sshaft.errors import SshaftError
from sshaft_web.files.names import shown

NO_SFTP = "This host offers no file transfer: its sshd has no working sftp subsystem. Ask its operator for one."
NO_SUCH_FILE = "no_such_file"
UNSUPPORTED = "unsupported"
HOST_FAILED = "host_failed"
_LOST = (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost, asyncssh.DisconnectError, OSError, EOFError)
_MEANINGS: tuple[tuple[tuple[type[Exception], ...], int, str, str], ...] = (
    ((asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath), 404, NO_SUCH_FILE, "PATH does not exist on the host."),
    (
        (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect),
        403,
        "permission_denied",
        "The host does not allow this for PATH.",
    ),
    (
        (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded),
        507,
        "no_space",
        "The disk of the host is full, or your quota there is used up.",
    ),
    ((asyncssh.SFTPNotADirectory,), 409, "not_a_folder", "PATH is no folder."),
    ((asyncssh.SFTPOpUnsupported,), 501, UNSUPPORTED, "The file service of the host cannot do this for PATH."),
    ((asyncssh.SFTPFailure,), 502, HOST_FAILED, "The host could not do this for PATH."),
)


class FileError(SshaftError):
    """Ends a request with this status of HTTP. `more` are further facts for the page."""

    def __init__(self, status: int, code: str, message: str, **more: int) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.more = more


def bad_request(message: str) -> FileError:
    return FileError(400, "bad_request", message)


def bad_name(name: bytes) -> FileError:
    text = f"A file on the host cannot be named {shown(name)} from here. Rename it on your computer first."
    return FileError(400, "bad_name", text)


def not_open() -> FileError:
    return FileError(409, "not_open", "The terminal is not open yet, or has ended. Files need its connection.")


def too_many() -> FileError:
    return FileError(429, "too_many_transfers", "Too many transfers run at once. Wait until one of them has ended.")


def too_large(limit: int) -> FileError:
    return FileError(413, "too_large", f"The file is too large: at most {_size(limit)} can be uploaded here.")


def exists(name: bytes) -> FileError:
    return FileError(409, "exists", f"{shown(name)} is there already.")


def unsafe_to_replace(name: bytes) -> FileError:
    what = "is a folder, a link or a device, so it is not replaced"
    return FileError(409, "not_a_file", f"{shown(name)} {what}. Choose another name or folder.")


def wrong_offset(size: int) -> FileError:
    message = "The unfinished upload on the host has another size than expected. Continue at its end."
    return FileError(409, "wrong_offset", message, size=size)


def too_long(total: int) -> FileError:
    return bad_request(f"The upload goes on after its last byte, {total}. Choose the file again.")


def superseded() -> FileError:
    return FileError(409, "superseded", "Another request continues this upload.")


def no_space(free: int) -> FileError:
    return FileError(507, "no_space", f"The disk of the host has only {_size(free)} left.")


def cannot_write(path: bytes) -> FileError:
    """Version 3 of SFTP has no code for a full disk or a used quota."""
    text = f"The host could not write {shown(path)}. Its disk may be full, or your quota there used up."
    return FileError(507, "no_space", text)


def not_a_file(path: bytes) -> FileError:
    return FileError(409, "not_a_file", f"{shown(path)} is no ordinary file, so it cannot be downloaded.")


def changed(path: bytes) -> FileError:
    return FileError(409, "changed", f"{shown(path)} became shorter while it was read.")


def not_a_folder(path: bytes) -> FileError:
    return FileError(409, "not_a_folder", f"{shown(path)} is no folder.")


def no_sftp() -> FileError:
    return FileError(501, "no_sftp", NO_SFTP)


def no_more_sessions() -> FileError:
    message = "The host allows no second session on this connection, and a file transfer needs one (MaxSessions)."
    return FileError(502, "no_more_sessions", message)


def not_sftp() -> FileError:
    message = "The host did not speak SFTP. A start-up file of your shell, such as .bashrc, may print text."
    return FileError(502, "not_sftp", f"{message} Let it print only in a terminal.")


def silent_host(seconds: float) -> FileError:
    return FileError(504, "host_timeout", f"The host did not answer within {seconds:g} seconds. Try again.")


def lost_host() -> FileError:
    return FileError(502, "host_lost", "The connection to the file service of the host was lost. Try again.")


def strange_host() -> FileError:
    return FileError(502, "bad_answer", "The host gave an answer that SFTP does not allow. Ask its operator.")


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def of_host(error: Exception, path: bytes) -> FileError:
    """Returns what an error of asyncssh means for the person. `path` is what the request was about."""
    for kinds, status, code, text in _MEANINGS:
        if isinstance(error, kinds):
            return FileError(status, code, text.replace("PATH", shown(path)))
    return lost_host() if isinstance(error, _LOST) else strange_host()
