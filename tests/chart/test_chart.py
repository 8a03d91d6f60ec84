"""Tests what the Helm chart renders: by Kubernetes' schemas, by our own rules, and by the programs that read it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm import CHART, RELEASE, TOP, Object, helm, only, rendered, schema_faults

from sshaft.config import Config
from sshaft_identity import settings as identity_settings
from sshaft_web import configuration as web_configuration

pytestmark = pytest.mark.slow

IMAGE = {"repository": "registry.example.org/sshaft"}
IDENTITY = {"public_url": "https://id.example.org", "ssh_host": "mfa.example.org"}
WEB = {
    "public_url": "https://ssh.example.org",
    "provider": {"issuer": "https://login.example.org", "client_id": "web", "client_secret_file": "/etc/sshaft/secret"},
    "targets": {"login": {"host": "login.example.org", "known_hosts": ["login.example.org ssh-ed25519 AAAA"]}},
    "limits": {"upload_bytes": 10 * 1024**3},
}
INGRESS = {"enabled": True, "className": "nginx", "tlsSecretName": "tls", "annotations": {"a.example/b": "c"}}
PLACE = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "sshaft", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
}
OFF = {"enabled": False}
NO_POLICY = {"networkPolicy": OFF}

VALUES: dict[str, dict[str, Any]] = {
    "smallest": {"image": IMAGE, "identity": {"config": IDENTITY}},
    "everything": {
        "image": {**IMAGE, "digest": f"sha256:{'0' * 64}", "pullPolicy": "Always"},
        "imagePullSecrets": ["registry"],
        "listen": "::",
        "metrics": {"enabled": True},
        "identity": {
            "config": {
                **IDENTITY,
                "limits": {"user": 5},
                "trusted_proxies": ["10.244.0.0/16"],
                "oidc": {"issuer": "https://login.example.org", "client_id": "id", "scopes": ["openid"]},
            },
            "ingress": INGRESS,
            **PLACE,
        },
        "factor": {
            "config": {"accept_seconds": 5, "allowed_key_types": ["ssh-ed25519"]},
            "service": {
                "port": 2222,
                "annotations": {"a.example/b": "c"},
                "loadBalancerSourceRanges": ["192.0.2.0/24"],
            },
            **PLACE,
        },
        "web": {"enabled": True, "secretName": "sshaft-web", "config": WEB, "ingress": INGRESS, **PLACE},
    },
    "factor alone": {
        "image": {**IMAGE, "tag": "1.2"},
        "identity": OFF,
        "factor": {
            "replicas": 1,
            "identityUrl": "https://id.example.org/",
            "service": {"type": "ClusterIP"},
            "config": {"token_endpoint_auth_method": "private_key_jwt", "private_key_file": "/etc/sshaft/key.pem"},
            **NO_POLICY,
        },
    },
    "web alone": {"image": IMAGE, "identity": OFF, "factor": OFF, "web": {"enabled": True, "config": WEB, **NO_POLICY}},
}
each_kind_of_values = pytest.mark.parametrize("values", VALUES.values(), ids=list(VALUES))


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yields the component and the specification of each pod."""
    for each in objects:
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]


def containers(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for part, pod in pods(objects):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield part, container


def file_of(objects: list[Object], part: str, name: str) -> str:
    return str(only(objects, "ConfigMap", part)["data"][name])


@each_kind_of_values
def test_helm_finds_no_fault(values: object) -> None:
    done = helm("lint", "--strict", CHART, values=values)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["1.25.0", "1.37.0"])
def test_kubernetes_takes_every_object(tmp_path: Path, version: str) -> None:
    objects = [each for values in VALUES.values() for each in rendered(values)]
    assert schema_faults(objects, version, tmp_path) == ""
    objects[0]["spec"]["colour"] = "green"
    assert "colour" in schema_faults(objects, version, tmp_path)


@each_kind_of_values
def test_chart_makes_no_secret_and_no_rights_in_the_cluster(values: object) -> None:
    kinds = {each["kind"] for each in rendered(values)}
    allowed = {
        "ConfigMap",
        "Deployment",
        "Ingress",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }
    assert kinds <= allowed


@each_kind_of_values
def test_no_pod_has_a_token_of_the_cluster(values: object) -> None:
    objects = rendered(values)
    (account,) = (each for each in objects if each["kind"] == "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    for _, pod in pods(objects):
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)


