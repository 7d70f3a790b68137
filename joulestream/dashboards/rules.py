"""The plain rule files of Prometheus, wrapped as one PrometheusRule for the Prometheus Operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.errors import PipelineError

_HEAD = """\
# Written by `python -m joulestream.dashboards.generate` from {files}; a test compares. Do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: joulestream
  namespace: bigdata-pipeline
  labels:
    app.kubernetes.io/name: joulestream-rules
    app.kubernetes.io/component: monitoring
    app.kubernetes.io/part-of: joulestream
    app.kubernetes.io/managed-by: kustomize
spec:
  groups:
"""


def prometheus_rule(files: Sequence[Path]) -> str:
    """The manifest, with the groups of all files in their order.

    Raises PipelineError where a file does not hold `groups:` in a line of its own.
    """
    head = _HEAD.format(files=", ".join(file.name for file in files))
    return head + "".join(_groups(file) for file in files)


def _groups(file: Path) -> str:
    """What stands below `groups:`, two columns further to the right, so that comments stay."""
    _, found, groups = file.read_text("utf-8").partition("\ngroups:\n")
    if not found:
        raise PipelineError(f"{file} has no line `groups:`; write it as a rule file of Prometheus")
    return "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))
