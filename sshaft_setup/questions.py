"""Lists the questions. Each of them is an option of the command line, too."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sshaft_setup import checks
from sshaft_setup.roles import Role

Answers = Mapping[str, str]
_ALWAYS: Callable[[Answers], bool] = lambda _answers: True  # noqa: E731 - a default value of a field
_BY_FILE = "factor_file"


@dataclass(frozen=True)
class Question:
    """A question. `suggestion` returns the answer for Enter; without one, an answer is needed.

    `is_asked` decides by the answers before this one. `explanation` stands above the question at the terminal.
    """

    name: str
    roles: frozenset[Role]
    text: str
    help: str
    check: Callable[[str], str]
    suggestion: Callable[[], str | None] = lambda: None
    is_asked: Callable[[Answers], bool] = _ALWAYS
    explanation: str = ""

    @property
    def option(self) -> str:
        return option_of(self.name)


def option_of(name: str) -> str:
    """Returns the option for the question of this name."""
    return f"--{name.replace('_', '-')}"


def _fixed(value: str) -> Callable[[], str]:
    return lambda: value


def _this_host() -> str:
    return socket.getfqdn()


def _this_host_by_https() -> str | None:
    name = _this_host()
    return f"https://{name}" if "." in name and name != "localhost.localdomain" else None


def _by_hand(answers: Answers) -> bool:
    return not answers.get(_BY_FILE)


_SERVICE = frozenset({Role.LOCAL_FACTOR, Role.IDENTITY})
_FACTOR = frozenset({Role.LOCAL_FACTOR, Role.FACTOR})
_REMOTE = frozenset({Role.FACTOR})
_HOST = frozenset({Role.HOST_LOGIN})

QUESTIONS = (
    Question(
        "public_url", _SERVICE, "Address of the identity service",
        "The URL at which browsers and agents reach the identity service, such as https://id.example.org.",
        checks.base_url, _this_host_by_https,
        explanation="Browsers and agents reach the identity service at this URL, usually through a proxy with TLS.",
    ),
    Question(
        "listen", _SERVICE, "The identity service listens at",
        "HOST:PORT at which the identity service listens, without TLS.", checks.listen, _fixed("127.0.0.1:8080"),
        explanation="It speaks plain HTTP: keep it on loopback, behind the proxy.",
    ),
    Question(
        "database", _SERVICE, "PostgreSQL URL (Enter: as it is, at first a file)",
        "postgresql://USER@HOST/NAME, for the identity service. Without it: SQLite, a file beside identity.json.",
        checks.database, _fixed(""),
        explanation="A password belongs into a file that the URL names (passfile=...), not into the URL.",
    ),
    Question(
        "factor_file", _REMOTE, "File with the configuration (Enter: type the addresses)",
        "A config.json that `sshaft identity client add NAME --config-json FILE` wrote on the host of the identity "
        "service.", checks.factor_file, _fixed(""),
        explanation="On the host of the identity service, this writes a file. Copy it here:\n"
        "  sshaft identity client add factor --scope mfa:list --scope mfa:accept --config-json factor.json",
    ),
    Question("token_endpoint", _REMOTE, "Token endpoint", "The token endpoint of the identity service.", checks.url,
             is_asked=_by_hand),
    Question("mfa_list_endpoint", _REMOTE, "Endpoint that lists pending logins", "The list of pending logins.",
             checks.url, is_asked=_by_hand),
    Question("mfa_accept_endpoint", _REMOTE, "Endpoint that accepts a login", "The endpoint that accepts a login.",
             checks.url, is_asked=_by_hand),
    Question("mfa_reject_endpoint", _REMOTE, "Endpoint that rejects a login (Enter: none)",
             "The endpoint that rejects a login, for `ssh mfa@host deny`.", checks.optional_url, _fixed(""),
             is_asked=_by_hand),
    Question("token_scope", _REMOTE, "Scope of the access token (Enter: none)", "The scope of the access token.",
             checks.optional_text, _fixed(""), is_asked=_by_hand),
    Question(
        "issuer", _HOST, "Issuer of the OpenID Provider", "The OpenID Provider, as its metadata names it.", checks.url,
        explanation="People approve their logins at the organisation's OpenID Provider, by the device grant.",
    ),
    Question("client_id", frozenset({Role.FACTOR, Role.HOST_LOGIN}), "Id of this client there",
             "The id of this client at the identity service or the OpenID Provider.", checks.text, is_asked=_by_hand),
    Question(
        "allow", _HOST, "Who may log in",
        "Who may log in: group:NAME and user:ACCOUNT, with blanks between them, or everyone.", checks.people,
        explanation="group:NAME is a group at the provider, user:ACCOUNT an account of this host. Write blanks between "
        "several,\nand quotes around a name with blanks. `everyone` lets in whoever the provider lets in.",
    ),
    Question(
        "create", _HOST, "Make accounts at the first login",
        "Whether accounts are made at the first login of a person: yes or no.", checks.yes_or_no, _fixed("no"),
        explanation="If not, people need an account of this host already.",
    ),
    Question("ssh_host", _SERVICE, "Host of the ssh command that people see",
             "The host of the ssh command that the identity service shows to people.", checks.host, _this_host),
    Question(
        "sshd", _FACTOR, "Which sshd (separate, existing)",
        "separate: an sshd for the SSH factor alone, with a file of its own. existing: the host's sshd, whose file you "
        "change yourself.", checks.one_of("separate", "existing"), _fixed("separate"),
        explanation="A separate sshd is best: the host's own sshd stays as it is.",
    ),
    Question("ssh_port", frozenset({Role.LOCAL_FACTOR, Role.FACTOR, Role.IDENTITY}), "Port of the factor's sshd",
             "The port of the factor's sshd, which the shown ssh command has.", checks.port, _fixed("2222"),
             is_asked=lambda answers: answers.get("sshd") != "existing"),
)  # fmt: skip


def of_role(role: Role) -> tuple[Question, ...]:
    """Returns the questions for a role, in order."""
    return tuple(each for each in QUESTIONS if role in each.roles)
