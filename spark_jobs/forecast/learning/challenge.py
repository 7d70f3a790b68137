"""A challenger against the champion: both judged on windows that neither has learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from schemas.times import to_ms
from spark_jobs.forecast.learning.promotion import Decision, Score, against_champion, decide
from spark_jobs.forecast.learning.training import (
    Fit,
    Table,
    can_judge,
    cut_of,
    enough_for,
    fit_before,
    judged,
)
from spark_jobs.forecast.models.manifest import Manifest
from spark_jobs.forecast.series import BatchModel

Say = Callable[[str], None]


def silent(said: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Champion:
    """The model that serves."""

    model: BatchModel
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Challenge:
    """A model of the whole past, how one of the earlier part did on the later part, and what becomes of it.

    `versus` is its error over the champion's, where there is one to compare with.
    """

    model: BatchModel
    scores: Mapping[int, Score]
    versus: float | None
    decision: Decision


def challenge(fit: Fit, table: Table, champion: Champion | None, say: Say = silent) -> Challenge:
    """Train on the earlier part, judge on the later part, decide, and train again on all for serving.

    `say` hears what is done, in sentences. Raises TooLittleError where there is too little to learn from or to
    judge by.
    """
    cut_ms = cut_of(table)
    horizons = enough_for(table, cut_ms)
    say("learning from the earlier part, to be judged by the later one")
    scores = judged(fit_before(fit, table, cut_ms, horizons), table, cut_ms)
    say(f"error over the naive forecast's: {_ratios(scores)}")
    versus = None
    if champion is not None and any(score.wins for score in scores.values()):
        versus = _versus(fit, table, scores, cut_ms, champion, say)
    decision = decide(scores, versus, champion.manifest.version if champion else None)
    say(f"{decision.verdict}: {decision.reason}; learning from all, as it is kept")
    return Challenge(fit_before(fit, table, inf, horizons), scores, versus, decision)


def _versus(
    fit: Fit, table: Table, scores: Mapping[int, Score], cut_ms: float, champion: Champion, say: Say
) -> float | None:
    """The challenger's error over the champion's after all that the champion has learned from.

    A champion of a few hours ago has seen most of the later part, and would win there by memory. So they are
    compared on the newer half of what came since, and the challenger learns from the older half: at the horizons
    whose actuals have come since, and None where there is none.
    """
    seen_ms = to_ms(champion.manifest.data["last"])
    newest_ms = float(table.issued_ms[-1])
    own_ms = max(cut_ms, (seen_ms + newest_ms) / 2 if seen_ms > cut_ms else cut_ms)
    known = can_judge(table, own_ms)
    horizons = tuple(h for h in scores if h in known)
    if not horizons:
        return None
    if own_ms > cut_ms:
        say(f"learning for a comparison with {champion.manifest.version}, which knows most of the later part")
        scores = judged(fit_before(fit, table, own_ms, horizons), table, own_ms)
    theirs = judged(champion.model, table, own_ms)
    return against_champion(scores, theirs, champion.manifest.served_horizons_s)


def _ratios(scores: Mapping[int, Score]) -> str:
    ratios = {h: score.mae_w / score.strong_mae_w for h, score in scores.items() if score.strong_mae_w > 0}
    return ", ".join(f"{ratio:.2f} at {h} s" for h, ratio in ratios.items()) or "not known"
