"""Who may read what. The reader adds these rules to every query; a collection without a rule is for all-seers only.

A person sees what belongs to them: runs whose `user_id` is theirs, and what is told of those runs and of that
user. Of what is about everybody (the pipeline, the models) they see a few fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas import documents

Document = Mapping[str, Any]
OwnRuns = Callable[[], Sequence[str]]


@dataclass(frozen=True)
class SeesAll:
    """A viewer without limits: an administrator, anybody where nobody logs in, or the command line."""


@dataclass(frozen=True)
class Person:
    """A viewer who sees what belongs to `user_id`, compared letter by letter."""

    user_id: str

    def __post_init__(self) -> None:
        if not isinstance(self.user_id, str) or not self.user_id:
            raise ValueError("a person needs a user_id that is not empty")


Viewer = SeesAll | Person


@dataclass(frozen=True)
class Rule:
    """Which documents of a collection are a person's. `fields`: all that is shown of them; None is everything."""

    of: Callable[[str, OwnRuns], dict[str, Any]]
    fields: tuple[str, ...] | None = None


def _of_run(name: str) -> Callable[[str, OwnRuns], dict[str, Any]]:
    return lambda user, own: {name: {"$in": list(own())}}


def _of_subject(dimension: str, key: str) -> Callable[[str, OwnRuns], dict[str, Any]]:
    def condition(user: str, own: OwnRuns) -> dict[str, Any]:
        mine = {dimension: "user", key: user}
        return {"$or": [mine, {dimension: "run", key: {"$in": list(own())}}]}

    return condition


def _of_target(name: str) -> Callable[[str, OwnRuns], dict[str, Any]]:
    return lambda user, own: {name: {"$in": [f"user/{user}", *(f"run/{run_id}" for run_id in own())]}}


def _everybodys(user: str, own: OwnRuns) -> dict[str, Any]:
    return {}


_BUDGET = ("name", "scope", "key", "limit", "unit", "period", "on_break", "created_at", "status")
# Not how it was delivered: the channels and their errors are the administrators'.
_ALERT = (
    *("rule", "severity", "state", "subject", "budget", "stage_pct", "basis", "period", "probability"),
    *("message", "raised_at", "last_seen_at", "resolved_at", "resolved_because", "evidence"),
)
RULES: Mapping[str, Rule] = {
    documents.RUN_SUMMARY: Rule(lambda user, own: {"user_id": user}),
    documents.TRAINING_METRICS: Rule(_of_run("run_id")),
    documents.WINDOWS: Rule(_of_subject("dimension", "key")),
    documents.FORECASTS: Rule(_of_target("target")),
    documents.FORECAST_STATES: Rule(_of_target("_id")),
    documents.BUDGETS: Rule(_of_subject("scope", "key"), _BUDGET),
    documents.ALERTS: Rule(_of_subject("subject.dimension", "subject.key"), _ALERT),
    documents.LEASES: Rule(_everybodys, ("query", "state", "renewed_at")),
    documents.PROGRESS: Rule(_everybodys, ("query", "batch", "at", "lag", "watermark")),
    documents.MODEL_REGISTRY: Rule(
        _everybodys, ("state", "created_at", "serving_since", "served_horizons_s")
    ),
}


# A query that no document meets.
NOTHING: Document = {"_id": {"$in": []}}


def _values(wanted: Any) -> frozenset[Any] | None:
    """The values of which a field is to have one; None where a query says it in another way."""
    if isinstance(wanted, str):
        return frozenset((wanted,))
    if isinstance(wanted, dict) and wanted.keys() == {"$in"}:
        listed = wanted["$in"]
        return frozenset(listed) if all(isinstance(value, str) for value in listed) else None
    return None


def _says(asked: Document, condition: Document) -> bool:
    """Whether whatever is asked for meets the condition."""
    for name, allowed in condition.items():
        wanted, may = _values(asked.get(name)), _values(allowed)
        if wanted is None or may is None or not wanted <= may:
            return False
    return True


def _excludes(asked: Document, condition: Document) -> bool:
    """Whether nothing that is asked for meets the condition."""
    pairs = ((_values(asked.get(name)), _values(allowed)) for name, allowed in condition.items())
    return any(wanted is not None and may is not None and not wanted & may for wanted, may in pairs)


def _both(asked: Document, condition: Document) -> dict[str, Any]:
    """What meets both."""
    more = {name: allowed for name, allowed in condition.items() if not _says(asked, {name: allowed})}
    if asked.keys() & more.keys():
        return {"$and": [dict(asked), more]}
    return {**asked, **more}


@dataclass(frozen=True)
class Share:
    """What a viewer may see of a collection: documents that meet `condition`, and `fields` of them."""

    condition: dict[str, Any]
    fields: tuple[str, ...] | None = None

    def query(self, asked: Document) -> dict[str, Any]:
        """The documents that are asked for and may be seen.

        What the question says already is not said twice, so that an index on it serves.
        """
        alternatives = self.condition["$or"] if self.condition.keys() == {"$or"} else [self.condition]
        if any(_says(asked, one) for one in alternatives):
            return dict(asked)
        open_ones = [one for one in alternatives if not _excludes(asked, one)]
        if len(open_ones) == 1:
            return _both(asked, open_ones[0])
        return _both(asked, {"$or": open_ones} if open_ones else NOTHING)

    def names(self, asked: Sequence[str] | None) -> dict[str, int] | None:
        """The projection: what is asked for and may be seen; None is everything."""
        if self.fields is None:
            return None if asked is None else dict.fromkeys(asked, 1)
        kept = self.fields if asked is None else [name for name in asked if self.shows(name)]
        return dict.fromkeys(kept or ["_id"], 1)

    def shows(self, name: str) -> bool:
        """Whether a field, by its path, may be seen."""
        return self.fields is None or name.partition(".")[0] in (*self.fields, "_id")

    def stages(self, pipeline: Sequence[Document]) -> list[dict[str, Any]]:
        """The pipeline over what may be seen. A match that leads it stays first, for the sake of its index."""
        given = [dict(stage) for stage in pipeline]
        lead = 1 if given and "$match" in given[0] else 0
        said = bool(lead) and self.query(given[0]["$match"]) == given[0]["$match"]
        own: list[dict[str, Any]] = [{"$match": self.condition}] if self.condition and not said else []
        if self.fields is not None:
            own.append({"$project": dict.fromkeys(self.fields, 1)})
        return [*given[:lead], *own, *given[lead:]]


def share(viewer: Viewer, collection: str, own: OwnRuns) -> Share | None:
    """What a viewer may see of a collection; None is nothing. `own`: ids of the person's runs."""
    if isinstance(viewer, SeesAll):
        return Share({})
    rule = RULES.get(collection)
    return None if rule is None else Share(rule.of(viewer.user_id, own), rule.fields)
