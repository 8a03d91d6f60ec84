"""Lists the settings that have one right value, each with its reason, and checks the forwardings."""

from dataclasses import dataclass

from sshaft.command_line.severity import Severity
from sshaft.openssh_version import Version
from sshaft_doctor.effective import Effective
from sshaft_doctor.findings import Finding, warning


@dataclass(frozen=True)
class Rule:
    """A setting that has one right value. `default` is sshd's value without the line."""

    keyword: str
    right: str
    severity: Severity
    why: str
    default: str


RULES = (
    Rule("PubkeyAuthentication", "yes", Severity.ERROR, "no key is ever asked for", "yes"),
    Rule("AuthorizedKeysFile", "none", Severity.ERROR,
         "a key in such a file outranks the command: it logs in without sshaft", ".ssh/authorized_keys"),
    Rule("TrustedUserCAKeys", "none", Severity.ERROR,
         "a certificate outranks the command: it logs in without sshaft", "none"),
    Rule("ForceCommand", "none", Severity.ERROR,
         "it outranks the command of the key line: sshaft-login never runs", "none"),
    Rule("FingerprintHash", "sha256", Severity.ERROR, "%f is then not what the agent computes", "sha256"),
    Rule("RefuseConnection", "no", Severity.ERROR, "every connection is refused", "no"),
    Rule("PermitUserEnvironment", "no", Severity.WARNING,
         "~/.ssh/environment could change what sshaft-login loads", "no"),
    Rule("PermitTTY", "yes", Severity.WARNING, "programs that insist on a terminal can't log in", "yes"),
    Rule("PermitUserRC", "no", Severity.WARNING, "~/.ssh/rc would run before sshaft-login but for the key line", "yes"),
    Rule("DisableForwarding", "yes", Severity.WARNING, "only the key line's restrict keeps forwarding shut", "no"),
    Rule("ChrootDirectory", "none", Severity.WARNING,
         "sshaft-login, its interpreter and the agent's socket must all be in there", "none"),
    Rule("UseDNS", "no", Severity.NOTE, "a login waits for a resolver, and from= compares names", "no"),
    Rule("UsePAM", "no", Severity.NOTE,
         "PAM's account and session modules take part: right for a host's own sshd, not needed for sshaft alone",
         "no"),
)  # fmt: skip

# The first versions whose DisableForwarding covers a forwarding. 10.0 added agent and X11, 10.4 added tunnels.
_FORWARDING = {
    "AllowTcpForwarding": Version(0, 0),
    "AllowStreamLocalForwarding": Version(0, 0),
    "AllowAgentForwarding": Version(10, 0),
    "X11Forwarding": Version(10, 0),
    "PermitTunnel": Version(10, 4),
}
_FORWARDING_DEFAULTS = {"X11Forwarding": "no", "PermitTunnel": "no"}


def apply(rule: Rule, settings: Effective) -> list[Finding]:
    value = settings.get(rule.keyword, rule.default)
    if value.lower() == rule.right:
        return []
    what = f"{rule.keyword} is {value or 'empty'}: {rule.why}"
    return [
        Finding(name(rule.keyword), rule.severity, what, settings.where(rule.keyword), f"{rule.keyword} {rule.right}")
    ]


def name(keyword: str) -> str:
    return f"sshd.{keyword.lower()}"


def forwarding(settings: Effective, version: Version | None) -> list[Finding]:
    disabled = settings.get("DisableForwarding", "no").lower() == "yes"
    found = []
    for keyword, covered_since in _FORWARDING.items():
        value = settings.get(keyword, _FORWARDING_DEFAULTS.get(keyword, "yes"))
        covered = disabled and (covered_since == (0, 0) or (version is not None and version >= covered_since))
        if value.lower() == "no" or covered:
            continue
        since = f", and DisableForwarding misses it before {covered_since}" if disabled else ""
        what = f"{keyword} is {value}{since}"
        found.append(warning(name(keyword), what, settings.where(keyword), f"{keyword} no"))
    return found
