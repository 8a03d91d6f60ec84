"""Starts the throwaway OpenID Provider with TLS, whose access tokens motley_cue takes too."""

from dataclasses import dataclass
from pathlib import Path

import requests
import trustme

from sshaft_demo.host import DemoProvider
from sshaft_demo.parts import connects, wait_for

AUDIENCE = "https://host.example.org"
_PROVIDER = Path(__file__).parent / "token_provider.py"


@dataclass
class TokenProvider(DemoProvider):
    """The throwaway provider with TLS. `authorities` is the file of its authority."""

    def __post_init__(self) -> None:
        self.issuer = f"https://localhost:{self.port}"
        authority, folder = trustme.CA(), self.place.directory
        self.authorities = folder / "authorities.pem"
        authority.cert_pem.write_to_path(self.authorities)
        made = authority.issue_cert("localhost")
        certificate, key, program = (folder / name for name in ("provider.pem", "provider.key", _PROVIDER.name))
        made.cert_chain_pems[0].write_to_path(certificate)
        made.private_key_pem.write_to_path(key)
        program.write_bytes(_PROVIDER.read_bytes())
        words = (str(self.port), certificate, key, self.place.person, AUDIENCE)
        process = self.place.start("provider", [*self.place.python(), program, *words])
        wait_for(lambda: connects(self.port), process, lambda: self.place.log("provider"), "the provider")

    def tokens(self, count: int, padding: int = 0) -> list[str]:
        """Returns new access tokens of the person. `padding` makes them longer."""
        url = f"{self.issuer}/many/{count}/{padding}"
        tokens: list[str] = requests.get(url, timeout=60, verify=str(self.authorities)).json()
        return tokens
