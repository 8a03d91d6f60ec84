"""Defines the failures of commands and of the start of the service. `sshaft.errors` has their root class."""

from sshaft import exit_status
from sshaft.errors import SshaftError


class RegistryError(SshaftError):
    """The wanted change does not fit the registered data: a name is taken or unknown, or a key has an owner."""

    code = "enrolment"
    exit_status = exit_status.DATA


class DatabaseError(SshaftError):
    """The database cannot be reached or used."""

    code = "database"
    exit_status = exit_status.UNAVAILABLE


class CopyError(SshaftError):
    """A backup cannot be written or read, or the database cannot be filled from it. Nothing was changed."""

    code = "copy"
    exit_status = exit_status.DATA


class AuditError(SshaftError):
    """The audit log was changed after it was written."""

    code = "audit"
    exit_status = exit_status.DATA
