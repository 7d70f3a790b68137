"""Names of the Kafka topics."""

from __future__ import annotations

TRAINING_EVENTS = "training.events"
NODE_METRICS = "node.metrics"
GRID_INTENSITY = "grid.intensity"
RUN_CONTROL = "run.control"
DLQ = "joulestream.dlq"

COMPACTED = (GRID_INTENSITY, RUN_CONTROL)
ALL = (TRAINING_EVENTS, NODE_METRICS, GRID_INTENSITY, RUN_CONTROL, DLQ)
