"""All steps of the check, in order, each with what it saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from joulestream.cluster.check import acceptance, page
from joulestream.cluster.check.kubectl import Kubectl
from joulestream.cluster.check.walk import DRIVER, EXECUTORS, Say, Walk
from schemas.errors import PipelineError, RetryableError

OK, FAILED, LEFT_OUT = "ok", "failed", "left out"
# kubectl ends a forward with the first connection that fails, as one may on a busy node.
FORWARDS = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its state, what was seen, and how long it took (s)."""

    name: str
    state: str
    seen: str
    took_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to check: `overlay` is a folder below k8s; pictures go to `pictures`."""

    manifests: Path
    overlay: str
    pictures: Path
    wait_s: float
    acceptance: bool = True
    installation: bool = True


def check(plan: Plan, say: Say) -> list[Step]:
    """Run all steps. One that fails ends the walk; the acceptance of overlays is judged one by one."""
    done: list[Step] = []
    version = Kubectl().json("version")["serverVersion"]["gitVersion"]
    say(f"cluster {version}")
    if plan.acceptance:
        for folder in acceptance.overlays(plan.manifests):
            name = f"accepted: {folder.relative_to(plan.manifests)}"
            done.append(_step(name, lambda folder=folder: _accepted(folder), say))  # type: ignore[misc]
        done.append(_step("a privileged pod is refused", _refused, say))
    if not plan.installation:
        return done
    for name, work in _walk(plan, say):
        done.append(_step(name, work, say))
        if done[-1].state == FAILED:
            say("the steps after it are left out; what is installed stays, to be looked at")
            break
    return done


def _walk(plan: Plan, say: Say) -> list[tuple[str, Callable[[], Any]]]:
    kubectl = Kubectl(acceptance.HOME)
    objects = kubectl.rendered(plan.manifests / plan.overlay)
    walk = Walk(kubectl, plan.manifests / "base", objects, plan.wait_s, say)
    return [
        ("installed, file by file", walk.apply),
        ("a second apply changes nothing", walk.again),
        ("documents counted", walk.counts),
        ("a second training run begins", lambda: walk.train("training-run-2")),
        ("the driver's pod is killed", lambda: walk.kill("driver", DRIVER, 1)),
        ("an executor's pod is killed", lambda: walk.kill("executor", EXECUTORS, 1)),
        ("the broker's pod is killed", lambda: walk.kill("broker", "app=kafka", 1)),
        ("the store's pod is killed", lambda: walk.kill("store", "app=mongodb", 1)),
        ("the training run ended", lambda: walk.trained("training-run-2")),
        ("audit inside the cluster", walk.audited),
        ("the dashboard through its Service", lambda: _dashboard(kubectl, plan.pictures)),
    ]


def _accepted(folder: Path) -> str:
    verdict = acceptance.judge(Kubectl(), Kubectl().rendered(folder))
    if verdict.errors:
        raise PipelineError("; ".join(verdict.errors)[:3000])
    return str(verdict)


def _refused() -> str:
    problem = acceptance.refuses_privileged(Kubectl())
    if problem is not None:
        raise PipelineError(problem)
    return "by Pod Security, as it should be"


def _dashboard(kubectl: Kubectl, pictures: Path) -> str:
    pictures.mkdir(parents=True, exist_ok=True)
    for _ in range(FORWARDS - 1):
        with suppress(RetryableError):
            return _pictures(kubectl, pictures)
    return _pictures(kubectl, pictures)


def _pictures(kubectl: Kubectl, pictures: Path) -> str:
    with page.forwarded(kubectl, "dashboard", 8501) as address:
        page.healthy(address)
        page.screenshot(f"{address}/", "Wh", pictures / "overview.png")
        page.screenshot(f"{address}/runs", "Every run with its energy", pictures / "runs.png")
    return f"pictures in {pictures}"


def _step(name: str, work: Callable[[], Any], say: Say) -> Step:
    say(f"{name} …")
    began = time.monotonic()
    try:
        seen, state = str(work()), OK
    except PipelineError as error:
        seen, state = str(error), FAILED
    took_s = round(time.monotonic() - began, 1)
    say(f"{name}: {state} after {took_s:.0f} s: {seen}")
    return Step(name, state, seen, took_s)


def as_documents(steps: list[Step]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [asdict(step) for step in steps]
