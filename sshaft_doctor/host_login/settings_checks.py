"""Compares sshd's settings with the needs of host login."""

from dataclasses import dataclass

from sshaft.openssh_version import Version
from sshaft_doctor import penalties
from sshaft_doctor.effective import Effective, seconds
from sshaft_doctor.findings import Finding, error, note, warning

_GRACE, _TIMEOUT = 300, 280
_APPROVAL_SECONDS = 60
"""A person needs that long to take a telephone, sign in and approve."""
_DEFAULT_TIMEOUT = "100"
_STARTUPS = "MaxStartups 50:30:200"
_FEW_STARTUPS = 10


@dataclass(frozen=True)
class Asked:
    """What the line of pam_sshaft in the stack says."""

    place: str
    timeout: float
    root_by_password: bool
    """Whether the stack lets root in by another module."""
    about_account: bool = True
    """Whether the module is also asked about the account, after a key or a certificate."""


def timeout_of(argument: str | None) -> float:
    return seconds(argument or _DEFAULT_TIMEOUT)


def judge(settings: Effective, version: Version | None, asked: Asked) -> list[Finding]:
    """Returns findings about the settings that decide whether, and for how long, a person is asked."""
    found = [*_needed(settings), *_methods(settings), *_time(settings, asked), *_places(settings)]
    if settings.get("PasswordAuthentication", "yes").lower() == "yes":
        what = "PasswordAuthentication is yes: people may be asked for a password, and host login refuses every one"
        found.append(note("host.passwordauthentication", what, settings.where("PasswordAuthentication"),
                          "PasswordAuthentication no"))  # fmt: skip
    if asked.root_by_password:
        found += _root(settings)
    if not asked.about_account:
        found += _certificates(settings)
    return found + penalties.check(settings, version, "deny, mistype or come too late")


def _root(settings: Effective) -> list[Finding]:
    """Checks root's password. A Match block may permit it where the rest of the file does not."""
    what = "root gets in with its password: PermitRootLogin is yes, and host login leaves root to the other modules"
    right = "PermitRootLogin prohibit-password"
    places = [each.place for each in settings.lines if each.match and _permits_root(each.keyword, each.value)]
    if _permits_root("permitrootlogin", settings.get("PermitRootLogin", "prohibit-password")):
        places.insert(0, settings.where("PermitRootLogin"))
    return [warning("host.permitrootlogin", what, place, right) for place in dict.fromkeys(places)]


def _permits_root(keyword: str, value: str) -> bool:
    return keyword == "permitrootlogin" and value.strip('"').lower() == "yes"


def _certificates(settings: Effective) -> list[Finding]:
    authority = settings.get("TrustedUserCAKeys", "none")
    if authority == "none":
        return []
    what = f"certificates of {authority} open also accounts that nobody was approved for"
    where, right = settings.where("TrustedUserCAKeys"), "sshaft host enable --require-approval"
    return [note("host.certificates", what, where, right)]


def _needed(settings: Effective) -> list[Finding]:
    whys = {
        "UsePAM": ("no", "sshd asks no PAM module, so host login is not there at all"),
        "KbdInteractiveAuthentication": ("yes", "sshd can show no page and no code, so nobody logs in that way"),
    }
    return [
        error(f"host.{keyword.lower()}", f"{keyword} is {value}: {why}", settings.where(keyword), f"{keyword} yes")
        for keyword, (default, why) in whys.items()
        if (value := settings.get(keyword, default).lower()) != "yes"
    ]


def _methods(settings: Effective) -> list[Finding]:
    """Checks that one of the lists of methods asks PAM."""
    value = settings.get("AuthenticationMethods", "any").lower()
    if value == "any" or "keyboard-interactive" in value:
        return []
    what = f"AuthenticationMethods is {value}: keyboard-interactive is not in it, so nobody is asked for host login"
    right = "AuthenticationMethods publickey,keyboard-interactive:pam (after a key), or keyboard-interactive:pam"
    return [error("host.authenticationmethods", what, settings.where("AuthenticationMethods"), right)]


def _time(settings: Effective, asked: Asked) -> list[Finding]:
    grace = seconds(settings.get("LoginGraceTime", "120"))
    where, right = settings.where("LoginGraceTime"), f"LoginGraceTime {_GRACE}, and timeout={_TIMEOUT} in {asked.place}"
    if grace == 0:
        what = "LoginGraceTime is 0: sshd itself never ends a login that waits"
        return [note("host.logingracetime", what, where, right)]
    if asked.timeout >= grace:
        what = (
            f"the module may take {asked.timeout:g} s, and sshd ends every login after {grace:g} s (LoginGraceTime): "
            "people are cut off without a word"
        )
        return [warning("host.logingracetime", what, where, right)]
    if asked.timeout < _APPROVAL_SECONDS:
        what = f"people have {asked.timeout:g} s to approve a login in a browser"
        return [warning("host.timeout", what, asked.place, f"timeout={_TIMEOUT}, with LoginGraceTime {_GRACE}")]
    return []


def _places(settings: Effective) -> list[Finding]:
    """Checks the number of logins that may wait: each one keeps a place until it is approved or given up."""
    value = settings.get("MaxStartups", "10:30:100")
    first = value.split(":")[0]
    if not first.isdigit() or int(first) > _FEW_STARTUPS:
        return []
    what = f"MaxStartups is {value}: while {first} logins wait for an approval, sshd turns others away at random"
    return [warning("host.maxstartups", what, settings.where("MaxStartups"), _STARTUPS)]
