"""How much a benchmark does: the same steps in `--quick` and in full, only longer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Sizes:
    """All that a result depends on besides the machine and the settings."""

    seed: int = 20_251
    runs: int = 300
    users: int = 40
    models: int = 12
    # Throughput: messages in the topic, and the longest that one step may take (s).
    rows: int = 200_000
    longest_s: float = 45.0
    # The store alone: ledger rows that are inserted once more.
    insert_rows: int = 40_000
    insert_batch: int = 1_000
    # Latency: what waits when the job starts, then a steady rate (events/s, s).
    backlog: int = 40_000
    live_rate: int = 500
    live_runs: int = 500
    probes: int = 40
    nodes: int = 4
    settle_s: float = 15.0
    live_s: float = 30.0
    # The same rate by fewer runs: fewer documents for as many events.
    few_runs: int = 50
    few_settle_s: float = 5.0
    few_s: float = 20.0

    def to_doc(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def of_few(self) -> Sizes:
        """The latency part with fewer runs."""
        probes = min(self.probes, self.few_runs)
        return replace(
            self, live_runs=self.few_runs, probes=probes, settle_s=self.few_settle_s, live_s=self.few_s
        )


QUICK = Sizes()
FULL = Sizes(
    rows=800_000,
    longest_s=180.0,
    insert_rows=160_000,
    backlog=200_000,
    settle_s=30.0,
    live_s=300.0,
    few_s=100.0,
)
