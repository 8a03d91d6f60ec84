"""Puts a complete upload in the place of its target: a new file, or one that the person has agreed to replace."""

import stat

import asyncssh

from sshaft_web.files import errors
from sshaft_web.files.errors import FileError
from sshaft_web.files.listing import kind_of
from sshaft_web.files.sftp import Sftp
from sshaft_web.files.upload import Upload

_RWX = 0o777
_PRIVATE = 0o600


async def finish(sftp: Sftp, upload: Upload) -> None:
    """Renames the complete part to its target."""
    replaced = await target_of(sftp, upload)
    if replaced is None:
        await _rename_to_new(sftp, upload)
    else:
        await _take_rights(sftp, upload, replaced)
        await _rename_over(sftp, upload)


async def _take_rights(sftp: Sftp, upload: Upload, replaced: asyncssh.SFTPAttrs) -> None:
    """Gives the part the group and the mode of the file that it replaces.

    If the group cannot be kept, the mode gives the new group no rights: its members could not read the old file.
    """
    mode = (replaced.permissions or _PRIVATE) & _RWX
    part = await attributes_of(sftp, upload.part)
    if part is not None and part.uid is not None and replaced.gid is not None and part.gid != replaced.gid:
        owner, group = part.uid, replaced.gid
        try:
            await sftp.ask(lambda client: client.chown(upload.part, owner, group), upload.target)
        except FileError:
            mode &= ~stat.S_IRWXG
    await sftp.ask(lambda client: client.chmod(upload.part, mode), upload.target)


async def _rename_to_new(sftp: Sftp, upload: Upload) -> None:
    """Gives the part its name, unless another file has taken the name meanwhile."""
    try:
        await sftp.ask(lambda client: client.rename(upload.part, upload.target), upload.target)
    except FileError as error:
        if error.code == errors.HOST_FAILED:
            await target_of(sftp, upload)
        raise


async def _rename_over(sftp: Sftp, upload: Upload) -> None:
    """Replaces the target in one step, or in two steps if the host has no way to do it in one."""
    try:
        await sftp.ask(lambda client: client.posix_rename(upload.part, upload.target), upload.target)
    except FileError as error:
        if error.code != errors.UNSUPPORTED:
            raise
        await sftp.ask(lambda client: client.remove(upload.target), upload.target)
        await sftp.ask(lambda client: client.rename(upload.part, upload.target), upload.target)


async def attributes_of(sftp: Sftp, path: bytes) -> asyncssh.SFTPAttrs | None:
    """Returns the attributes of a file, or None if it does not exist. Does not follow a link."""
    try:
        return await sftp.ask(lambda client: client.lstat(path), path)
    except FileError as error:
        if error.code == errors.NO_SUCH_FILE:
            return None
        raise


async def target_of(sftp: Sftp, upload: Upload) -> asyncssh.SFTPAttrs | None:
    """Returns the attributes of the file that the upload replaces, or None. Raises `FileError` if it must stay."""
    attributes = await attributes_of(sftp, upload.target)
    if attributes is None:
        return None
    if kind_of(attributes) != "file":
        raise errors.unsafe_to_replace(upload.name)
    if not upload.replace:
        raise errors.exists(upload.name)
    return attributes
