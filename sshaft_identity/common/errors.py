"""What an operator's command or the start of the service can run into; `sshaft.errors` has the root."""

from sshaft import exit_status
from sshaft.errors import SshaftError


class RegistryError(SshaftError):
    """The operator's wish does not fit what is registered: a name is taken, a key has an owner, no such name."""

    code = "enrolment"
    exit_status = exit_status.DATA


class ListenError(SshaftError):
    """The address cannot be listened on."""

    code = "listen"
    exit_status = exit_status.UNAVAILABLE


class DatabaseError(SshaftError):
    """The database cannot be reached or used."""

    code = "database"
    exit_status = exit_status.UNAVAILABLE


class CopyError(SshaftError):
    """A backup cannot be written or is not one, or the database to fill is not fit for it. Nothing was changed."""

    code = "copy"
    exit_status = exit_status.DATA


class AuditError(SshaftError):
    """The audit log is not what was written."""

    code = "audit"
    exit_status = exit_status.DATA
