"""What `spark-submit` in cluster mode on Kubernetes is given: options, and templates of the pods.

They are those of the overlay spark-operator/apache, whose pods a test compares with those of base: an operator starts
the job in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from joulestream.cluster.config import NAMESPACE, ROOT

APPLICATION = ROOT / "k8s" / "overlays" / "spark-operator" / "apache" / "application.yaml"
OPTIONS = "spark.conf"
PODS = {"driver.yaml": "driverSpec", "executor.yaml": "executorSpec"}
# Left to themselves, Spark's clients stay until the job ends, which a stream never does.
_SUBMISSION = {
    "spark.kubernetes.namespace": NAMESPACE,
    "spark.kubernetes.submission.waitAppCompletion": "false",
}


def write_cluster_mode(folder: Path) -> list[Path]:
    """Write the options and the two pods to `folder`; returns the files."""
    spec = yaml.safe_load(APPLICATION.read_text("utf-8"))["spec"]
    folder.mkdir(parents=True, exist_ok=True)
    texts = {OPTIONS: _properties({**_SUBMISSION, **spec["sparkConf"]})}
    texts |= {name: _pod(spec[part]["podTemplateSpec"]) for name, part in PODS.items()}
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    return [folder / name for name in texts]


def _properties(options: Mapping[str, str]) -> str:
    return "".join(f"{key:<60} {value}\n" for key, value in options.items())


def _pod(template: Mapping[str, Any]) -> str:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]}
    return yaml.safe_dump(pod, sort_keys=False)
