"""Run the demo: all jobs, two at a time in processes of their own; or one job by name.

    python -m joulestream.demo [JOB]

Exit code: 0 when every job ended as it should (one of them fails on purpose), 1 if not, 2 for a wrong name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from joulestream.demo.jobs import JOBS, Job
from joulestream.demo.train import TrainingDivergedError, train

SIDE_BY_SIDE = 2
TERM_WAIT_S = 10.0
POLL_S = 0.2
DIVERGED = 3
ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main(argv: Sequence[str] | None = None) -> int:
    """All jobs, or the one that is named."""
    names = list(sys.argv[1:] if argv is None else argv)
    known = {job.name: job for job in JOBS}
    wrong = [name for name in names if name not in known]
    if wrong or len(names) > 1:
        _say(f"unknown demo job(s) {wrong or names}; give one of {', '.join(known)}, or none for all")
        return 2
    return run_one(known[names[0]]) if names else run_all(JOBS)


def run_one(job: Job) -> int:
    """Train one job in this process."""
    try:
        run = train(job)
    except TrainingDivergedError as error:
        why = ", as it is meant to: its learning rate grows until it diverges" if job.fails else ""
        _say(f"demo: {job.name} failed{why} ({error})")
        return DIVERGED
    _say(
        f"demo: {job.name} used {run.energy_kwh * 1e3:.3g} Wh, {run.emissions_kg * 1e3:.3g} g CO2e: {run.link}"
    )
    return 0


def run_all(jobs: Sequence[Job]) -> int:
    """Train all jobs, two side by side, so that the machine's energy is shared out among them."""
    signal.signal(signal.SIGTERM, _terminate)
    environment = {**os.environ, **ONE_CORE}
    waiting, running = list(jobs), dict[subprocess.Popen[bytes], Job]()
    wrong = 0
    try:
        while waiting or running:
            while waiting and len(running) < SIDE_BY_SIDE:
                job = waiting.pop(0)
                command = [sys.executable, "-m", "joulestream.demo", job.name]
                running[subprocess.Popen(command, env=environment)] = job
            for process in [each for each in running if each.poll() is not None]:
                job = running.pop(process)
                wrong += process.returncode != (DIVERGED if job.fails else 0)
            time.sleep(POLL_S)
    finally:
        _end(list(running))
    _say(f"demo: {len(jobs)} training runs done; list them with: ./joule runs ls")
    return 1 if wrong else 0


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask for an end; each job then sends that it was stopped."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(TERM_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
