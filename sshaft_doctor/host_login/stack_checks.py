"""Judges the PAM stack of sshd: whether host login is asked first, and who gets in without its approval."""

from collections.abc import Callable, Collection, Iterator

from sshaft.command_line.severity import Severity
from sshaft_doctor.findings import Finding, error, note, ok, warning
from sshaft_doctor.host_login.pam_stack import RESULTS, Line, Passed, Stack, status_of, way_in

MODULE = "pam_sshaft.so"
AUTH_CONTROL = "[success=done ignore=ignore default=die]"
ACCOUNT_CONTROL = "[success=ok ignore=ignore default=bad]"
_FIRST = f"put the line of {MODULE} before the other auth lines, as `sshaft host enable` does"
_CONTROL = f"give the line of {MODULE} the control {AUTH_CONTROL}"
_REFUSALS = ("auth_err", "user_unknown", "perm_denied", "conv_err", "system_err", "buf_err", "module_unknown")
_AWAY = "authinfo_unavail"
_FIXED = {"pam_deny.so": "auth_err", "pam_permit.so": "success"}
_HELPERS = frozenset(
    [
        *("pam_deny.so", "pam_permit.so", "pam_env.so", "pam_faildelay.so", "pam_faillock.so", "pam_nologin.so"),
        *("pam_cap.so", "pam_sepermit.so", "pam_usertype.so", "pam_localuser.so", "pam_succeed_if.so", "pam_warn.so"),
        *("pam_securetty.so", "pam_shells.so", "pam_listfile.so", "pam_access.so", "pam_time.so", "pam_tally2.so"),
        *("pam_group.so", "pam_keyinit.so", "pam_debug.so", "pam_echo.so", "pam_mkhomedir.so", "pam_systemd.so"),
    ]
)
"""Modules that ask the person for nothing."""
_NEW_PASSWORD = "new_authtok_reqd"  # sshd then asks for a new password, and lets in


def ours(stack: Stack, kind: str) -> tuple[Line, ...]:
    return tuple(line for line in stack.of(kind) if line.name == MODULE)


def judge(stack: Stack) -> list[Finding]:
    """Returns findings about a stack that asks for host login."""
    found = [*_shared(stack), *_auth(stack), *_account(stack)]
    if any(each.severity > Severity.NOTE for each in found):
        return found
    return [ok("host.stack", "host login is asked first, and nothing lets in after a refusal", _place(stack)), *found]


def opens_by_password(stack: Stack) -> bool:
    """Whether another module lets in an account that host login ignores: root, and those of `break_glass`."""
    return _way_in(stack.of("auth"), "ignore") is not None


def _place(stack: Stack) -> str:
    return next((line.place for line in ours(stack, "auth")), "")


def _shared(stack: Stack) -> Iterator[Finding]:
    """Yields a finding if the line stands in a file that other services include."""
    own = stack.files[0] if stack.files else None
    for line in (*ours(stack, "auth"), *ours(stack, "account")):
        if line.path != own:
            what = f"{MODULE} stands in {line.path.name}: sudo, login and others that include this file ask it too"
            yield warning("host.shared", what, line.place, f"move the line into {own}")


def _auth(stack: Stack) -> Iterator[Finding]:
    lines = stack.of("auth")
    line = next(each for each in lines if each.name == MODULE)
    yield from _before(lines, line)
    yield from _after_refusal(lines, line)
    yield from _after_approval(lines, line)
    names = line.argument("break_glass")
    if names and (passed := _way_in(lines, "ignore")):
        what = f"emergency account {names} (break_glass): {_opener(passed)} decides, without host login"
        yield note("host.break_glass", what, line.place)
    elif names:
        what = f"emergency account {names} (break_glass): no module after {MODULE} lets it in"
        yield error("host.break_glass", what, line.place, "@include common-auth below it (password-auth on Red Hat's)")


