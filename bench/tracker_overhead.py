"""What the tracker costs a training loop: the same loop with and without it, in turns, as CPU time and wall time.

The loop is pure Python (the worst case: it shares the interpreter's lock with the tracker's threads) and
logs every `--log-every-s` seconds. `cost_pct` is what the tracker does: CPU time of its threads plus that
of the `log` calls, over the loop's time. `wall_overhead_pct` and `cpu_overhead_pct` compare the two loops,
run in turns (median of the pairs): on a busy machine their noise is larger than the cost. Prints a table
and, as the last line, JSON. Target: at most 1 % (DESIGN; `--check` makes a miss the exit code 1).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable

import psutil

TARGET_PCT = 1.0
BATCH = 20_000


def loop(batches: int, log_every: int, log: Callable[..., None]) -> None:
    """A training loop of so many batches that logs at every `log_every`th."""
    for step in range(batches):
        total = 0
        for n in range(BATCH):
            total += n * n
        if step % log_every == 0:
            log(step=step, loss=1 / (step + 1))


def threads_s() -> float:
    """CPU seconds of all threads of this process but the training's."""
    own = threading.get_native_id()
    threads = psutil.Process().threads()
    return float(sum(t.user_time + t.system_time for t in threads if t.id != own))


def measured(run: Callable[[], None]) -> tuple[float, float]:
    """Wall and process CPU seconds of a call; the CPU time holds the tracker's threads too."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def main() -> int:
    options = arguments()
    os.environ.setdefault("JOULE_DATA_DIR", tempfile.mkdtemp(prefix="tracker-overhead-"))
    from producers.tracker import Tracker

    probe_s, _ = measured(lambda: loop(20, 1000, lambda **_: None))
    batches = max(20, int(options.seconds / (probe_s / 20)))
    log_every = max(1, int(batches * options.log_every_s / options.seconds))
    beside_s: list[float] = []
    pairs: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for _ in range(options.repeat):
        bare = measured(lambda: loop(batches, log_every, lambda **_: None))
        with Tracker(model_name="bench", meters=options.meters) as run:
            time.sleep(1.0)  # the start (meters, broker) is reported apart, not as a cost of the loop
            before_s = threads_s()
            tracked = measured(lambda: loop(batches, log_every, run.log))
            beside_s.append(threads_s() - before_s)
        pairs.append((bare, tracked))
    start_s = start_cost(Tracker, options.meters)
    log_us = log_cost(Tracker, options.meters)
    extra = [statistics.median(100 * (t[i] - b[i]) / b[i] for b, t in pairs) for i in (0, 1)]
    threads_pct = statistics.median(100 * s / t[0] for s, (_, t) in zip(beside_s, pairs, strict=True))
    cost_pct = threads_pct + 100 * log_us * 1e-6 / options.log_every_s
    result = {
        "cost_pct": round(cost_pct, 3),
        "wall_overhead_pct": round(extra[0], 3),
        "cpu_overhead_pct": round(extra[1], 3),
        "log_call_us": round(log_us, 1),
        "start_s": round(start_s, 3),
        "loop_s": round(statistics.median(b[0] for b, _ in pairs), 2),
        "logs_per_s": round(1 / options.log_every_s, 2),
        "target_pct": TARGET_PCT,
        "met": cost_pct <= TARGET_PCT,
    }
    for name, value in result.items():
        print(f"{name:20} {value}")
    print(json.dumps(result))
    return 1 if options.check and not result["met"] else 0


def start_cost(tracker: Callable[..., object], meters: str) -> float:
    """Seconds that `start()` takes, opening of the meters included."""
    run = tracker(meters=meters)
    began_s = time.perf_counter()
    run.start()  # type: ignore[attr-defined]  # a Tracker
    took_s = time.perf_counter() - began_s
    run.stop()  # type: ignore[attr-defined]  # a Tracker
    return took_s


def log_cost(tracker: Callable[..., object], meters: str, calls: int = 200) -> float:
    """Microseconds that one `log` call keeps the loop."""
    run = tracker(meters=meters)
    run.start()  # type: ignore[attr-defined]  # a Tracker
    costs = []
    for step in range(calls):
        began_s = time.perf_counter()
        run.log(epoch=1, step=step, loss=0.5, accuracy=0.5)  # type: ignore[attr-defined]  # a Tracker
        costs.append(time.perf_counter() - began_s)
        time.sleep(0.001)
    run.stop()  # type: ignore[attr-defined]  # a Tracker
    return statistics.median(costs) * 1e6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one loop")
    parser.add_argument("--repeat", type=int, default=3, help="pairs of loops")
    parser.add_argument("--log-every-s", type=float, default=0.5, help="time between calls of log")
    parser.add_argument("--meters", default="auto")
    parser.add_argument("--check", action="store_true", help="exit 1 where the target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
