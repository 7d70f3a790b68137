"""All queries of the streaming job together: leases, starts, watching, the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from functools import partial
from threading import Event

from conf import logs
from conf.settings import Settings
from schemas.errors import PipelineError
from spark_jobs import offsets
from spark_jobs.forecast.wiring import models_of
from spark_jobs.lease import Lease, LeaseLostError, acquire
from spark_jobs.quiet import stop_quietly
from spark_jobs.retention import Expiry
from spark_jobs.runner import Runner
from spark_jobs.session import spark_session
from spark_jobs.sources import SOURCES
from spark_jobs.store import Address, Patience, connect, ensure_collections

log = logging.getLogger(__name__)

WATCH_S = 0.5


class Keeper(threading.Thread):
    """Renews the leases while the job runs; where one is lost, it says so and asks the job to stop."""

    def __init__(self, leases: Iterable[Lease], every_s: float, stop: Event, patience: Patience) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self._leases = tuple(leases)
        self._every_s = every_s
        self._stop_event = stop
        self._patience = patience
        self.lost: LeaseLostError | None = None

    def run(self) -> None:
        """Renew until asked to stop."""
        while not self._stop_event.wait(self._every_s):
            try:
                for lease in self._leases:
                    self._patience(lease.renew)
            except LeaseLostError as error:
                self.lost = error
                return
            except PipelineError:
                return


def run_job(settings: Settings, stop: Event) -> None:
    """Run both queries until `stop`, or until the first dies. Raises PipelineError."""
    db, patience = connect(Address.of(settings)), Patience(stop, first=True, mongodb=settings.mongodb)
    patience(lambda: ensure_collections(db, settings))
    # Asked before Spark is, so that a broker that does not let us in is said at once, in one line.
    kafka, topic = settings.kafka, next(iter(SOURCES.values())).topic
    offsets.patiently(lambda: offsets.latest(kafka, topic), stop, first=True)
    seconds = settings.stream.lease_s
    leases = {query: patience(partial(acquire, db, query, seconds, stop)) for query in SOURCES}
    keeper = Keeper(leases.values(), seconds / 4, stop, patience)
    keeper.start()
    Expiry(db, settings, stop).start()
    runners: list[Runner] = []
    try:
        spark = spark_session("joulestream", settings)
        stop_quietly(spark)
        models = models_of(spark, settings, stop)
        models.start()
        for query, source in SOURCES.items():
            runners.append(Runner(spark, settings, source, db, leases[query], stop, patience, models=models))
            with logs.fields(query=query):
                runners[-1].start()
            patience(partial(leases[query].renew, "running"))
        log.info("streaming: %s", ", ".join(SOURCES))
        while not stop.wait(WATCH_S):
            if keeper.lost is not None:
                raise keeper.lost
            for runner in runners:
                with logs.fields(query=runner.source.query):
                    runner.watch()
    finally:
        stop.set()
        for runner in runners:
            with logs.fields(query=runner.source.query):
                runner.close()
