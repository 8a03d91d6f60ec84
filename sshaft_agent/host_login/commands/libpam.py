"""Calls libpam as a program such as sshd does (pam_start(3)), with a PAM service that exists for one call only."""

import ctypes
import os
import syslog
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

from sshaft.errors import ConfigurationError

SUCCESS, SYSTEM_ERR, PERM_DENIED, AUTH_ERR, AUTHINFO_UNAVAIL, MAXTRIES = 0, 4, 6, 7, 9, 11
USER_UNKNOWN, CONV_ERR, MODULE_UNKNOWN = 10, 19, 28
_TTY, _RHOST = 3, 4
_ESTABLISH_CRED = 2


class Style(IntEnum):
    """What the module wants of the person."""

    PROMPT_ECHO_OFF = 1
    PROMPT_ECHO_ON = 2
    ERROR_MSG = 3
    TEXT_INFO = 4


Converse = Callable[[Style, str], str | None]
"""Shows a text. Returns what the person types, for a prompt."""


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("status", ctypes.c_int))


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)


class _Conversation(ctypes.Structure):
    _fields_ = (("callback", _Callback), ("data", ctypes.c_void_p))


class Login:
    """One login through libpam. Each step returns libpam's status, and raises what the conversation has raised."""

    def __init__(self, libpam: Any, handle: ctypes.c_void_p, failures: list[BaseException]) -> None:
        self._libpam = libpam
        self._handle = handle
        self._failures = failures

    def authenticate(self) -> int:
        return self._call(self._libpam.pam_authenticate, 0)

    def account(self) -> int:
        return self._call(self._libpam.pam_acct_mgmt, 0)

    def set_credentials(self) -> int:
        return self._call(self._libpam.pam_setcred, _ESTABLISH_CRED)

    def text_of(self, status: int) -> str:
        """Returns libpam's words for a status."""
        return str(self._libpam.pam_strerror(self._handle, status).decode(errors="replace"))

    def _call(self, function: Any, flags: int) -> int:
        status = int(function(self._handle, flags))
        if self._failures:
            raise self._failures.pop()
        return status


@contextmanager
def login(service: str, stack: str, user: str, converse: Converse) -> Iterator[Login]:
    """Yields a login of `user` from this host. `stack` is the text of the service file.

    The file is in a folder that only root (or this user) can change. The folder is gone when the login has started,
    because libpam has loaded the modules then. Raises `ConfigurationError` if libpam cannot start the login.
    """
    with ExitStack() as ending:
        # A TMPDIR of the caller could be a folder that another account may rename.
        with tempfile.TemporaryDirectory(prefix="sshaft-pam-", dir="/run" if os.geteuid() == 0 else None) as folder:
            (Path(folder) / service).write_text(stack)
            (Path(folder) / "other").write_text("auth required pam_deny.so\naccount required pam_deny.so\n")
            started = ending.enter_context(login_of(service, Path(folder), user, converse))
        yield started


@contextmanager
def login_of(service: str, folder: Path, user: str, converse: Converse) -> Iterator[Login]:
    """Yields a login of `user` from this host, with the service files of a folder. Raises `ConfigurationError`."""
    libpam = _load()
    failures: list[BaseException] = []
    conversation = _Conversation(_Callback(_answering(converse, failures)), None)
    handle = ctypes.c_void_p()
    status = libpam.pam_start_confdir(
        service.encode(), os.fsencode(user), ctypes.byref(conversation), os.fsencode(folder), ctypes.byref(handle)
    )
    if status != SUCCESS:
        raise ConfigurationError(f"libpam cannot start a login (pam_start_confdir: {status})")
    try:
        for item, value in ((_RHOST, b"127.0.0.1"), (_TTY, b"ssh")):
            libpam.pam_set_item(handle, item, value)
        yield Login(libpam, handle, failures)
    finally:
        libpam.pam_end(handle, status)


@contextmanager
def log_of_modules() -> Iterator[list[str]]:
    """Yields a list. After the block it has the lines that modules wrote to syslog. They are foreign text."""
    lines: list[str] = []
    name = "sshaft-host-check"
    # LOG_PERROR writes each line of this process to standard error, too. For this block that is a file in memory.
    syslog.openlog(name, syslog.LOG_PERROR, syslog.LOG_AUTH)
    before, written = os.dup(2), os.memfd_create("log", os.MFD_CLOEXEC)
    os.dup2(written, 2)
    try:
        yield lines
    finally:
        os.dup2(before, 2)
        os.close(before)
        syslog.closelog()
        with os.fdopen(written, "rb") as file:
            file.seek(0)
            lines += [line.removeprefix(f"{name}: ") for line in file.read().decode(errors="replace").splitlines()]


def _load() -> Any:
    """Returns libpam, with the types of its functions. Raises `ConfigurationError`."""
    try:
        libpam = ctypes.CDLL("libpam.so.0")
        libpam.pam_start_confdir.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p,
                                             ctypes.c_void_p]  # fmt: skip
    except OSError as error:
        raise ConfigurationError(f"libpam cannot be loaded: {error}") from None
    except AttributeError:
        raise ConfigurationError("this needs Linux-PAM 1.4 or later: libpam.so.0 has no pam_start_confdir") from None
    libpam.pam_set_item.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    for name in ("pam_authenticate", "pam_acct_mgmt", "pam_setcred", "pam_end", "pam_strerror"):
        getattr(libpam, name).argtypes = [ctypes.c_void_p, ctypes.c_int]
    libpam.pam_strerror.restype = ctypes.c_char_p
    return libpam


def _answering(converse: Converse, failures: list[BaseException]) -> Callable[..., int]:
    """Returns the function that libpam calls for each conversation (pam_conv(3)). libpam frees what it answers."""
    libc = ctypes.CDLL(None)
    libc.calloc.restype = libc.strdup.restype = ctypes.c_void_p
    libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    libc.strdup.argtypes = [ctypes.c_char_p]

    def call(count: int, messages: Any, responses: Any, _data: Any) -> int:
        try:
            asked = [messages[i].contents for i in range(count)]
            typed = [converse(Style(each.style), (each.text or b"").decode(errors="replace")) for each in asked]
        except BaseException as error:  # noqa: BLE001 - an exception cannot pass libpam: it would count as success
            failures.append(error)
            return CONV_ERR
        block = ctypes.cast(libc.calloc(count, ctypes.sizeof(_Response)), ctypes.POINTER(_Response))
        for i, text in enumerate(typed):
            if text is not None:
                block[i].text = libc.strdup(os.fsencode(text.partition("\0")[0]))
        responses[0] = block
        return SUCCESS

    return call
