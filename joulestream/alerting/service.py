"""The alerts process: evaluates budgets in one thread and delivers alerts in others, until it is asked to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from pymongo.errors import PyMongoError

from conf.mains import run_until_signal
from conf.mongo_trouble import mongo_refusal
from conf.settings import Settings, load_settings
from joulestream.alerting.channels import configured, with_stop, words
from joulestream.alerting.lanes import Lanes
from joulestream.alerting.outbox import Outbox
from joulestream.alerting.rules import Rules
from schemas.errors import PipelineError
from spark_jobs.store import Address, Patience, Stopped, connect, is_away

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LEAVE_S = 5.0
READY_FILE = "alerts.ready"


def utc_now() -> datetime:
    """The time now, to the millisecond as the store keeps it."""
    now = datetime.now(timezone.utc)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def ready_file(settings: Settings) -> Path:
    """Touched after every evaluation; who supervises this process looks at its age."""
    return settings.data_dir / "logs" / READY_FILE


class AlertsService:
    """Evaluation and delivery on one store."""

    def __init__(
        self, settings: Settings, stop: threading.Event, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._settings, self._stop, self._now = settings, stop, now
        self._people = configured(settings, stop)
        self._raised = threading.Event()

    def run(self) -> None:
        """Work until `stop` is set. While the store is away it waits, with one line in the log."""
        for line in words(self._settings):
            log.info("%s", line)
        db = connect(Address.of(self._settings))
        patience = Patience(
            self._stop,
            sleep=lambda seconds: void(self._stop.wait(seconds)),
            first=True,
            mongodb=self._settings.mongodb,
        )
        outbox = Outbox(db, self._settings.alerts.timeout_s)
        channels = with_stop(self._people, self._settings)
        tell = self._settings.alerts.tell_resolved
        lanes = Lanes(outbox, channels, tuple(self._people), patience, self._now, tell)
        rules = Rules(db, self._settings, tuple(self._people))
        try:
            patience(db.list_collection_names)  # a ping is answered to anybody
        except Stopped:
            return
        log.info("the document store answers; alerts are evaluated and delivered")
        touch(ready_file(self._settings))
        deliverer = threading.Thread(
            target=self._deliver, args=(lanes, patience), name="deliver", daemon=True
        )
        deliverer.start()
        try:
            self._evaluate(rules, patience, deliverer)
        finally:
            self._stop.set()
            self._raised.set()
            deliverer.join(LEAVE_S)
            lanes.close(LEAVE_S)
            db.client.close()

    def _evaluate(self, rules: Rules, patience: Patience, deliverer: threading.Thread) -> None:
        ready = ready_file(self._settings)
        while not self._stop.is_set():
            try:
                done = patience(lambda: rules.round(self._now()))
            except Stopped:
                return
            if done.raised:
                self._raised.set()
            touch(ready)
            if not deliverer.is_alive():
                raise PipelineError("the delivery of alerts ended; look at the log above")
            self._stop.wait(self._settings.alerts.every_s)

    def _deliver(self, lanes: Lanes, patience: Patience) -> None:
        while not self._stop.is_set():
            self._raised.clear()
            try:
                patience(lanes.turn)
            except Stopped:
                return
            self._raised.wait(LOOK_EVERY_S)


def void(_: object) -> None:
    """Nothing of a value that is not needed."""


def touch(path: Path) -> None:
    """Say that we live; a folder that cannot be written to costs the sign, not the alerts."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        log.debug("%s cannot be touched: %s", path, error)


def serve(settings: Settings, stop: threading.Event) -> None:
    """Run the alerts process. Raises PipelineError where a setting or the store cannot be used."""
    try:
        AlertsService(settings, stop).run()
    except PyMongoError as error:
        why = "does not answer" if is_away(error) else f"refused: {error}"
        refused = mongo_refusal(error, settings.mongodb)
        raise refused or PipelineError(f"the document store {why}; check JOULE_MONGODB_URI") from None


def main() -> int:
    """0 after a signal, 1 where the process cannot begin or go on."""
    return run_until_signal("alerts", load_settings, serve)
