"""Spark's configuration inside the driver's pod: the cluster's defaults, and executors as a PodTemplate says.

`python -m joulestream.cluster.executors` runs before the driver. It reads the PodTemplate `stream-executor` of its
namespace, so that image, sizes, volumes and placement of executors are an object that overlays can change.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joulestream.cluster.api import Api
from joulestream.cluster.config import LOGGING
from schemas.errors import PipelineError

TEMPLATE = "stream-executor"
SERVICE = "stream-driver"
FILES = Path("/etc/joulestream/files")
FOLDER = Path("/run/joulestream/spark")
POD_FILE = "executor.json"
_MIB = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024, "k": 1e3 / 2**20, "M": 1e6 / 2**20, "G": 1e9 / 2**20}
_HEAP_MIB = {"k": 1 / 1024, "m": 1, "g": 1024}


def pod_of(template: Mapping[str, Any]) -> dict[str, Any]:
    """The PodTemplate as the Pod that Spark reads."""
    found = template["template"]
    labels = found["metadata"].get("labels", {})
    annotations = found["metadata"].get("annotations", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": found["spec"],
    }


def options_of(
    pod: Mapping[str, Any], heap: str, variables: Mapping[str, str], folder: Path
) -> dict[str, str]:
    """What only the running pod knows. `heap` is `spark.executor.memory`. Raises PipelineError."""
    container = pod["spec"]["containers"][0]
    requests = container["resources"]["requests"]
    namespace = variables["POD_NAMESPACE"]
    overhead = int(memory_mib(requests["memory"]) - heap_mib(heap))
    if overhead < 1:
        raise PipelineError(
            f"PodTemplate {TEMPLATE} requests {requests['memory']} of memory, and spark.executor.memory is {heap}: "
            "Python's workers need some besides; raise the first or lower the second"
        )
    return {
        "spark.kubernetes.namespace": namespace,
        "spark.kubernetes.driver.pod.name": variables["POD_NAME"],
        "spark.driver.host": f"{SERVICE}.{namespace}.svc",
        "spark.kubernetes.executor.podTemplateFile": str(folder / POD_FILE),
        "spark.kubernetes.executor.podTemplateContainerName": container["name"],
        "spark.kubernetes.container.image": container["image"],
        "spark.kubernetes.executor.request.cores": str(requests["cpu"]),
        "spark.executor.memoryOverhead": f"{overhead}m",
    }


def memory_mib(quantity: str) -> float:
    """A Kubernetes quantity of memory in MiB. Raises PipelineError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|k|M|G)?", str(quantity))
    if match is None:
        raise PipelineError(
            f"{quantity!r} is no quantity of memory such as 1792Mi; correct PodTemplate {TEMPLATE}"
        )
    return float(match[1]) * (_MIB[match[2]] if match[2] else 2**-20)


def heap_mib(size: str) -> float:
    """A size of Spark's, such as 768m, in MiB. Raises PipelineError."""
    match = re.fullmatch(r"(\d+)([kmg])b?", size.lower())
    if match is None:
        raise PipelineError(f"spark.executor.memory is {size!r}; write it as 768m or 2g")
    return int(match[1]) * _HEAP_MIB[match[2]]


def defaults_in(files: Path) -> str:
    """`spark-defaults.conf`, and all other `.conf` files beside it, in order of their names."""
    more = sorted(path for path in files.glob("*.conf") if path.name != "spark-defaults.conf")
    return "\n".join(_text(path) for path in (files / "spark-defaults.conf", *more))


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise PipelineError(
            f"{error.filename} cannot be read ({error.strerror}); apply configmap.yaml, whose files are mounted there"
        ) from None


def value_of(text: str, key: str) -> str | None:
    """The last value of a key in a Spark properties file."""
    lines = (line.split(None, 1) for line in text.splitlines() if not line.lstrip().startswith("#"))
    values = [parts[1].strip() for parts in lines if len(parts) == 2 and parts[0] == key]
    return values[-1] if values else None


def write(api: Api, files: Path, folder: Path, variables: Mapping[str, str]) -> None:
    """Write the driver's Spark configuration to `folder`. Raises PipelineError, RetryableError."""
    template = api.get(f"/api/v1/namespaces/{variables['POD_NAMESPACE']}/podtemplates/{TEMPLATE}")
    pod, defaults = pod_of(template), defaults_in(files)
    options = options_of(pod, value_of(defaults, "spark.executor.memory") or "1g", variables, folder)
    lines = "".join(f"{key:<60} {value}\n" for key, value in options.items())
    (folder / POD_FILE).write_text(json.dumps(pod, indent=1), "utf-8")
    (folder / "spark-defaults.conf").write_text(f"{defaults}\n# Of this pod.\n{lines}", "utf-8")
    for name in LOGGING:
        (folder / name).write_text(_text(files / name), "utf-8")


def main() -> int:
    """0 when all is written, 1 where something is missing (the kubelet tries again)."""
    try:
        write(Api(), FILES, FOLDER, os.environ)
    except PipelineError as error:
        sys.stderr.write(f"executors: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
