"""Which stages have had their alert, kept in memory, so that a round in which nothing happens asks nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from joulestream.alerting import stages
from joulestream.alerting.messages import alert_id_of
from schemas import documents
from spark_jobs.store import Db

# By basis and stage: why the alert was resolved, None while it is open.
Known: TypeAlias = dict[tuple[str, int], str | None]


class Raised:
    """The stages that have an alert, by revision of a budget and period. Raises PyMongoError."""

    def __init__(self, db: Db) -> None:
        self._alerts = db[documents.ALERTS]
        self._known: dict[tuple[str, str], Known] = {}

    def of(self, revision: str, period: str) -> Known:
        """As last read; others may have raised or resolved since."""
        known = self._known.get((revision, period))
        return self.read(revision, period) if known is None else known

    def read(self, revision: str, period: str) -> Known:
        """As the store has it now."""
        # By name, not by the beginning of their id: the embedded server looks at all alerts for a range of ids.
        ids = [
            alert_id_of(revision, basis, stage, period) for basis in stages.BASES for stage in stages.STAGES
        ]
        fields = {"basis": 1, "stage_pct": 1, "resolved_because": 1}
        found = self._alerts.find({"_id": {"$in": ids}}, fields)
        known = {(doc["basis"], doc["stage_pct"]): doc.get("resolved_because") for doc in found}
        self._known[revision, period] = known
        return known

    def keep(self, revisions: Collection[str]) -> None:
        """Forget all others."""
        self._known = {key: known for key, known in self._known.items() if key[0] in revisions}
