"""What the node agent costs: CPU of one core and resident memory, after its start, at one sample a second.

Without a broker at `JOULE_KAFKA_BOOTSTRAP` it measures the agent that spools; with one, the agent that sends.
Prints a table and, as the last line, JSON. Targets: at most 1 % of a core and 60 MB (`--check`: a miss is exit code 1).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

TARGET_CPU_PCT = 1.0
TARGET_RSS_MB = 60.0
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    options = arguments()
    folder = tempfile.mkdtemp(prefix="agent-cost-")
    env = {"JOULE_DATA_DIR": folder, **os.environ, "JOULE_NODE_INTERVAL_S": str(options.interval_s)}
    command = [sys.executable, "-m", "producers.node_agent"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) as process:
        agent = psutil.Process(process.pid)
        time.sleep(options.warm_up_s)
        began_s, before = time.monotonic(), agent.cpu_times()
        peak = 0
        while time.monotonic() - began_s < options.seconds:
            time.sleep(1.0)
            peak = max(peak, agent.memory_info().rss)
        over_s, after = time.monotonic() - began_s, agent.cpu_times()
        process.terminate()
    cpu_pct = 100 * (after.user + after.system - before.user - before.system) / over_s
    result = {
        "cpu_pct_of_a_core": round(cpu_pct, 3),
        "peak_rss_mb": round(peak / 1e6, 1),
        "interval_s": options.interval_s,
        "seconds": round(over_s, 1),
        "target_cpu_pct": TARGET_CPU_PCT,
        "target_rss_mb": TARGET_RSS_MB,
        "met": cpu_pct <= TARGET_CPU_PCT and peak / 1e6 <= TARGET_RSS_MB,
    }
    for name, value in result.items():
        print(f"{name:20} {value}")
    print(json.dumps(result))
    return 1 if options.check and not result["met"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to watch")
    parser.add_argument("--warm-up-s", type=float, default=5.0, help="time for the start, not counted")
    parser.add_argument("--interval-s", type=float, default=1.0, help="time between samples")
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
