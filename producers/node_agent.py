"""The node agent's main: `python -m producers.node_agent`, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from conf.settings import Settings
from producers.agent import build_agent
from producers.identity import new_producer_id
from producers.local_stack import producer_settings
from producers.ports import SystemClock
from producers.publisher import kafka_publisher
from schemas.errors import PipelineError

CLOSE_TIMEOUT_S = 5.0


def run(settings: Settings) -> None:
    """Sample this machine until a signal. Raises PipelineError where it cannot begin."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    name = new_producer_id(settings.node.node_id)
    sink = kafka_publisher(
        settings.kafka.bootstrap, settings.spool_dir, name, settings.tracker.spool_max_mib
    )
    agent = build_agent(settings, sink, SystemClock())
    logging.info("node %s: a sample every %g s", settings.node.node_id, settings.node.interval_s)
    try:
        agent.run(stop)
    finally:
        agent.close()
        sink.close(CLOSE_TIMEOUT_S)


def main() -> int:
    """0 after a signal, 1 where the agent cannot begin."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run(producer_settings())
    except PipelineError as error:
        sys.stderr.write(f"node agent: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
