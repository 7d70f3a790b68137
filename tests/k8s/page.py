"""`python -m tests.k8s.page` writes docs/reference/manifests-policy.md from the policies; a test compares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping

from tests.documentation import ROOT
from tests.k8s import access_policies, object_policies, pod_policies
from tests.k8s.flows import BASE, FLOWS, MORE
from tests.k8s.judging import KUBERNETES
from tests.k8s.network import Flow

PAGE = ROOT / "docs" / "reference" / "manifests-policy.md"
_HEAD = f"""\
# What every manifest keeps

<!-- Written by `python -m tests.k8s.page` from tests/k8s. Do not edit. -->

`pytest tests/k8s` renders every kustomization under `k8s/` with `kubectl kustomize`, and tries every component on an
overlay. It then judges all objects, without a cluster:

- by the strict schemas of Kubernetes {KUBERNETES.rsplit(".", 1)[0]}, and of the operators' own resources
  (`tests/k8s/schemas`): a field that nobody knows is an error;
- by the policies below, each of which is seen to fail on the fault that it is for;
- by the flows at the end, which are compared with what the NetworkPolicies let through.

Not judged here: rules in the Common Expression Language, and whether the cluster's network enforces NetworkPolicies.
`python -m tests.k8s.crds list | kubectl apply --server-side -f -` gives a test cluster the operators' definitions, so
that `kubectl apply --dry-run=server -k k8s/overlays/…` judges the overlays too.
"""


def _policies(policies: Mapping[str, Callable[..., object]]) -> str:
    lines = [
        f"| `{name}` | {' '.join((policy.__doc__ or '').split())} |" for name, policy in policies.items()
    ]
    return "\n".join(["| policy | meaning |", "|---|---|", *lines])


def _flows(flows: Iterable[Flow]) -> str:
    ports: dict[tuple[str, str], list[str]] = {}
    for flow in sorted(flows, key=str):
        port = f"{flow.port}" if flow.protocol == "TCP" else f"{flow.port}/{flow.protocol}"
        ports.setdefault((flow.target, flow.source), []).append(port)
    lines = [
        f"| `{source}` | `{target}` | {', '.join(sorted(said))} |"
        for (target, source), said in sorted(ports.items())
    ]
    return "\n".join(["| from | to | ports |", "|---|---|---|", *lines])


def _without(flows: set[Flow]) -> str:
    """What an overlay does not have of the flows of base."""
    targets = {flow.target for flow in flows}
    gone = BASE - flows
    whole = sorted({f"all to `{flow.target}`" for flow in gone if flow.target not in targets})
    single = sorted(
        f"`{flow.source}` to `{flow.target}` at {flow.port}" for flow in gone if flow.target in targets
    )
    return f" without {', '.join((*whole, *single))}," if gone else ""


def _changes() -> str:
    parts = [
        f"`{name}`: these,{_without(flows)} and\n\n{_flows(flows - BASE)}"
        for name, flows in FLOWS.items()
        if flows != BASE
    ]
    parts += [f"Component `{name}`: also\n\n{_flows(flows)}" for name, flows in MORE.items()]
    return "\n\n".join(parts)


def text() -> str:
    """The page."""
    tokens = [f"| `{app}`, {part} | {why} |" for (app, part), why in pod_policies.TOKENS.items()]
    excused = [f"| `{app}` in `{space}` | {why} |" for (space, app), why in pod_policies.PRIVILEGED.items()]
    made = [f"| {kind} `{name}` | {by} |" for (kind, name), by in object_policies.MADE_ELSEWHERE.items()]
    sections = [
        _HEAD,
        f"## Pods\n\n{_policies(pod_policies.POLICIES)}\n",
        "A token of the API server is carried by\n\n"
        + "\n".join(["| pod | why |", "|---|---|", *tokens])
        + "\n",
        "Not `restricted` is\n\n" + "\n".join(["| pod | why |", "|---|---|", *excused]) + "\n",
        f"## Objects\n\n{_policies(object_policies.POLICIES)}\n",
        f"## Rights, moving, scaling\n\n{_policies(access_policies.POLICIES)}\n",
        "## Made elsewhere\n\nNamed by the manifests, and made by somebody else:\n\n"
        + "\n".join(["| object | by |", "|---|---|", *made])
        + "\n",
        "## Flows\n\nNothing reaches anything but by these. Pods are named `app/component`, others as the policy has "
        "them. Every pod also asks for names: port 53 (TCP and UDP) in `kube-system`.\n\n"
        + _flows(BASE)
        + "\n",
        _changes() + "\n",
    ]
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
