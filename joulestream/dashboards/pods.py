"""Pods: power and energy by namespace and pod, of clusters that meter by pod, and how Joulestream's own pods do.

The detail shows the meters themselves: series of Kepler (0.10 and newer), of NVIDIA's DCGM exporter, of
kube-state-metrics and of the kubelet. A panel whose source does not run says so.
"""

from __future__ import annotations

from joulestream.dashboards.model import Dashboard, Link, Query, Section, Step, Unit, Variable
from joulestream.dashboards.parts import RANGE, RATE, bars, in_range, limits, lines, once, rate, stat
from joulestream.dashboards.parts import watt_hours as wh

_CHOSEN = '{namespace=~"$namespace"}'
_POWER = once(f"joulestream_namespace_power_watts{_CHOSEN}", "namespace")
_ENERGY = f"joulestream_namespace_energy_joules_total{_CHOSEN}"
_PODS = once(f"joulestream_pod_power_watts{_CHOSEN}", "namespace", "pod")
_TO_NAMESPACE = Link("This namespace", "joulestream-pods", {"namespace": "namespace"})

# `package` contains `core` and `uncore`; only these two add up. Kepler shows ended pods once more.
_WATTS = 'kepler_pod_cpu_watts{zone=~"package|dram", state="running", pod_namespace=~"$namespace"}'
_OWN = 'namespace="bigdata-pipeline"'
# A GPU that pods share shows the whole GPU's power at each of them: one series a GPU.
_GPU_WATTS = "max by (Hostname, UUID) (DCGM_FI_DEV_POWER_USAGE)"
_METERED = "Pods are known where a Prometheus with Kepler or DCGM is read (`prometheus.url`)."

_NOW = Section(
    "Now",
    (
        stat(
            "Power of pods",
            f"Mean power of the pods of the chosen namespaces, in their nodes' newest closed windows. {_METERED}",
            Unit.WATT,
            f"sum({_POWER})",
        ),
        stat(
            "Energy of pods",
            f"Charged to the pods of the chosen namespaces in the range that is shown. {_METERED}",
            Unit.WATT_HOUR,
            wh(in_range(_ENERGY)),
        ),
        stat("Namespaces", f"With pods that draw power. {_METERED}", Unit.COUNT, f"count({_POWER})"),
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

_OVER_TIME = Section(
    "Over time",
    (
        lines(
            "Power by namespace",
            "Growth of the energy charged to a namespace's pods: joules per second are watts.",
            Unit.WATT,
            Query(rate(_ENERGY, "namespace"), "{{namespace}}"),
            stacked=True,
            link=_TO_NAMESPACE,
        ),
        lines(
            "The ten pods that draw most",
            "Mean power in the newest closed window. The exporter shows `exporter.max_pods` of them.",
            Unit.WATT,
            Query(f"topk(10, {_PODS})", "{{namespace}}/{{pod}}"),
        ),
        bars(
            "Energy by namespace",
            "Charged to a namespace's pods in the range that is shown.",
            Unit.WATT_HOUR,
            wh(in_range(_ENERGY, "namespace")),
            "{{namespace}}",
            width=12,
            link=_TO_NAMESPACE,
        ),
        bars(
            "Pods now",
            "Mean power in the newest closed window.",
            Unit.WATT,
            f"topk(20, {_PODS})",
            "{{namespace}}/{{pod}}",
            width=12,
        ),
    ),
)

_METERS = Section(
    "Detail: the meters themselves",
    (
        lines(
            "Kepler: power by namespace",
            "CPU packages and memory of running pods, as Kepler meters them.",
            Unit.WATT,
            Query(f"sum by (pod_namespace) ({_WATTS})", "{{pod_namespace}}"),
            stacked=True,
        ),
        lines(
            "DCGM: power of GPUs by node",
            "Each GPU once, also where pods share it: the power of a shared GPU cannot be split by pod.",
            Unit.WATT,
            Query(f"sum by (Hostname) ({_GPU_WATTS})", "{{Hostname}}"),
        ),
    ),
    folded=True,
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
    "Power and energy by namespace and pod, of clusters that meter by pod, and how Joulestream's own pods do.",
    (_NOW, _OVER_TIME, _METERS, _OWN_PODS),
    (Variable("namespace", "Namespace", "joulestream_namespace_power_watts", "namespace"),),
)
