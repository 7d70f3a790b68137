"""PromQL as tests read it: which metrics an expression names, and what promtool says of rules."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from joulestream.dashboards.generate import OVERLAY, rule_files
from joulestream.exporter.metrics import METRICS, Kind

RULES = OVERLAY / "rules"
DASHBOARDS = OVERLAY / "grafana" / "dashboards"

# Series of others, with the labels that ours are asked by. Who brings them stands beside them.
OTHERS: Mapping[str, tuple[str, ...]] = {
    # Prometheus itself
    "up": ("job", "instance"),
    "ALERTS": ("alertname", "alertstate", "severity"),
    # cert-manager, blackbox exporter
    "certmanager_certificate_expiration_timestamp_seconds": ("namespace", "name"),
    "probe_ssl_earliest_cert_expiry": ("namespace", "instance"),
    # Kepler 0.10 and newer: docs/design/metrics.md
    "kepler_pod_cpu_watts": ("pod_namespace", "pod_name", "zone", "state", "node_name"),
    # dcgm-exporter
    "DCGM_FI_DEV_POWER_USAGE": ("Hostname", "UUID", "gpu"),
    # kube-state-metrics, cAdvisor, kubelet
    "kube_pod_status_ready": ("namespace", "pod", "condition"),
    "kube_pod_container_status_restarts_total": ("namespace", "pod", "container"),
    "container_cpu_usage_seconds_total": ("namespace", "pod", "container"),
    "container_memory_working_set_bytes": ("namespace", "pod", "container"),
    "kubelet_volume_stats_used_bytes": ("namespace", "persistentvolumeclaim"),
    "kubelet_volume_stats_capacity_bytes": ("namespace", "persistentvolumeclaim"),
}
_WORDS = {
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
}
_LABEL_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r"(?<![\w$.:])([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_NAME = re.compile(r"(?<![\w$.:])([a-zA-Z_:][\w:]*)(?!\s*[\w(:])")


def metrics_in(expr: str) -> set[str]:
    """The metrics that an expression names."""
    bare = re.sub(r"\{[^}]*\}", " ", re.sub(r"\"[^\"]*\"|'[^']*'", '""', expr))
    return {name for name in _NAME.findall(_LABEL_LISTS.sub(" ", bare)) if name not in _WORDS}


def matchers_in(expr: str) -> set[tuple[str, str]]:
    """Pairs of metric and label of every `metric{label…}`."""
    return {
        (name, label)
        for name, inside in _SELECTOR.findall(expr)
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside)
    }


def labels_of(metric: str) -> tuple[str, ...] | None:
    """Labels of a metric of the exporter, of a recording rule or of others; None where nobody has it."""
    recorded = {rule["record"]: rule["expr"] for rule in all_rules() if "record" in rule}
    if metric in recorded:
        by = re.match(r"sum by \(([^)]*)\)", recorded[metric])
        return tuple(label.strip() for label in by[1].split(",")) if by else ()
    if metric in OTHERS:
        return OTHERS[metric]
    if metric in METRICS and METRICS[metric].kind is not Kind.HISTOGRAM:
        return METRICS[metric].labels
    whole, _, part = metric.rpartition("_")
    if part in ("bucket", "sum", "count") and whole in METRICS and METRICS[whole].kind is Kind.HISTOGRAM:
        return (*METRICS[whole].labels, *(("le",) if part == "bucket" else ()))
    return None


@cache
def all_rules() -> tuple[dict[str, Any], ...]:
    """Every rule of every file."""
    groups = [group for file in rule_files() for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]
    return tuple(rule for group in groups for rule in group["rules"])


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in all_rules() if "alert" in rule}


def promtool(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool. Skips where there is none, unless JOULE_REQUIRE_PROMTOOL is set."""
    tool = shutil.which("promtool")
    if tool is None:
        text = "promtool is not there; on Debian: apt-get install --no-install-recommends prometheus"
        if os.environ.get("JOULE_REQUIRE_PROMTOOL"):
            pytest.fail(text)
        pytest.skip(text)
    command = [tool, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
