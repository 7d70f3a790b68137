"""Names of the Kafka topics."""

from __future__ import annotations

TRAINING_EVENTS = "training.events"
NODE_METRICS = "node.metrics"
GRID_INTENSITY = "grid.intensity"
RUN_CONTROL = "run.control"
DLQ = "joulestream.dlq"

# What the stream reads; the others have one partition.
STREAMED = (TRAINING_EVENTS, NODE_METRICS)
COMPACTED = (GRID_INTENSITY, RUN_CONTROL)
ALL = (TRAINING_EVENTS, NODE_METRICS, GRID_INTENSITY, RUN_CONTROL, DLQ)
