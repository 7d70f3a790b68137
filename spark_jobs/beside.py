"""What follows the books works beside the batches, in a thread of its own: no batch waits for a forecast."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from conf import logs
from spark_jobs.forecast.wiring import Follower
from spark_jobs.store import Doc

log = logging.getLogger(__name__)

# Where no batch comes for so long, the followers get a turn all the same: what they put off is done.
IDLE_S = 5.0

# Documents by `_id`, by collection.
Written: TypeAlias = dict[str, dict[str, Doc]]


class Beside(threading.Thread):
    """Tells the followers of a query what its books wrote, once that is settled, and lets them work.

    What is settled during their turn waits for the next one, the newest state of each document only.
    """

    def __init__(self, query: str, followers: Sequence[Follower], idle_s: float = IDLE_S) -> None:
        super().__init__(name=f"{query}-followers", daemon=True)
        self._query = query
        self._followers = followers
        self._idle_s = idle_s
        self._changed = threading.Condition()
        self._written: Written = {}
        self._settled: Written = {}
        self._ended = False

    def written(self, collection: str, docs: Mapping[str, Doc]) -> None:
        """The books wrote these documents; perhaps again."""
        with self._changed:
            self._written.setdefault(collection, {}).update(docs)

    def settled(self) -> None:
        """What was written stands."""
        with self._changed:
            for collection, docs in self._written.items():
                self._settled.setdefault(collection, {}).update(docs)
            self._written = {}
            self._changed.notify()

    def run(self) -> None:
        """Turn after turn until `end`."""
        with logs.fields(query=self._query):
            ended = False
            while not ended:
                with self._changed:
                    self._changed.wait_for(lambda: self._settled or self._ended, self._idle_s)
                    settled, self._settled = self._settled, {}
                    ended = self._ended
                self._turn(settled)
            for follower in self._followers:
                follower.close()

    def _turn(self, settled: Written) -> None:
        try:
            for follower in self._followers:
                for collection, docs in settled.items():
                    follower.written(collection, docs)
                follower.flush()
        except Exception:
            log.exception("the followers of query %s missed a turn", self._query)

    def end(self, patience_s: float) -> None:
        """One last turn, then no more; what takes longer than this is left undone."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self.join(patience_s)
