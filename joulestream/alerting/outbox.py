"""The outbox: the deliveries of stored alerts, each claimed by one process at a time and tried until it is bound.

A delivery is `pending` until it is `sent` or `failed`. Who tries it moves its `next_at` past the lease by a
conditional update, so that no other process takes it meanwhile; if the one who took it dies, it is due again when
the lease is over. A delivery is therefore made at least once, and made twice only where a process dies between
the receiver's answer and the note of it: with the same key, so that the receiver can tell.

Once an alert is sent, the same delivery tells its resolution, and that it is open again: `about` says which of
them, `follow_ups` counts them. Each becomes due by one conditional update on what is stored, and only after the one
before was sent; so a process that dies anywhere leaves nothing untold, and nothing told out of turn.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joulestream.alerting import alerts
from joulestream.alerting.delivery import delivery_key
from schemas import documents
from spark_jobs.store import Db, Doc

FIRST_S = 2.0
LONGEST_S = 900.0
MAX_ATTEMPTS = 20  # about three hours
LEASE_SPARE_S = 60.0
ERROR_CHARS = 300
# A resolution that has stood for so long is told; later than that it is no news.
STEADY = timedelta(seconds=60)
NEWS_FOR = timedelta(days=1)


def backoff_s(attempts: int, jitter: float) -> float:
    """Time to the next try after so many: doubled each time, up to `LONGEST_S`; jitter is in [0, 1)."""
    whole = min(LONGEST_S, FIRST_S * 2.0 ** (min(attempts, 30) - 1))
    return float(whole * (0.5 + 0.5 * jitter))


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to try one delivery, until its lease is over."""

    alert: Mapping[str, Any]
    place: int
    channel: str
    attempts: int
    token: str
    about: str = alerts.RAISED
    follow_ups: int = 0

    @property
    def key(self) -> str:
        """The same at every try."""
        return delivery_key(str(self.alert["_id"]), self.channel, self.about, self.follow_ups)

    @property
    def unchanged(self) -> Doc:
        """The delivery while it is about the same."""
        return {"_id": self.alert["_id"], **_at(self.place, {"follow_ups": _exactly(self.follow_ups)})}


