"""Makes the pages of section 5 from the classes that read the configuration files."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sshaft.config import Config
from sshaft_accounts.policy import Policy
from sshaft_agent.host_login.settings import HostLoginSettings
from sshaft_client.settings import ClientFile
from sshaft_host_api.configuration import Settings as HostApiSettings
from sshaft_identity.settings import Settings as IdentitySettings
from sshaft_web.configuration import Settings as WebSettings
from tools.manual.members import Group, groups
from tools.manual.roff import NewPage, Page, sentence


class File(NamedTuple):
    name: str
    summary: str
    places: str
    text: str
    groups: tuple[Group, ...]
    references: tuple[str, ...]


def every_file() -> Iterator[File]:
    """Yields each configuration file with all its members."""
    yield File(
        "config.json",
        "configuration of the sshaft agent: the SSH factor and host login",
        "/etc/sshaft/config.json",
        "A JSON object. It has the members of the SSH factor, the member `host_login` with host login, or both. The "
        "file belongs to the account of the agent, and nobody else can read it. `systemctl reload sshaft-agent` makes "
        "the agent read it again; `sshaft agent check` checks it.",
        (*groups(Config), *groups(HostLoginSettings, "host_login")),
        ("sshaft-agent(1)", "sshaft-host(1)", "sshaft-setup(1)", "pam_sshaft(8)"),
    )
    yield File(
        "identity.json",
        "configuration of the sshaft identity service",
        "/var/lib/sshaft-identity/identity.json",
        "A JSON object, which `sshaft identity init` writes. Every member is optional. `systemctl reload "
        "sshaft-identity` makes the service read it again; `sshaft identity check` checks it.",
        tuple(groups(IdentitySettings)),
        ("sshaft-identity(1)", "sshaft-identity-init(1)", "sshaft-setup(1)"),
    )
    yield File(
        "accounts.json",
        "what sshaft-accounts may do for the sshaft agent",
        "/etc/sshaft/accounts.json",
        "A JSON object, which may be empty. The file and its folder must belong to root, and nobody else may write "
        "there. A change counts at the next request. Without the file every request is refused.",
        tuple(groups(Policy)),
        ("sshaft-host(1)", "sshaft-config.json(5)", "libnss_sshaft(8)"),
    )
    yield File(
        "host-api.json",
        "configuration of the HTTP API of token login",
        "/etc/sshaft/host-api.json",
        "A JSON object. `systemctl reload sshaft-host-api` reads a renewed certificate; other members need a restart. "
        "`sshaft host-api check` checks the file.",
        tuple(groups(HostApiSettings)),
        ("sshaft-host-api(1)", "sshaft-config.json(5)"),
    )
    yield File(
        "web.json",
        "configuration of sshaft web, terminals in the browser",
        "/etc/sshaft/web.json",
        "A JSON object. `sshaft web check` checks the file.",
        tuple(groups(WebSettings)),
        ("sshaft-web(1)", "sshaft-host-api.json(5)"),
    )
    yield File(
        "client.json",
        "OpenID Providers at which sshaft ssh logs people in",
        "~/.config/sshaft/client.json or /etc/sshaft/client.json",
        "A JSON object. The file of the person is read first; the other one is for everybody on the computer.",
        tuple(groups(ClientFile)),
        ("sshaft-ssh(1)", "sshaft-info(1)"),
    )


def pages(new_page: NewPage) -> Iterator[Page]:
    """Yields the pages of section 5."""
    for each in every_file():
        page = new_page(f"sshaft-{each.name}", 5, each.summary)
        page.heading("Synopsis")
        page.paragraph(each.places)
        page.heading("Description")
        page.paragraph(each.text)
        _add_members(page, each.groups)
        page.references([*each.references, "sshaft(1)"])
        yield page


def _add_members(page: Page, found: Iterable[Group]) -> None:
    page.heading("Members")
    for group in found:
        if group.path:
            page.subheading(f"In {group.path}")
            for paragraph in group.description.split("\n\n"):
                page.paragraph(paragraph)
        for member in group.members:
            default = {"": "", "required": "; required"}.get(member.default, f"; default: {member.default}")
            page.tagged(member.name, sentence(member.description))
            page.continued(sentence(member.kind + default))
