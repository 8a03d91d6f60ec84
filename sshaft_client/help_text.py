"""Holds and shows the help of the client's programs. The manual pages are made from the same texts."""

import sys

USAGE = {
    "ssh": ("[OPTION]... [ssh's options] HOST [COMMAND]", "Log in to HOST by the system's ssh."),
    "scp": ("[OPTION]... [scp's options] SOURCE... TARGET", "Copy files by the system's scp."),
    "sftp": ("[OPTION]... [sftp's options] HOST", "Transfer files by the system's sftp."),
    "info": ("[OPTION]... HOST", "Show what HOST says of logins with access tokens."),
}
INTRODUCTION = """\
An access token answers the prompt "Access Token:"; all other questions reach you. The service beside the host
names your account, and makes it at the first login. Options of sshaft stand before all others."""
TOKEN_FROM = "The token comes from"
TOKEN_OPTIONS = (
    ("--token-file FILE", "this file"),
    ("--oa-account ACCOUNT", "this account of oidc-agent (also --oidc)"),
    ("--iss URL", "the provider: from oidc-agent, or by a login in your browser"),
    ("--client-id ID", "with --iss: log in as this client, even where oidc-agent runs"),
)
VARIABLES = (
    ("ACCESS_TOKEN, OIDC, OS_ACCESS_TOKEN, OIDC_ACCESS_TOKEN, WATTS_TOKEN, WATTSON_TOKEN", "a token"),
    ("OIDC_AGENT_ACCOUNT, OIDC_ISS, OIDC_ISSUER", "as the options --oa-account and --iss"),
)
WITHOUT_OPTIONS = """\
Without any of these: the only provider of the service, from oidc-agent, or by a login as client.json says."""
OTHER_OPTIONS = (
    ("--endpoint URL", "the service; without it, the usual addresses on HOST (also --mc-endpoint)"),
    ("--ca-file FILE", "PEM bundle to trust instead of the system's authorities"),
    ("--allow-http", "let a token cross the network without encryption"),
    ("--print-config", "(ssh) print lines for ~/.ssh/config, by which other programs share one login"),
    ("--help", "show this text"),
)
_CONFIG = """\
# Log in once by: sshaft ssh -fN {host}
# Then ssh, scp, rsync, git, Ansible and VS Code use that connection, without a token.
# The User line names your account there; `sshaft info {host}` shows it.
Host {host}
    ControlMaster auto
    ControlPath ~/.ssh/sshaft-%h-%p
    ControlPersist 8h
    # User NAME
"""


def show(program: str) -> None:
    """Prints the help of one program."""
    usage, text = USAGE[program]
    variables = "".join(f"  {names}\n{'':26}{meaning}\n" for names, meaning in VARIABLES)
    sys.stdout.write(
        f"Usage: sshaft {program} {usage}\n\n{text}\n\n{INTRODUCTION}\n\n{TOKEN_FROM}:\n{_rows(TOKEN_OPTIONS)}"
        f"{variables}{WITHOUT_OPTIONS}\n\n{_rows(OTHER_OPTIONS)}"
    )


def _rows(options: tuple[tuple[str, str], ...]) -> str:
    return "".join(f"  {names:24}{meaning}\n" for names, meaning in options)


def show_config(host: str) -> None:
    """Prints lines of ssh_config by which all programs that use ssh share one login to `host`."""
    sys.stdout.write(_CONFIG.format(host=host))
