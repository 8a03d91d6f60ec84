"""Runs the pods of the Helm chart: two replicas of the identity service with PostgreSQL, and two of the factor."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
import requests
import trustme
from fakes.postgresql import PostgreSQL
from helm import rendered
from image.containers import wait_until
from image.pods import Pod
from proxies import nginx

from bench.load.container_engine import Engine
from sshaft_demo.parts import free_port

CLIENT = ("sshaft", "identity", "client", "add", "factor", "--scope", "mfa:list", "--scope", "mfa:accept", "--json")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
SITE = """
upstream identity {{ {servers} }}
server {{
    listen {address} ssl;
    ssl_certificate {directory}/cert.pem;
    ssl_certificate_key {directory}/key.pem;
    location / {{
        proxy_pass http://identity;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
    }}
}}
"""


@dataclass(frozen=True)
class Cluster:
    """What `helm install` makes, with an nginx that ends TLS. Of each part there are two pods."""

    engine: Engine
    identity: list[Pod]
    factor: list[Pod]
    directory: Path

    def ssh(self, factor: Pod, *words: str) -> list[str]:
        """Returns the command line of an ssh to this pod. It knows one host key for both pods."""
        port = self.engine("port", factor.container, "2222/tcp").stdout.split()[0].rpartition(":")[2]
        options = [f"UserKnownHostsFile={self.directory}/known_hosts", "HostKeyAlias=mfa", "StrictHostKeyChecking=yes"]
        options += ["IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes", "LogLevel=ERROR"]
        command = ["ssh", "-F", "none", "-T", "-p", port, "-i", str(self.directory / "alice")]
        return [*command, *(f"-o{each}" for each in options), "mfa@127.0.0.1", *words]

    def open_challenge(self, number: int = 0) -> dict[str, str]:
        words = ("sshaft", "identity", "challenge", "open", "alice", "--json")
        opened: dict[str, str] = json.loads(self.identity[number].execute(*words))
        return opened

    def get(self, url: str) -> requests.Response:
        return requests.get(url, verify=str(self.directory / "ca.crt"), timeout=10)


@pytest.fixture(scope="module")
def cluster(
    engine: Engine, image: str, postgresql: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("cluster")
    subnet = engine("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Subnet}}").stdout.strip()
    gateway = str(next(ip_network(subnet).hosts()))
    address = f"{gateway}:{free_port()}"
    for key in ("alice", "ssh_host_ed25519_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True)
    host_key = (directory / "ssh_host_ed25519_key.pub").read_text()
    (directory / "known_hosts").write_text(f"mfa {host_key}")
    config = {"public_url": f"https://{address}", "ssh_host": "mfa.example.org", "trusted_proxies": [gateway]}
    config |= {"ssh_host_keys": [" ".join(host_key.split()[:2])]}
    factor = {"config": {"ca_file": "/etc/sshaft/ca.crt"}}
    objects = rendered({"image": {"repository": "sshaft"}, "identity": {"config": config}, "factor": factor})
    postgresql.drop(postgresql.url("chart"))  # of the first try
    postgresql.execute("CREATE DATABASE chart")
    url = postgresql.url("chart").replace(str(postgresql.directory), "/run/postgresql")
    secrets = {
        "sshaft-identity": {"database-url": url.encode(), "hmac.key": os.urandom(32)},
        "sshaft-host-keys": {"ssh_host_ed25519_key": (directory / "ssh_host_ed25519_key").read_bytes()},
    }
    socket = (f"-v={postgresql.directory}:/run/postgresql",)
    identity = [Pod(engine, image, objects, "identity", secrets, directory / f"identity-{n}", socket) for n in range(2)]
    for pod in identity:
        pod.start()
    secrets["sshaft-factor"] = {
        "client-secret": json.loads(identity[0].execute(*CLIENT))["client_secret"].encode(),
        "ca.crt": end_tls(directory, gateway, address, identity),
    }
    published = ("-p=127.0.0.1::2222",)
    factors = [Pod(engine, image, objects, "factor", secrets, directory / f"factor-{n}", published) for n in range(2)]
    for pod in factors:
        pod.start()
    identity[1].execute("sshaft", "identity", "user", "add", "alice")
    identity[1].execute("sshaft", "identity", "key", "add", "alice", "-", text=(directory / "alice.pub").read_text())
    proxy = subprocess.Popen(["nginx", "-c", directory / "nginx.conf", "-p", directory])
    try:
        for pod in [*identity, *factors]:
            wait_until(lambda pod=pod: pod.passes("readinessProbe"), f"a pod of {pod.part} is ready")
        yield Cluster(engine, identity, factors, directory)
    finally:
        proxy.terminate()
        proxy.wait(20)
        for pod in [*identity, *factors]:
            engine.remove(pod.container)


def end_tls(directory: Path, host: str, address: str, identity: list[Pod]) -> bytes:
    """Writes the configuration of nginx, and returns the certificate of its authority."""
    authority = trustme.CA()
    certificate = authority.issue_cert(host)
    certificate.private_key_pem.write_to_path(directory / "key.pem")
    (directory / "cert.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    authority.cert_pem.write_to_path(directory / "ca.crt")
    servers = " ".join(f"server {pod.address}:8080;" for pod in identity)
    nginx(directory, SITE.format(servers=servers, address=address, directory=directory))
    return authority.cert_pem.bytes()


def test_every_probe_passes(cluster: Cluster) -> None:
    pods = [cluster.identity[0], cluster.factor[0]]
    assert [(pod.part, name) for pod in pods for name in PROBES if not pod.passes(name)] == []


def test_login_passes_whichever_replicas_take_part(cluster: Cluster) -> None:
    """The two factors have the same host key, and the two identity services the same challenges."""
    for number, factor in enumerate(cluster.factor):
        opened = cluster.open_challenge(number)
        assert opened["ssh_command"] == f"ssh mfa@mfa.example.org {opened['code']}"
        pages = [cluster.get(opened["page_url"]) for _ in cluster.identity]  # nginx asks one replica after the other
        assert [(page.status_code, opened["code"] in page.text) for page in pages] == [(200, True)] * 2
        command = cluster.ssh(factor, opened["code"])
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, input="")
        assert (done.returncode, "Passed" in done.stdout) == (0, True), done
        shown = cluster.identity[1 - number].execute("sshaft", "identity", "challenge", "show", opened["id"])
        assert json.loads(shown)["state"] == "accepted"


def test_identity_service_is_not_ready_without_its_database_and_is_not_restarted(
    cluster: Cluster, postgresql: PostgreSQL
) -> None:
    pod = cluster.identity[0]
    postgresql.execute("ALTER DATABASE chart ALLOW_CONNECTIONS false")
    try:
        postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'chart'")
        wait_until(lambda: not pod.passes("readinessProbe"), "it is not ready")
        assert pod.passes("livenessProbe")
    finally:
        postgresql.execute("ALTER DATABASE chart ALLOW_CONNECTIONS true")
    wait_until(lambda: pod.passes("readinessProbe"), "it is ready again")


def test_folders_of_the_factor_are_safe_also_after_the_init_container_ran_again(cluster: Cluster) -> None:
    factor = cluster.factor[0]
    factor.prepare()
    places = ["/tmp", "/run/sshaft", "/etc/ssh/keys", "/etc/ssh/keys/ssh_host_ed25519_key"]
    places += ["/etc/sshaft", "/etc/sshaft/config.json", "/etc/sshaft/client-secret"]
    told = factor.execute("stat", "-c", "%u %a", *places).splitlines()
    assert told == ["0 1777", "480 755", "0 700", "0 600", "0 755", "480 400", "480 400"]
    for account, other in (("mfa", "keys"), ("_sshaft-keys", "login")):
        for denied in ("mv /run/sshaft/status.sock /run/sshaft/x", f"ls /run/sshaft/{other}", "touch /etc/ssh/keys/x",
                       "cat /etc/ssh/keys/ssh_host_ed25519_key", "cat /etc/sshaft/client-secret"):  # fmt: skip
            become = ("setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups")
            done = cluster.engine("exec", factor.container, *become, "sh", "-c", denied, check=False)
            assert done.returncode not in (0, 127), (account, denied, done)


def test_doctor_finds_no_fault_in_the_factor(cluster: Cluster) -> None:
    done = cluster.engine("exec", cluster.factor[0].container, "sshaft", "doctor", "--json", check=False)
    found = [each for each in json.loads(done.stdout)["findings"] if each["severity"] == "error"]
    assert (found, done.returncode) == ([], 0)
