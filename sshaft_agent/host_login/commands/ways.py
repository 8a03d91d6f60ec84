"""Names the ways to log in that remain while the agent is away, from the settings that sshd reports."""

import re
from collections.abc import Iterator, Mapping

_WITHOUT_PAM = {
    "publickey": ("pubkeyauthentication", "keys"),
    "hostbased": ("hostbasedauthentication", "hosts"),
    "gssapi-with-mic": ("gssapiauthentication", "Kerberos"),
}
"""The methods of sshd that do not ask the stack's auth lines: the setting that allows each, and its name for people."""
_KEYBOARD = "keyboard-interactive"


def asks_for_host_login(settings: Mapping[str, str]) -> bool:
    """Whether sshd lets people answer PAM's questions at all."""
    return any(_KEYBOARD in method for methods in _lists(settings) for method in methods)


def remaining(
    settings: Mapping[str, str], break_glass: Mapping[str, bool], *, require_approval: bool, root_has_key: bool = False
) -> Iterator[str]:  # fmt: skip
    """Yields the ways in that need no agent. `break_glass` says of each emergency account whether it has a password.

    With `require_approval` a key opens only the accounts that the module leaves to the others: root's and these.
    """
    own = {name for method, (keyword, name) in _WITHOUT_PAM.items() if settings.get(keyword) == "yes"}
    names = [
        " and ".join(_name(method) for method in methods)
        for methods in _lists(settings)
        if {_name(method) for method in methods} <= own
    ]
    if require_approval:
        if settings.get("permitrootlogin") not in ("no", "forced-commands-only") and root_has_key and "keys" in names:
            yield "root, by keys"
        yield from (f"{account}, by {name}" for account in break_glass for name in names)
    else:
        yield from names
    if asks_for_host_login(settings):
        yield from (f"{account}, by the password of this host" for account, has in break_glass.items() if has)


def takes_passwords(settings: Mapping[str, str]) -> bool:
    """Whether sshd has a method by which passwords of this host can come."""
    return "yes" in (settings.get("passwordauthentication"), settings.get("kbdinteractiveauthentication"))


def permits_root_in_match(text: str) -> bool:
    """Whether a Match block of this sshd_config permits root's password."""
    first = re.search(r"^[ \t]*match[ \t=]", text, re.IGNORECASE | re.MULTILINE)
    permitted = re.compile(r"^[ \t]*permitrootlogin[ \t=]+\"?yes\b", re.IGNORECASE | re.MULTILINE)
    return first is not None and permitted.search(text, first.end()) is not None


def _lists(settings: Mapping[str, str]) -> list[list[str]]:
    """Returns the lists of methods of which one is enough (AuthenticationMethods)."""
    value = settings.get("authenticationmethods", "any")
    if value == "any":
        return [[_KEYBOARD], *([method] for method in _WITHOUT_PAM)]
    return [methods.split(",") for methods in value.split()]


def _name(method: str) -> str:
    found = _WITHOUT_PAM.get(method.partition(":")[0])
    return found[1] if found else method
