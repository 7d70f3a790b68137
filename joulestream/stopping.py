"""Asks a run to stop: a message on `run.control`, which the run's tracker reads and may obey."""

from __future__ import annotations

from datetime import datetime

from conf.sections import Kafka
from joulestream.sending import outbox
from schemas.checks import check_id, check_text
from schemas.errors import RetryableError
from schemas.events import RunControl
from schemas.topics import RUN_CONTROL


def request_stop(kafka: Kafka, run_id: str, reason: str | None, at: datetime) -> None:
    """Send the request and wait until the broker has it.

    Raises ContractError on an id or a reason that cannot be sent, PipelineError where the topic is not there,
    RetryableError where the broker is away or refuses.
    """
    words = (reason or "").encode(errors="replace").decode()  # a shell may give any bytes
    asked = RunControl(run_id=check_id(run_id, "run_id"), timestamp=at, reason=check_text(words, "reason"))
    with outbox(kafka, (RUN_CONTROL,)) as box:
        box.send(RUN_CONTROL, run_id.encode(), asked.to_json(), f"the request to run {run_id}")
    if box.failures:
        raise RetryableError(f"the broker at {kafka.bootstrap} refused {box.failures[0]}")
