"""Tests what the pages tell people to run with a real ssh and a real plink, against the sshd that is published."""

import shutil
import subprocess
from pathlib import Path

import pytest
from e2e.conftest import Keys, Site

from sshaft.host.ssh_server import SshServer, host_keys


def told(site: Site, *options: str | Path) -> str:
    """Returns what `sshaft client-config` prints."""
    command = site.identity.place.sshaft("client-config", site.identity.url, *options)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def ssh(config: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["ssh", "-F", config, *words], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def write_config(folder: Path, block: str, known: str) -> Path:
    """Writes an ssh_config in which other lines, for every host, would share connections and use another key."""
    known_hosts, config = folder / "known_hosts", folder / "config"
    known_hosts.write_text(known)
    others = ["StrictHostKeyChecking yes", f"UserKnownHostsFile {known_hosts}", "GlobalKnownHostsFile none",
              "BatchMode yes", "IdentityAgent none", "User nobody", "ControlMaster auto", f"ControlPath {folder}/c",
              "ControlPersist 60"]  # fmt: skip
    config.write_text(f"{block}\nHost *\n" + "".join(f"    {line}\n" for line in others))
    return config


def test_ssh_passes_logins_with_the_block_and_the_known_hosts_line(site: Site, keys: Keys, tmp_path: Path) -> None:
    config = write_config(tmp_path, told(site, "--identity-file", keys("alice")), told(site, "--known-hosts"))
    for _ in range(2):  # the second login must not go through a connection of the first (finding N5)
        challenge = site.identity.open_challenge("alice")
        done = ssh(config, "mfa", challenge["code"])
        assert done.returncode == 0, done.stderr
        assert site.identity.challenge(challenge["id"])["state"] == "accepted"
    assert [each for each in tmp_path.iterdir() if each.is_socket()] == []


def test_ssh_refuses_another_sshd_than_the_published_one(site: Site, keys: Keys, tmp_path: Path) -> None:
    other = keys("another-host").with_suffix(".pub").read_text()
    line = SshServer("mfa", "127.0.0.1", site.sshd.port, host_keys([other])).known_hosts()[0] + "\n"
    done = ssh(write_config(tmp_path, told(site, "--identity-file", keys("alice")), line), "mfa", "deny")
    assert (done.returncode, "HOST IDENTIFICATION HAS CHANGED" in done.stderr) == (255, True)


def test_plink_passes_a_login_with_the_command_of_the_page(site: Site, keys: Keys, tmp_path: Path) -> None:
    if not shutil.which("plink") or not shutil.which("puttygen"):
        pytest.skip("needs putty-tools: ./dev setup test")
    key, host_key = tmp_path / "key.ppk", site.identity.place.directory / "ssh_host_ed25519_key.pub"
    subprocess.run(["puttygen", keys("alice"), "-O", "private", "-o", key], check=True, timeout=60)
    (published,) = host_keys([host_key.read_text()])
    challenge = site.identity.open_challenge("alice")
    words = SshServer("mfa", "127.0.0.1", site.sshd.port).plink(challenge["code"]).split()
    words[1:1] = ["-batch", "-i", str(key), "-hostkey", published.fingerprint]
    done = subprocess.run(["env", f"HOME={tmp_path}", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert site.identity.challenge(challenge["id"])["state"] == "accepted"
