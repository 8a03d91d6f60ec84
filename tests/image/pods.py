"""Runs the pods of the Helm chart as containers: accounts, rights and volumes are those that a kubelet gives."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests
from helm import Object, only

from bench.load.container_engine import Engine

DATA = "..2026_01_01"


@dataclass
class Pod:
    """A pod of one part of the chart, with the contents of its Secrets. `more` are options of docker."""

    engine: Engine
    image: str
    objects: list[Object]
    part: str
    secrets: Mapping[str, Mapping[str, bytes]]
    directory: Path
    more: tuple[str, ...] = ()
    container: str = field(init=False, default="")

    def start(self) -> None:
        self.directory.mkdir()
        for volume in self.spec["volumes"]:
            self._make(volume)
        self.prepare()
        self.container = self.engine.run(*self._words(self.spec["containers"][0]))

    def prepare(self) -> None:
        """Runs the init containers, as at the start of the pod and when its node has made it anew."""
        for container in self.spec.get("initContainers", []):
            self.engine("run", "--rm", *self._words(container))

    @property
    def spec(self) -> Object:
        spec: Object = only(self.objects, "Deployment", self.part)["spec"]["template"]["spec"]
        return spec

    @property
    def group(self) -> int | None:
        """Returns `fsGroup`."""
        group: int | None = self.spec["securityContext"].get("fsGroup")
        return group

    @property
    def address(self) -> str:
        return self.engine.inspect(self.container, "{{.NetworkSettings.IPAddress}}")

    def execute(self, *command: str, text: str | None = None) -> str:
        return self.engine("exec", "-i", self.container, *command, text=text).stdout

    def passes(self, name: str) -> bool:
        """Whether the probe of this name passes now."""
        container = self.spec["containers"][0]
        probe = container[name]
        if "exec" in probe:
            return self.engine("exec", self.container, *probe["exec"]["command"], check=False).returncode == 0
        (port,) = (each["containerPort"] for each in container["ports"] if each["name"] == probe["httpGet"]["port"])
        url = f"http://{self.address}:{port}{probe['httpGet']['path']}"
        try:
            return requests.get(url, allow_redirects=False, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def _make(self, volume: Object) -> None:
        """Makes a volume. Everybody may write to its folder, and `fsGroup` may read a file of a Secret.

        A kubelet keeps files in a tmpfs, which has the sticky bit. An emptyDir on disk has none.
        """
        path = self.directory / volume["name"]
        path.mkdir()
        self._give(path, 0o777 if "emptyDir" in volume else 0o1777, 0o2000)
        described = volume.get("projected", {"sources": []})
        if "secret" in volume:
            described = {"sources": [{"secret": volume["secret"]}], **volume["secret"]}
        for source in described["sources"]:
            for name, content in self._files(source).items():
                (path / DATA).mkdir(exist_ok=True)
                (path / DATA / name).write_bytes(content)
                self._give(path / DATA / name, described["defaultMode"], 0o440)
                (path / name).symlink_to(f"..data/{name}")
        if described["sources"]:
            (path / "..data").symlink_to(DATA)

    def _files(self, source: Object) -> Mapping[str, bytes]:
        if "configMap" in source:
            (data,) = (each["data"] for each in self.objects if each["kind"] == "ConfigMap"
                       and each["metadata"]["name"] == source["configMap"]["name"])  # fmt: skip
            return {name: text.encode() for name, text in data.items()}
        return self.secrets[source["secret"].get("name") or source["secret"]["secretName"]]

    def _give(self, path: Path, mode: int, more_for_group: int) -> None:
        os.chown(path, 0, self.group or 0)
        path.chmod(mode | (more_for_group if self.group else 0))

    def _words(self, container: Object) -> list[str]:
        pod, own = self.spec["securityContext"], container["securityContext"]
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        mounts = [
            f"-v={self.directory / each['name']}:{each['mountPath']}{':ro' if each.get('readOnly') else ''}"
            for each in container["volumeMounts"]
        ]
        return [
            f"--user={pod['runAsUser']}:{pod.get('runAsGroup', 0)}",
            *([f"--group-add={self.group}"] if self.group else []),
            "--read-only",
            "--security-opt=no-new-privileges",
            f"--memory={container['resources']['limits']['memory'].removesuffix('i').lower()}",
            *(f"--cap-drop={name}" for name in own["capabilities"]["drop"]),
            *(f"--cap-add={name}" for name in own["capabilities"].get("add", [])),
            *(f"-e={each['name']}={each['value']}" for each in container.get("env", [])),
            *mounts,
            *self.more,
            self.image,
            *container.get("args", []),
        ]
