"""Containers of the manifests as plain processes: the same command, arguments, environment, user and files.

What a container has and a process has not is put in its place: each mounted path, and each path of the image, becomes
a folder of this test wherever it stands (also inside mounted scripts); addresses of the cluster's network become ones
of this machine. The image's own tree is a copy without write permission. As root, a process gets another user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joulestream.local.ports import HOST, any_free
from joulestream.local.process import end_group
from tests.e2e.image_tree import (
    as_user,
    fill_tree,
    image_entrypoint,
    image_environment,
    image_paths,
    java_home,
)

NAMESPACE = "bigdata-pipeline"
PORTS = (9092, 9093, 27017, 27018, 8501)


@dataclass
class Node:
    """A machine that has the images, the Secrets and the ConfigMaps."""

    folder: Path
    things: Sequence[Mapping[str, Any]]
    secrets: Mapping[str, Mapping[str, str]]
    ports: dict[int, int] = field(default_factory=lambda: {port: any_free() for port in PORTS})
    running: list[Container] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.chmod(0o755)
        self.tree = self.folder / "opt"
        fill_tree(self.tree)
        self.listing = self.listed()

    def listed(self) -> dict[str, int]:
        """All files of the tree with the time of their last change."""
        return {str(path): path.lstat().st_mtime_ns for path in self.tree.rglob("*")}

    def thing(self, kind: str, name: str) -> Mapping[str, Any]:
        """One object of the manifests."""
        return next(t for t in self.things if (t["kind"], t["metadata"]["name"]) == (kind, name))

    def container(
        self, kind: str, workload: str, name: str, changed: Mapping[str, str] | None = None
    ) -> Container:
        """A container of a workload; `changed` are variables that must be different here."""
        pod = self.thing(kind, workload)["spec"]["template"]["spec"]
        both = [*pod.get("initContainers", ()), *pod["containers"]]
        spec = next(each for each in both if each["name"] == name)
        return Container(self, workload, pod, spec, dict(changed or {}))

    def down(self) -> None:
        """End what still runs, the youngest first."""
        for container in reversed(self.running):
            container.end()


@dataclass
class Container:
    """One container as a process."""

    node: Node
    workload: str
    pod: Mapping[str, Any]
    spec: Mapping[str, Any]
    changed: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.image = self.spec["image"].rpartition("/")[2].partition(":")[0]
        self.uid = self.pod["securityContext"]["runAsUser"]
        self.gid = self.pod["securityContext"]["fsGroup"]
        self.home = self.node.folder / self.workload
        self.log = self.home / f"{self.spec['name']}.log"
        self.paths = {**image_paths(self.node.tree), **self._mounted()}
        for name, text in self._config_files().items():
            Path(name).write_text(self.local(text), "utf-8")

    def local(self, text: str) -> str:
        """A text of the container as it is on this machine."""
        places = "|".join(re.escape(path) for path in sorted(self.paths, key=len, reverse=True))
        text = re.sub(rf"(?<![\w/.-])({places})(?![\w-])", lambda found: str(self.paths[found[1]]), text)
        # Names that only the cluster's DNS knows.
        text = re.sub(r"\b(kafka-svc|mongodb|localhost)(?=:\d)", HOST, text)
        text = re.sub(r"(kafka-\$\{id\}|\$\{POD_NAME\})\.\$\{domain\}", HOST, text)
        for port, ours in self.node.ports.items():
            text = re.sub(rf"(?<![\w.]){port}\b", str(ours), text)
        return text

    @property
    def environment(self) -> dict[str, str]:
        """The image's variables, then the pod's; nothing of this machine's."""
        named = [source["configMapRef"]["name"] for source in self.spec.get("envFrom", ())]
        maps = [self.node.thing("ConfigMap", name)["data"] for name in named]
        given = {entry["name"]: self._value(entry) for entry in self.spec.get("env", ())}
        merged = {**image_environment(self.image), **{k: v for m in maps for k, v in m.items()}, **given}
        mine = {"JAVA_HOME": str(java_home(self.node.tree))} if "JAVA_HOME" in merged else {}
        return {**{k: self.local(v) for k, v in {**merged, **self.changed}.items()}, **mine}

    @property
    def command(self) -> list[str]:
        """The container's command line."""
        words = self.spec.get("command") or image_entrypoint(self.image)
        return [self.local(word) for word in (*words, *self.spec.get("args", ()))]

    def start(self) -> Container:
        """Start it."""
        self.node.running.append(self)
        with self.log.open("ab") as output:
            self.process = self._popen(self.command, output)
        return self

    def finish(self, timeout_s: float = 90) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def run(self, timeout_s: float = 90) -> int:
        """Start it and wait for its end."""
        return self.start().finish(timeout_s)

    def probe(self, kind: str) -> bool:
        """One look, as the kubelet takes it."""
        what = self.spec[kind]
        if "exec" not in what:
            return _answers(self.node.ports[self._port(what["httpGet"]["port"])], what["httpGet"]["path"])
        with (self.home / f"{kind}.log").open("ab") as output:
            done = self._popen([self.local(word) for word in what["exec"]["command"]], output)
            return done.wait(60) == 0

    def wait_ready(self) -> None:
        """Until its startup and readiness probes say so, as long as the manifest allows, and at least a minute."""
        startup = self.spec["startupProbe"]
        allowed_s = max(60, startup.get("periodSeconds", 10) * startup.get("failureThreshold", 3))
        deadline = time.monotonic() + allowed_s
        for kind in ("startupProbe", "readinessProbe"):
            while not self.probe(kind):
                assert self.process is not None
                assert self.process.poll() is None, f"{self.workload} ended\n{self.tail()}"
                assert time.monotonic() < deadline, f"{self.workload}: no {kind}\n{self.tail()}"
                time.sleep(0.5)

    def end(self) -> int | None:
        """As the kubelet ends it: SIGTERM, and SIGKILL after the grace period."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            end_group(self.process.pid, self.pod["terminationGracePeriodSeconds"], self.process)
        return self.process.returncode

    def tail(self, lines: int = 25) -> str:
        """Its last words, and those of its probes."""
        files = sorted(self.home.glob("*.log"))
        texts = [f"{file.name}:\n{_end(file.read_text(errors='replace'), lines)}" for file in files]
        return "\n".join(texts)

    def _popen(self, command: Sequence[str], output: Any) -> subprocess.Popen[bytes]:
        environment = self.environment
        program = shutil.which(command[0], path=environment["PATH"])
        assert program is not None, f"{command[0]} is not on {environment['PATH']}"
        return subprocess.Popen(
            [*as_user(self.uid, self.gid), program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=self.node.tree / ("kafka" if self.image == "kafka" else "joulestream"),
            start_new_session=True,
        )

    def _value(self, entry: Mapping[str, Any]) -> str:
        if "value" in entry:
            return str(entry["value"])
        field_path = entry["valueFrom"]["fieldRef"]["fieldPath"]
        known = {
            "metadata.name": f"{self.workload}-0",
            "metadata.namespace": NAMESPACE,
            "spec.nodeName": "node-of-the-test",
            "status.podIP": HOST,
        }
        return known[field_path]

    def _mounted(self) -> dict[str, Path]:
        volumes = {volume["name"]: volume for volume in self.pod.get("volumes", ())}
        places = {}
        for mount in self.spec["volumeMounts"]:
            folder = self.home / "volumes" / mount["name"] / mount.get("subPath", "")
            folder.mkdir(parents=True, exist_ok=True)
            volume = volumes.get(mount["name"], {})
            if "secret" in volume:
                self._write_secret(volume["secret"], folder)
            elif "configMap" not in volume:
                self._give(folder, 0o770)
            places[mount["mountPath"]] = folder
        return places

    def _config_files(self) -> dict[str, str]:
        """Files of mounted ConfigMaps, and what the init container of the driver leaves for it."""
        files = {}
        for mount in self.spec["volumeMounts"]:
            volume = next((v for v in self.pod.get("volumes", ()) if v["name"] == mount["name"]), {})
            config = volume.get("configMap", {}).get("name")
            config = "joulestream-files" if mount["name"] == "spark-conf" else config
            if config:
                data = self.node.thing("ConfigMap", config)["data"]
                files.update(
                    {str(self.paths[mount["mountPath"]] / name): text for name, text in data.items()}
                )
        return files

    def _write_secret(self, secret: Mapping[str, Any], folder: Path) -> None:
        held = self.node.secrets[secret["secretName"]]
        items = secret.get("items") or [{"key": key, "path": key} for key in held]
        for item in items:
            file = folder / item["path"]
            file.touch(0o600)
            file.write_text(held[item["key"]])
            file.chmod(secret["defaultMode"])
            if os.geteuid() == 0:
                os.chown(file, 0, self.gid)

    def _give(self, folder: Path, mode: int) -> None:
        """A volume that the pod may write to, by its group as with fsGroup."""
        folder.chmod(mode)
        if os.geteuid() == 0:
            os.chown(folder, 0, self.gid)

    def _port(self, name: Any) -> int:
        return next(
            port["containerPort"]
            for port in self.spec["ports"]
            if name in (port["name"], port["containerPort"])
        )


def _answers(port: int, path: str) -> bool:
    from joulestream.local.services import page_away

    return page_away(f"http://{HOST}:{port}{path}") is None


def _end(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])
