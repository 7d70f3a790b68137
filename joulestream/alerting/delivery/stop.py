"""The request to stop a run, on topic `run.control`; whether a run obeys is up to its tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conf.sections import Kafka
from schemas.fields import MAX_TEXT


class Stop:
    """Asks the runs of an alert to stop. The message says when the alert was raised, so a repeat is the same."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    def deliver(self, alert: Mapping[str, Any], key: str) -> None:
        """Send a request to each run in `evidence.stop_runs`. Raises RetryableError while Kafka is away."""
        # Loaded here: most budgets stop nobody, and Kafka's library is the largest part of this process.
        from joulestream.stopping import request_stop

        for run_id in alert.get("evidence", {}).get("stop_runs", ()):
            request_stop(self._kafka, run_id, str(alert.get("message", ""))[:MAX_TEXT], alert["raised_at"])
