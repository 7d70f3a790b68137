"""Write the dashboards and the PrometheusRule manifest; a test regenerates them and compares.

`python -m joulestream.dashboards.generate`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from joulestream.dashboards import nodes, overview, pipeline, pods, runs
from joulestream.dashboards.grafana import dashboard_json
from joulestream.dashboards.rules import prometheus_rule

OVERLAY = Path(__file__).resolve().parents[2] / "k8s" / "overlays" / "monitoring"
BOARDS = (overview.BOARD, runs.BOARD, nodes.BOARD, pods.BOARD, pipeline.BOARD)
RULES = ("recording.yaml", "stream.yaml", "energy.yaml", "watching.yaml")


def rule_files() -> tuple[Path, ...]:
    """The plain rule files, in the order in which they stand in the manifest."""
    return tuple(OVERLAY / "rules" / name for name in RULES)


def files() -> Mapping[Path, str]:
    """What is written, by its path."""
    boards = {
        OVERLAY / "grafana" / "dashboards" / f"{board.slug}.json": _text(dashboard_json(board))
        for board in BOARDS
    }
    return {**boards, OVERLAY / "rules" / "prometheusrule.yaml": prometheus_rule(rule_files())}


def _text(document: object) -> str:
    """One key a line with little room before it: a ConfigMap must stay small."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files and say which."""
    for path, text in files().items():
        path.write_text(text, "utf-8")
        sys.stdout.write(f"{path.name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
