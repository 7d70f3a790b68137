"""Pods: power by namespace and pod where Kepler or DCGM meter it, and how Joulestream's own pods do.

The series are those of Kepler (0.10 and newer), of NVIDIA's DCGM exporter, of kube-state-metrics and of the kubelet:
a panel whose source does not run says so.
"""

from __future__ import annotations

from joulestream.dashboards.model import Dashboard, Link, Query, Section, Step, Unit, Variable
from joulestream.dashboards.parts import RANGE, RATE, bars, limits, lines, stat
from joulestream.dashboards.parts import watt_hours as wh

# `package` contains `core` and `uncore`; only these two add up. Kepler shows ended pods once more.
_CHOSEN = '{zone=~"package|dram", state="running", pod_namespace=~"$namespace"}'
_WATTS = f"kepler_pod_cpu_watts{_CHOSEN}"
_JOULES = 'kepler_pod_cpu_joules_total{zone=~"package|dram", pod_namespace=~"$namespace"}'
_OWN = 'namespace="bigdata-pipeline"'
# A GPU that pods share shows the whole GPU's power at each of them: one series a GPU.
_GPU_WATTS = "max by (Hostname, UUID) (DCGM_FI_DEV_POWER_USAGE)"
_KEPLER = "CPU packages and memory, as Kepler meters them."
_TO_NAMESPACE = Link("This namespace", "joulestream-pods", {"namespace": "pod_namespace"})

_NOW = Section(
    "Now",
    (
        stat("Power of pods", _KEPLER, Unit.WATT, f"sum({_WATTS})"),
        stat(
            "Energy of pods",
            f"{_KEPLER} In the range that is shown.",
            Unit.WATT_HOUR,
            wh(f"sum(increase({_JOULES}[{RANGE}]))"),
        ),
        stat(
            "Power of GPUs",
            "Sum over all GPUs that DCGM sees, each counted once.",
            Unit.WATT,
            f"sum({_GPU_WATTS})",
        ),
        stat(
            "Own pods ready",
            "Pods of Joulestream that are ready, of kube-state-metrics.",
            Unit.COUNT,
            f'sum(kube_pod_status_ready{{{_OWN}, condition="true"}})',
        ),
        stat(
            "Restarts of own pods",
            "Restarts of Joulestream's containers in the range that is shown.",
            Unit.COUNT,
            f"sum(increase(kube_pod_container_status_restarts_total{{{_OWN}}}[{RANGE}]))",
            width=8,
            steps=(Step(1, "#E69F00"),),
        ),
    ),
)

_POWER = Section(
    "Power",
    (
        lines(
            "Power by namespace",
            _KEPLER,
            Unit.WATT,
            Query(f"sum by (pod_namespace) ({_WATTS})", "{{pod_namespace}}"),
            stacked=True,
            link=_TO_NAMESPACE,
        ),
        lines(
            "The ten pods that draw most",
            _KEPLER,
            Unit.WATT,
            Query(f"topk(10, sum by (pod_namespace, pod_name) ({_WATTS}))", "{{pod_namespace}}/{{pod_name}}"),
        ),
        bars(
            "Energy by namespace",
            f"{_KEPLER} In the range that is shown.",
            Unit.WATT_HOUR,
            wh(f"sum by (pod_namespace) (increase({_JOULES}[{RANGE}]))"),
            "{{pod_namespace}}",
            width=12,
            link=_TO_NAMESPACE,
        ),
        lines(
            "Power of GPUs by node",
            "Each GPU once, also where pods share it: the power of a shared GPU cannot be split by pod.",
            Unit.WATT,
            Query(f"sum by (Hostname) ({_GPU_WATTS})", "{{Hostname}}"),
        ),
    ),
)

_OWN_PODS = Section(
    "Detail: Joulestream's own pods",
    (
        lines(
            "CPU",
            "Cores in use, of the kubelet's cAdvisor.",
            Unit.COUNT,
            Query(
                f'sum by (pod) (rate(container_cpu_usage_seconds_total{{{_OWN}, container!=""}}[{RATE}]))',
                "{{pod}}",
            ),
        ),
        lines(
            "Memory",
            "Working set, which is what the limit is compared with.",
            Unit.BYTE,
            Query(f'sum by (pod) (container_memory_working_set_bytes{{{_OWN}, container!=""}})', "{{pod}}"),
        ),
        lines(
            "Restarts",
            "Restarts of containers since the pod was made.",
            Unit.COUNT,
            Query(f"sum by (pod) (kube_pod_container_status_restarts_total{{{_OWN}}})", "{{pod}}"),
        ),
        lines(
            "Volumes in use",
            "Used part of each volume.",
            Unit.SHARE,
            Query(
                f"max by (persistentvolumeclaim) (kubelet_volume_stats_used_bytes{{{_OWN}}}"
                f" / kubelet_volume_stats_capacity_bytes{{{_OWN}}})",
                "{{persistentvolumeclaim}}",
            ),
            steps=limits(0.8, 0.9),
            most=1.0,
        ),
    ),
    folded=True,
)

BOARD = Dashboard(
    "joulestream-pods",
    "Joulestream / Pods",
    "Power by namespace and pod where Kepler or DCGM meter it, and how Joulestream's own pods do.",
    (_NOW, _POWER, _OWN_PODS),
    (Variable("namespace", "Namespace", "kepler_pod_cpu_watts", "pod_namespace"),),
)