class Outbox:
    """Deliveries of `alerts`. Raises PyMongoError where the store is away."""

    def __init__(self, db: Db, timeout_s: float, rng: random.Random | None = None) -> None:
        self._alerts = db[documents.ALERTS]
        self._lease = timedelta(seconds=timeout_s + LEASE_SPARE_S)
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret

    def fill(self, channels: Sequence[str], at: datetime) -> int:
        """Give open alerts that have no deliveries (rules of the stream raise such) those of all channels."""
        if not channels:
            return 0
        entries = alerts.deliveries(channels, at)
        empty = self._in_state({"state": alerts.OPEN}, {"deliveries": []}, {"_id": 1})
        found = [doc["_id"] for doc in empty]
        filled = [
            self._alerts.update_one({"_id": i, "deliveries": []}, {"$set": {"deliveries": entries}})
            for i in found
        ]
        return sum(result.modified_count for result in filled)

    def follow(self, channels: Sequence[str], at: datetime) -> int:
        """Make the resolutions of alerts that these channels have sent due, and that such an alert is open again."""
        if not channels:
            return 0
        since_until = {"$gte": at - NEWS_FOR, "$lte": at - STEADY}
        over = {"resolved_at": since_until}
        n_over = self._follow(channels, alerts.RESOLVED, over, {"$ne": alerts.RESOLVED}, alerts.RESOLVED, at)
        return n_over + self._follow(channels, alerts.OPEN, {}, alerts.RESOLVED, alerts.REOPENED, at)

    def _in_state(self, state: Doc, which: Mapping[str, Any], fields: Doc) -> Iterator[Doc]:
        """Alerts in a state that fulfil more: of one stage with both the embedded server uses no index."""
        return self._alerts.aggregate([{"$match": state}, {"$match": which}, {"$project": fields}])

    def _follow(
        self,
        channels: Sequence[str],
        state: str,
        which: Mapping[str, Any],
        told: Any,
        about: str,
        at: datetime,
    ) -> int:
        """Let deliveries that were sent tell what became of their alert, each by one conditional update."""
        sent = {"channel": {"$in": list(channels)}, "state": alerts.SENT, "about": told}
        n_due = 0
        told_once = {**which, "deliveries": {"$elemMatch": sent}}
        for doc in self._in_state({"state": state}, told_once, {"deliveries": 1}):
            for place, entry in enumerate(doc["deliveries"]):
                number = entry.get("follow_ups", 0)
                was = _at(place, {**sent, "follow_ups": _exactly(number)})
                due = {"about": about, "state": alerts.PENDING, "attempts": 0, "next_at": at}
                now = _at(place, {**due, "follow_ups": number + 1})
                same = {"_id": doc["_id"], "state": state, **which, **was}
                change = self._alerts.update_one(same, {"$set": now})
                n_due += change.modified_count
        return n_due

    def due(self, at: datetime) -> Iterator[tuple[str, int, Doc]]:
        """Alert, place and entry of each delivery whose time has come; first those that have been due the longest.

        So what is tried again and again does not keep what is new from its first try.
        """
        fields = {"deliveries": 1, "raised_at": 1, "state": 1}
        waiting = self._alerts.find({"deliveries.state": alerts.PENDING}, fields)
        found = []
        for doc in waiting:
            for place, entry in enumerate(doc["deliveries"]):
                since = entry.get("next_at", at)
                if entry["state"] == alerts.PENDING and since <= at and not _overtaken(doc, entry):
                    found.append((since, doc["raised_at"], str(doc["_id"]), place, entry))
        for _, _, alert_id, place, entry in sorted(found, key=lambda one: one[:4]):
            yield alert_id, place, entry

    def claim(self, alert_id: str, place: int, entry: Mapping[str, Any], at: datetime) -> Claim | None:
        """Take a delivery; None where another was faster."""
        path = f"deliveries.{place}"
        token = uuid.uuid4().hex
        unchanged = {
            "_id": alert_id,
            f"{path}.state": alerts.PENDING,
            f"{path}.attempts": entry["attempts"],
            f"{path}.next_at": entry.get("next_at"),
            f"{path}.follow_ups": _exactly(entry.get("follow_ups", 0)),
        }
        taken = {f"{path}.next_at": at + self._lease, f"{path}.claim": token}
        change = {"$set": taken, "$inc": {f"{path}.attempts": 1}}
        if not self._alerts.update_one(unchanged, change).modified_count:
            return None
        alert = self._alerts.find_one({"_id": alert_id})
        if alert is None:
            return None
        about, number = entry.get("about", alerts.RAISED), entry.get("follow_ups", 0)
        alert |= {"status": about, "told": entry.get("told", alert.get("message", ""))}
        return Claim(alert, place, entry["channel"], entry["attempts"] + 1, token, about, number)

    def sent(self, claim: Claim, at: datetime) -> None:
        """Note success, even where the lease ran out meanwhile: it is true all the same."""
        path = f"deliveries.{claim.place}"
        noted: Doc = {f"{path}.state": alerts.SENT}
        if claim.follow_ups:
            noted[f"{path}.followed_at"] = at
        else:
            noted |= {f"{path}.sent_at": at, f"{path}.told": claim.alert["told"]}
        gone = {f"{path}.next_at": "", f"{path}.claim": "", f"{path}.last_error": ""}
        self._alerts.update_one(claim.unchanged, {"$set": noted, "$unset": gone})

    def not_sent(self, claim: Claim, error: str, may_retry: bool, at: datetime) -> datetime | None:
        """Note an error and when the next try is; None where there is none any more."""
        path = f"deliveries.{claim.place}"
        said = {f"{path}.last_error": error[:ERROR_CHARS]}
        again = None
        if may_retry and claim.attempts < MAX_ATTEMPTS:
            again = at + timedelta(seconds=backoff_s(claim.attempts, self._rng.random()))
            change: Doc = {"$set": {**said, f"{path}.next_at": again}, "$unset": {f"{path}.claim": ""}}
        else:
            over = {f"{path}.state": alerts.FAILED}
            change = {"$set": {**said, **over}, "$unset": {f"{path}.next_at": "", f"{path}.claim": ""}}
        ours = {"_id": claim.alert["_id"], f"{path}.claim": claim.token}
        self._alerts.update_one(ours, change)
        return again

    def retry(self, alert_id: str, at: datetime) -> int:
        """Try the failed deliveries of an alert again; how many there are."""
        doc = self._alerts.find_one({"_id": alert_id}, {"deliveries": 1}) or {}
        n_again = 0
        for place, entry in enumerate(doc.get("deliveries", ())):
            path = f"deliveries.{place}"
            failed = {"_id": alert_id, f"{path}.state": alerts.FAILED}
            pending = {f"{path}.state": alerts.PENDING, f"{path}.attempts": 0, f"{path}.next_at": at}
            if entry["state"] == alerts.FAILED:
                n_again += self._alerts.update_one(failed, {"$set": pending}).modified_count
        return n_again


def _at(place: int, fields: Mapping[str, Any]) -> Doc:
    """Fields of a delivery by their path in the alert."""
    return {f"deliveries.{place}.{name}": value for name, value in fields.items()}


def _exactly(follow_ups: int) -> Any:
    """Matches this count, 0 where there is none. A null would match any: `0` is looked for as a field's name too."""
    return follow_ups or {"$not": {"$gte": 1}}


def _overtaken(doc: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether an alert has opened or closed again before anybody was told that it had not."""
    told = {alerts.RESOLVED: alerts.RESOLVED, alerts.REOPENED: alerts.OPEN}.get(entry.get("about", ""))
    return told is not None and told != doc["state"] and entry["attempts"] == 0
