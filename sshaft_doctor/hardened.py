"""Writes the hardened sshd_config for one version of OpenSSH. The file beside this module is the one for 9.2."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sshaft.authorized_keys import is_safe_word
from sshaft.errors import ConfigurationError
from sshaft.openssh_version import Version
from sshaft_doctor import penalties

TEMPLATE = Path(__file__).with_name("sshd_config")
OLDEST = Version(8, 7)
"""The oldest version that is supported (Red Hat Enterprise Linux 9). Versions before 9.2 get fewer lines."""

SINCE = {
    "requiredrsasize": Version(9, 1),
    "channeltimeout": Version(9, 2),
    "unusedconnectiontimeout": Version(9, 2),
}

LATER = f"""
# --- OpenSSH {penalties.SINCE} and newer block an address after some failed logins. A login also fails
# when nobody waits yet or the identity service is down, and many people may stand behind one address:
{penalties.LINE}
# PerSourcePenaltyExemptList 192.0.2.0/24   # a large network behind one address, monitoring
"""


@dataclass(frozen=True)
class Choices:
    """The settings that an operator may change; None and () keep the values of the file."""

    port: int | None = None
    login_user: str | None = None
    keys_command: str | None = None
    keys_user: str | None = None
    host_keys: Sequence[str] = ()


def write(version: Version, choices: Choices) -> str:
    """Returns the text of the file. Raises `ConfigurationError` for an old version or a value that is no plain word."""
    if version < OLDEST:
        raise ConfigurationError(f"OpenSSH {version} is older than {OLDEST}: it lacks settings that sshaft relies on")
    text = TEMPLATE.read_text()
    for keyword, since in SINCE.items():
        if version < since:
            text = re.sub(rf"(?mi)^{keyword} .*\n", "", text)
    for keyword, value in _values(choices).items():
        text = _put(text, keyword, value)
    return text + LATER if version >= penalties.SINCE else text


def _values(choices: Choices) -> Mapping[str, Sequence[str]]:
    """Returns the words that replace the first word of a setting, by keyword. Raises `ConfigurationError`."""
    chosen: dict[str, Sequence[str]] = {}
    if choices.port is not None:
        chosen["Port"] = [str(choices.port)]
    for keyword, value in (
        ("AllowUsers", choices.login_user),
        ("AuthorizedKeysCommand", choices.keys_command),
        ("AuthorizedKeysCommandUser", choices.keys_user),
    ):
        if value is not None:
            chosen[keyword] = [value]
    if choices.host_keys:
        chosen["HostKey"] = choices.host_keys
    for keyword, values in chosen.items():
        for value in values:
            if not is_safe_word(value):
                raise ConfigurationError(f"{keyword}: may hold only letters, digits and ._@+/:-")
            if keyword in ("AuthorizedKeysCommand", "HostKey") and not value.startswith("/"):
                raise ConfigurationError(f"{keyword}: {value} must be an absolute path")
    return chosen


def _put(text: str, keyword: str, values: Sequence[str]) -> str:
    """Writes a line for each value, and keeps the words behind the first one (arguments, a comment)."""
    pattern = re.compile(rf"(?m)^({keyword}) (\S+)(.*)$")
    text, count = pattern.subn(lambda line: "\n".join(f"{line[1]} {value}{line[3]}" for value in values), text)
    if count != 1:
        raise ConfigurationError(f"{TEMPLATE}: {keyword} must be there once; install sshaft again")
    return text
