"""The walk through an installation: apply in the order of the how-to, wait, break, and audit in the end."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulestream.cluster.check.acceptance import HOME
from joulestream.cluster.check.kubectl import Kubectl, KubectlError, Object, as_list, name_of
from schemas.errors import PipelineError

# In the order of docs/how-to/kubernetes.md; what else an overlay has comes last.
FILES = (
    *(
        "namespace",
        "kafka",
        "mongodb",
        "configmap",
        "dashboard",
        "topics",
        "spark-streaming-job",
        "train-job",
    ),
)
DRIVER = "app=energy-streaming-job,app.kubernetes.io/component=driver"
EXECUTORS = "app=energy-streaming-job,spark-role=executor"
ROLLS = ("StatefulSet", "Deployment", "DaemonSet")
COUNTED = ("training_metrics", "training_run_summary", "aggregated_metrics")
_COUNT = (
    "import json; from conf.clients import mongo_options; from conf.settings import load_settings; "
    "from pymongo import MongoClient; s = load_settings().mongodb; db = MongoClient(**mongo_options(s))[s.database]; "
    f"print(json.dumps({{name: db[name].count_documents({{}}) for name in {COUNTED}}}))"
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Walk:
    """One overlay on one cluster. Every method returns what it saw, and raises PipelineError where that is wrong."""

    kubectl: Kubectl
    base: Path
    objects: Sequence[Object]
    wait_s: float
    say: Say

    def parts(self) -> list[tuple[str, list[Object]]]:
        """The overlay's objects by file of the base."""
        left = list(self.objects)
        found: list[tuple[str, list[Object]]] = []
        for file in FILES:
            names = {name_of(one) for one in self.kubectl.rendered_file(self.base / f"{file}.yaml")}
            found.append((f"{file}.yaml", [one for one in left if name_of(one) in names]))
            left = [one for one in left if name_of(one) not in names]
        # Passwords, network policies and accounts of the overlay must be there before pods are.
        first = [one for one in left if one["kind"] not in (*ROLLS, "Job", "CronJob")]
        last = [one for one in left if one["kind"] in (*ROLLS, "Job", "CronJob")]
        return [found[0], ("what the overlay adds", first), *found[1:], ("the rest", last)]

    def apply(self) -> str:
        """File by file, each rolled out before the next. A second apply changes nothing."""
        for name, objects in self.parts():
            if not objects:
                continue
            self.say(f"  {name}: {len(objects)} objects")
            everywhere = Kubectl()
            everywhere("apply", "-f", "-", given=as_list(objects))
            self.rolled_out(objects)
        return f"{len(self.objects)} objects"

    def again(self) -> str:
        """Apply all of it once more."""
        said = Kubectl()("apply", "-f", "-", given=as_list(list(self.objects)), timeout_s=180)
        changed = [line for line in said.splitlines() if not line.endswith("unchanged")]
        if changed:
            raise PipelineError(f"a second apply changes {len(changed)} objects: {'; '.join(changed)[:500]}")
        return f"{len(said.splitlines())} objects unchanged"

    def rolled_out(self, objects: Sequence[Object]) -> None:
        """Wait for all pods and Jobs that these objects make, but for the training run."""
        for one in objects:
            where = Kubectl(one["metadata"].get("namespace", HOME), self.wait_s)
            name = f"{one['kind'].lower()}/{one['metadata']['name']}"
            limit = f"--timeout={self.wait_s:.0f}s"
            try:
                if one["kind"] in ROLLS:
                    where("rollout", "status", name, limit, timeout_s=self.wait_s + 10)
                elif one["kind"] == "Job":
                    where("wait", "--for=condition=complete", name, limit, timeout_s=self.wait_s + 10)
            except KubectlError as error:
                raise PipelineError(f"{error}\n{self.why(where, one)}") from None
            self.say(f"  {name} is there")

    def why(self, where: Kubectl, one: Object) -> str:
        """What the newest events and log lines of an object's pods say."""
        label = one["metadata"].get("labels", {}).get("app", one["metadata"]["name"])
        said = []
        for arguments in (
            ("get", "pods", "-l", f"app={label}", "-o", "wide"),
            ("events", "--types=Warning"),
            ("logs", "-l", f"app={label}", "--all-containers", "--tail=15", "--prefix"),
        ):
            try:
                said.append(where(*arguments)[-3000:])
            except KubectlError as error:
                said.append(str(error))
        return "\n".join(said)

    def train(self, name: str) -> str:
        """Run all of the demo's jobs as a Job of another name, so that there is something to measure; do not wait."""
        job = copy.deepcopy(next(one for one in self.objects if name_of(one) == "Job/training-run"))
        job["metadata"]["name"] = name
        trainer = job["spec"]["template"]["spec"]["containers"][0]
        trainer["command"] = trainer["command"][:3]  # without the name of one job
        self.kubectl("delete", "job", name, "--ignore-not-found", "--wait=true")
        self.kubectl("apply", "-f", "-", given=as_list([job]))
        return f"job/{name}"

    def trained(self, name: str) -> str:
        """Wait for a training Job."""
        self.rolled_out([{"kind": "Job", "metadata": {"name": name, "labels": {"app": "trainer"}}}])
        return f"job/{name} complete"

    def kill(self, what: str, selector: str, count: int) -> str:
        """End one pod at once, as a lost node does, and wait until as many as before work again."""
        before = self.running(selector)
        if len(before) < count:
            raise PipelineError(f"no {what} runs ({selector})")
        self.kubectl("delete", "pod", before[0], "--force", "--grace-period=0", "--wait=false")
        began = time.monotonic()
        while time.monotonic() - began < self.wait_s:
            now = [
                name for name in self.running(selector) if name != before[0] or what in ("broker", "store")
            ]
            if len(now) >= len(before) and time.monotonic() - began > 3:
                return f"{before[0]} killed, {now[-1]} works after {time.monotonic() - began:.0f} s"
            time.sleep(2)
        raise PipelineError(f"no {what} came back within {self.wait_s:.0f} s after {before[0]} was killed")

    def running(self, selector: str) -> list[str]:
        """Names of the pods that are ready (or run, where they have no readiness)."""
        pods = self.kubectl.json("get", "pods", "-l", selector)["items"]
        return [
            pod["metadata"]["name"]
            for pod in pods
            if pod["status"].get("phase") == "Running"
            and "deletionTimestamp" not in pod["metadata"]
            and all(status["ready"] for status in pod["status"].get("containerStatuses", [{"ready": False}]))
        ]

    def inside(self, *command: str, timeout_s: float = 300) -> str:
        """What a command prints in the driver's pod."""
        return self.kubectl(
            "exec", "deploy/energy-streaming-job", "-c", "driver", "--", *command, timeout_s=timeout_s
        )

    def counts(self) -> dict[str, int]:
        """Documents of the collections that the how-to counts."""
        found: dict[str, int] = json.loads(self.inside("python", "-c", _COUNT).splitlines()[-1])
        empty = [name for name, count in found.items() if not count]
        if empty:
            raise PipelineError(f"no documents in {', '.join(empty)}")
        return found

    def audited(self) -> str:
        """Drain, then audit inside the cluster; it must end `ok`."""
        self.inside("python", "-m", "joulestream", "drain", "--timeout", "240", timeout_s=300)
        told: Any = json.loads(self.inside("python", "-m", "joulestream", "audit", "--json", timeout_s=300))
        if told["verdict"] != "ok":
            raise PipelineError(f"the audit says {json.dumps(told)[:800]}")
        return f"verdict {told['verdict']}, tolerance {told['tolerance']:g}"
