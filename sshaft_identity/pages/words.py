"""Formats times, key types and sources of keys for the pages."""

from datetime import UTC, datetime

from sshaft_identity.common.language import N_, _, ngettext
from sshaft_identity.web.state import AppState
from sshaft_oidc.settings import ProviderSettings

_SOURCES = {
    "operator": N_("by your administrator"),
    "import": N_("by your administrator, in an import"),
    "ssh": N_("over ssh"),
    "signature": N_("by a signature"),
}
_MONTHS = (
    N_("Jan"), N_("Feb"), N_("Mar"), N_("Apr"), N_("May"), N_("Jun"),
    N_("Jul"), N_("Aug"), N_("Sep"), N_("Oct"), N_("Nov"), N_("Dec"),
)  # fmt: skip
_NO_LABEL = N_("your organisation")
MY_KEYS = N_("My keys")
DESK_PASS = N_("Help desk, to change something")
TO_ADD = N_("My keys, to add the key {fingerprint}")


def ago(then: datetime, now: datetime) -> str:
    """Returns a text such as `5 minutes ago`: one number, rounded down."""
    seconds = int((now - then).total_seconds())
    days, hours, minutes = seconds // 86400, seconds // 3600, seconds // 60
    if days > 0:
        return ngettext("{count} day ago", "{count} days ago", days).format(count=days)
    if hours > 0:
        return ngettext("{count} hour ago", "{count} hours ago", hours).format(count=hours)
    if minutes > 0:
        return ngettext("{count} minute ago", "{count} minutes ago", minutes).format(count=minutes)
    return _("just now")


def period(seconds: int) -> str:
    """Returns a text such as `12 hours`: one number, in the largest unit that is exact, at least in minutes."""
    days, hours, minutes = seconds // 86400, seconds // 3600, -(-seconds // 60)
    if seconds % 86400 == 0:
        return ngettext("{count} day", "{count} days", days).format(count=days)
    if seconds % 3600 == 0:
        return ngettext("{count} hour", "{count} hours", hours).format(count=hours)
    return ngettext("{count} minute", "{count} minutes", minutes).format(count=minutes)


def moment(time: datetime) -> str:
    """Returns a text such as `22 Nov 2026, 12:04 UTC`. The catalogue has the order and the names of the months."""
    time = time.astimezone(UTC)
    month = _(_MONTHS[time.month - 1])
    return _("{day} {month} {year}, {time} UTC").format(day=time.day, month=month, year=time.year, time=f"{time:%H:%M}")


def key_kind(key_type: str) -> str:
    """Returns a name such as `Ed25519` or `ECDSA security key` for the key type of OpenSSH."""
    kind = key_type.removeprefix("sk-").partition("@")[0]
    name = {"ssh-ed25519": "Ed25519", "ssh-rsa": "RSA"}.get(kind, "ECDSA" if kind.startswith("ecdsa") else kind)
    return _("{type} security key").format(type=name) if key_type.startswith("sk-") else name


def source(how: str) -> str:
    return _(_SOURCES.get(how, how))


def clock(seconds: int) -> str:
    """Returns minutes and seconds such as `4:59`."""
    return f"{seconds // 60}:{seconds % 60:02}"


def app_name(app: str) -> str:
    """Returns the name of an application: that of one of our pages in the language of the page, all others as they are.

    Challenges, logs and ssh have the English names.
    """
    beginning = TO_ADD.partition("{")[0]
    if app.startswith(beginning):
        return _(TO_ADD).format(fingerprint=app.removeprefix(beginning))
    return _(app) if app in (MY_KEYS, DESK_PASS) else app


def provider_label(state: AppState) -> str | None:
    """Returns the operator's name for the OpenID Provider, or "your organisation"; None: there is no provider."""
    provider = state.settings.oidc
    if provider is None:
        return None
    is_default = provider.label == ProviderSettings.model_fields["label"].default
    return _(_NO_LABEL) if is_default else provider.label