def _before(lines: tuple[Line, ...], line: Line) -> Iterator[Finding]:
    passed = _way_in(lines)
    if passed is not None:
        what = f"{_opener(passed)} lets in before host login is asked"
        yield error("host.order", what, passed[-1][0].place, _FIRST)
        return
    asked = [each for each in lines[: lines.index(line)] if each.module and each.name not in _HELPERS]
    if asked:
        what = f"{asked[0].name} is asked before host login: without a pass there, nobody gets to it"
        yield warning("host.order", what, asked[0].place, _FIRST)


def _after_refusal(lines: tuple[Line, ...], line: Line) -> Iterator[Finding]:
    for result in _REFUSALS:
        passed = _way_in(lines, result)
        if passed is not None:
            what = f"host login does not have the last word: after {_named(result)}, {_opener(passed)} can let in"
            yield error("host.passwords", what, line.place, _CONTROL)
            return
    passed = _way_in(lines, _AWAY)
    if passed is not None:
        what = f"while the agent is away, {_opener(passed)} lets in without host login"
        yield warning("host.passwords", what, line.place, f"{_CONTROL}; name emergency accounts by break_glass=NAME")


def _after_approval(lines: tuple[Line, ...], line: Line) -> Iterator[Finding]:
    def result(each: Line) -> str:
        if each.name == MODULE:
            return "success"
        return _FIXED.get(each.name, "success" if each.name in _HELPERS else "auth_err")

    if status_of(lines, result) == "success":
        return
    passed = _way_in(lines, "success")
    if passed is None:
        what = f"nobody gets in: after an approval, this stack still refuses (control {_shown(line)})"
        yield error("host.approval", what, line.place, _CONTROL)
    else:
        what = f"an approval is not enough: {_opener(passed)} must let in, too"
        yield note("host.approval", what, line.place, f"if that is not wanted: {_CONTROL}")


def _account(stack: Stack) -> Iterator[Finding]:
    """Yields findings about the account line, if there is one: it refuses accounts that nobody was approved for."""
    lines = stack.of("account")
    line = next((each for each in lines if each.name == MODULE), None)
    if line is None:
        return
    opens = ("success", _NEW_PASSWORD)
    passed = _way_in(lines, None, opens)
    if passed is not None:
        what = f"{_opener(passed)} opens an account before host login is asked whether it is approved"
        yield error("host.account", what, passed[-1][0].place, f"put the account line of {MODULE} before the others")
        return
    for result in ("perm_denied", *_REFUSALS, _AWAY):
        passed = _way_in(lines, result, opens)
        if passed is not None:
            what = f"host login does not have the last word about an account: after {_named(result)}, "
            yield error(
                "host.account",
                f"{what}{_opener(passed)} opens it",
                line.place,
                f"give the line the control {ACCOUNT_CONTROL}",
            )
            return


def _way_in(
    lines: tuple[Line, ...], result: str | None = None, opens: Collection[str] = ("success",)
) -> Passed | None:  # fmt: skip
    """Returns a way in where our module has this result. Without a result: a way that does not pass our module."""
    passed = way_in(lines, _choose(result), opens)
    is_asked = passed is not None and any(line.name == MODULE for line, _ in passed)
    return passed if is_asked == (result is not None) else None


def _choose(result: str | None) -> Callable[[Line], Collection[str]]:
    every = list(dict.fromkeys(["success", "auth_err", "ignore", *RESULTS]))

    def choose(line: Line) -> Collection[str]:
        if line.name == MODULE:
            return [result] if result else []
        return [_FIXED[line.name]] if line.name in _FIXED else every

    return choose


def _opener(passed: Passed) -> str:
    """Returns the name of the module that lets in."""
    own = [line.name for line, result in passed if line.name != MODULE and result in ("success", _NEW_PASSWORD)]
    asking = [name for name in own if name not in _HELPERS]
    found = (asking or own or [MODULE])[-1]
    return f"{found} (a password of this host)" if found == "pam_unix.so" else found


def _named(result: str) -> str:
    names = {"auth_err": "a refusal", "module_unknown": "a missing module file", _AWAY: "a missing agent"}
    return names.get(result, f"the result {result}")


def _shown(line: Line) -> str:
    return " ".join(f"{name}={action}" for name, action in line.control.items())