@each_kind_of_values
def test_containers_have_the_least_rights_and_limits(values: object) -> None:
    for part, container in containers(rendered(values)):
        rights = container["securityContext"]
        assert (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (False, True)
        added = {"folders": ["CHOWN"], "factor": ["AUDIT_WRITE", "CHOWN", "SETGID", "SETUID", "SYS_CHROOT"]}
        assert rights["capabilities"] == {"drop": ["ALL"]} | (
            {"add": added[container["name"]]} if part == "factor" else {}
        )
        assert set(container["resources"]["limits"]) == {"memory"}
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert not container["image"].endswith(":latest")


@each_kind_of_values
def test_accounts_are_those_of_the_image(values: object) -> None:
    """The Dockerfile gives the ids."""
    accounts = dict(re.findall(r"--uid (\d+) .*?(\S+) \\", (TOP / "Dockerfile").read_text().replace("\\\n    ", "")))
    for part, pod in pods(rendered(values)):
        rights = pod["securityContext"]
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        if part == "factor":
            assert (rights["runAsUser"], rights["runAsGroup"], "fsGroup" in rights) == (0, 0, False)
            (script,) = (each["args"][-1] for each in pod["initContainers"])
            assert {accounts[uid] for uid in re.findall(r"chown ([1-9]\d+)", script)} == {"sshaft"}
        else:
            assert rights["runAsNonRoot"] is True
            assert accounts[str(rights["runAsUser"])] == f"sshaft-{part}"
            assert rights["runAsUser"] == rights["runAsGroup"] == rights["fsGroup"]


@each_kind_of_values
def test_objects_of_a_part_find_one_another(values: object) -> None:
    objects = rendered(values)
    for part, pod in pods(objects):
        deployment = only(objects, "Deployment", part)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        service = only(objects, "Service", part)["spec"]
        assert deployment["spec"]["selector"]["matchLabels"] == service["selector"] == labels
        assert {port["targetPort"] for port in service["ports"]} <= ports.keys()
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = pod["containers"][0][name]
            assert "exec" in probe or probe["httpGet"]["port"] in ports
        for other in objects:
            if other["metadata"]["name"] != f"{RELEASE}-{part}":
                continue
            if other["kind"] == "NetworkPolicy":
                admitted = [port["port"] for rule in other["spec"]["ingress"] for port in rule["ports"]]
                assert (other["spec"]["podSelector"]["matchLabels"], admitted) == (labels, list(ports.values()))
                assert other["spec"]["policyTypes"] == ["Ingress", "Egress"]
            if other["kind"] == "PodDisruptionBudget":
                assert other["spec"]["selector"]["matchLabels"] == labels
                assert deployment["spec"]["replicas"] > 1
            if other["kind"] == "Ingress":
                (rule,) = other["spec"]["rules"]
                backend = rule["http"]["paths"][0]["backend"]["service"]
                assert backend == {"name": f"{RELEASE}-{part}", "port": {"name": "http"}}
                assert other["spec"]["tls"] == [{"hosts": [rule["host"]], "secretName": "tls"}]
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounted = {mount["name"] for _, each in containers([deployment]) for mount in each["volumeMounts"]}
        assert volumes == mounted


def test_only_proxies_reach_the_pages_and_everybody_reaches_sshd() -> None:
    objects = rendered(VALUES["everything"])
    for part in ("identity", "web"):
        assert all(rule["from"] for rule in only(objects, "NetworkPolicy", part)["spec"]["ingress"])
    assert only(objects, "NetworkPolicy", "factor")["spec"]["ingress"] == [{"ports": [{"port": 2222}]}]


def test_load_balancer_keeps_the_addresses_of_people() -> None:
    service = only(rendered(VALUES["smallest"]), "Service", "factor")["spec"]
    assert (service["type"], service["externalTrafficPolicy"]) == ("LoadBalancer", "Local")


@pytest.mark.parametrize("name", ["smallest", "everything"])
def test_identity_service_reads_its_configuration(tmp_path: Path, name: str) -> None:
    (tmp_path / "identity.json").write_text(file_of(rendered(VALUES[name]), "identity", "identity.json"))
    settings = identity_settings.load(tmp_path)
    assert (settings.public_url, settings.ssh_host) == ("https://id.example.org", "mfa.example.org")
    assert settings.database_file == "/var/lib/sshaft-identity/database-url"
    assert settings.ssh_port == {"smallest": 22, "everything": 2222}[name]  # the port of the Service
    assert (settings.host, settings.metrics_host) == {"smallest": ("0.0.0.0", None), "everything": ("::", "::")}[name]


@pytest.mark.parametrize("name", ["smallest", "everything", "factor alone"])
def test_agent_reads_its_configuration(name: str) -> None:
    data = json.loads(file_of(rendered(VALUES[name]), "factor", "config.json"))
    if name == "factor alone":
        assert "client_secret_file" not in data
    else:
        assert data["client_secret_file"] == "/etc/sshaft/client-secret"
        data["client_secret"] = "secret"  # as the agent reads it from the file
    config = Config.model_validate(data)
    assert config.token_endpoint == "https://id.example.org/oauth2/token"
    assert config.mfa_list_endpoint == "https://id.example.org/api/v1/mfa/ssh/keys"


@pytest.mark.parametrize("name", ["everything", "web alone"])
def test_web_reads_its_configuration(tmp_path: Path, name: str) -> None:
    (tmp_path / "web.json").write_text(file_of(rendered(VALUES[name]), "web", "web.json"))
    settings = web_configuration.load(tmp_path / "web.json")
    assert (settings.port, settings.limits.upload_bytes) == (8090, 10 * 1024**3)
    assert settings.metrics == {"everything": "[::]:9466", "web alone": None}[name]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("identity.colour", "green"),
        ("identity.replicas", "two"),
        ("identity.replicas", -1),
        ("identity.secretName", "Not A Name"),
        ("identity.secretName", ""),
        ("identity.resources", {"limits": {"memory": None}}),
        ("identity.config.colour", "green"),
        ("identity.config.ssh_port", 0),
        ("identity.config.limits.user", 101),
        ("identity.config.oidc", {"issuer": "https://login.example.org", "client_id": "id", "colour": "green"}),
        ("identity.config.database", "postgresql://sshaft:hunter2@db/identity"),
        ("identity.config.host", "192.0.2.1"),
        ("factor.config.client_secret", "hunter2"),
        ("factor.config.list_seconds", 5),
        ("factor.identityUrl", "http://id.example.org"),
        ("factor.service.type", "Loadbalancer"),
        ("web.config.certificate_file", "/etc/sshaft/cert.pem"),
        ("web.config.targets.Login", {"host": "login.example.org", "known_hosts": "/etc/sshaft/known"}),
        ("web.config.targets.login.colour", "green"),
        ("metrics.from", []),
        ("listen", "localhost"),
        ("image.digest", "latest"),
        ("colour", "green"),
    ],
)
def test_unknown_value_and_wrong_type_are_refused_and_named(member: str, value: object) -> None:
    values = json.loads(json.dumps(VALUES["everything"]))
    *path, last = member.split(".")
    place = values
    for name in path:
        place = place[name]
    place[last] = value
    done = helm("template", RELEASE, CHART, values=values)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    where = "/".join(("", *path))
    assert f"at '{where}" in done.stderr
    assert last in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"identity": {"config": IDENTITY}}, "image.repository: push the image"),
        ({"image": IMAGE}, "identity.config.public_url: the https address"),
        ({"image": IMAGE, "identity": {"config": {"public_url": "https://x.example"}}}, "identity.config.ssh_host: "),
        ({"image": IMAGE, "identity": OFF}, "factor.identityUrl: the https address"),
        (
            {"image": IMAGE, "identity": OFF, "factor": OFF, "web": {"enabled": True}},
            "web.config.public_url: the https",
        ),
    ],
)
def test_missing_value_is_named_with_its_purpose(values: object, message: str) -> None:
    done = helm("template", RELEASE, CHART, values=values)
    assert done.returncode != 0
    assert message in done.stderr


def test_values_of_the_manual_can_be_installed() -> None:
    manual = (TOP / "docs/kubernetes.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL)
    objects = rendered(yaml.safe_load(block))
    assert only(objects, "Ingress", "identity")["spec"]["rules"][0]["host"] == "id.example.org"


@pytest.mark.parametrize("name", list(VALUES))
def test_notes_name_what_is_left_to_do(name: str) -> None:
    values = VALUES[name]
    done = helm("install", RELEASE, CHART, "--dry-run=client", "--namespace", "login", values=values)
    notes = done.stdout.partition("NOTES:\n")[2]
    assert "What is left to do" in notes
    commands = [line.strip() for line in notes.splitlines() if line.startswith("    kubectl ")]
    assert commands
    assert all(" --namespace login " in command for command in commands)
    names = {each["metadata"]["name"] for each in rendered(values)}
    assert set(re.findall(r"(?:deploy/|service )(\S+)", "\n".join(commands))) <= names


def test_names_stay_short_enough_for_a_long_release() -> None:
    done = helm("template", "r" * 53, CHART, values=VALUES["everything"])
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(done.stdout) if each]
    assert max(map(len, names)) <= 63
