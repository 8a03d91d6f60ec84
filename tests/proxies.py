"""Gives the commands that run nginx, Caddy and Traefik with a site of ours, in a folder of the test."""

import os
import re
from pathlib import Path

import trustme


def make_certificate(directory: Path, name: str) -> Path:
    """Writes the files of a certificate for the name that the sites use. Returns the file of its authority."""
    authority, file = trustme.CA(), directory / "ca.pem"
    certificate = authority.issue_cert(name)
    (directory / "fullchain.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(directory / "privkey.pem")
    authority.cert_pem.write_to_path(file)
    return file


def nginx(directory: Path, site: str) -> list[str]:
    """Returns the command of nginx. The certificates of the site are those of the folder."""
    site = re.sub(r"/etc/letsencrypt/\S+/(\w+\.pem)", rf"{directory}/\1", site)
    kinds = " ".join(f"{each}_temp_path {directory}/{each};" for each in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(
        f"{'user root;' if os.geteuid() == 0 else ''} daemon off; master_process off; pid {directory}/pid;\n"
        f"error_log stderr; events {{}}\nhttp {{ access_log off; client_body_temp_path {directory}/body; {kinds}\n"
        f"{site}\n}}"
    )
    return ["nginx", "-c", str(directory / "nginx.conf"), "-p", str(directory)]


def caddy(directory: Path, site: str) -> list[str]:
    """Returns the command of Caddy. The certificates of the site are those of the folder."""
    site = site.replace("/etc/caddy", str(directory))
    (directory / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]


def traefik(directory: Path, settings: str, site: str) -> list[str]:
    """Returns the command of Traefik. The certificates of the site are those of the folder."""
    for name, text in (("traefik.yaml", settings), ("traefik-identity.yaml", site)):
        (directory / name).write_text(text.replace("/etc/traefik", str(directory)))
    return ["traefik", f"--configFile={directory / 'traefik.yaml'}"]
