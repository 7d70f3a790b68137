"""Who serves: the score decides. Pure functions of scores on rows that no model has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

PROMOTED, CHALLENGER, REJECTED = "promoted", "challenger", "rejected"


@dataclass(frozen=True, slots=True)
class Score:
    """Errors at one horizon (W) on the same n rows. `groups`: MAE over the last value's, per kind of series."""

    n: int
    mae_w: float
    naive_mae_w: float
    seasonal_mae_w: float
    coverage_80: float
    coverage_90: float
    groups: Mapping[str, float] = field(default_factory=dict)

    @property
    def strong_mae_w(self) -> float:
        """Strong naive: the better of the last value and the value of the day before."""
        return min(self.naive_mae_w, self.seasonal_mae_w)

    @property
    def wins(self) -> bool:
        """Whether the model beats strong naive; a draw is no win."""
        return self.mae_w < self.strong_mae_w

    def to_doc(self) -> dict[str, Any]:
        """As stored; `ratio` is MAE over strong naive's, absent where that errs nowhere."""
        ratio = {"ratio": self.mae_w / self.strong_mae_w} if self.strong_mae_w > 0 else {}
        return {**asdict(self), "groups": dict(self.groups), "strong_mae_w": self.strong_mae_w, **ratio}


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a challenger, and why, in a sentence."""

    verdict: str
    reason: str
    served_horizons_s: tuple[int, ...]


def served_horizons(scores: Mapping[int, Score]) -> tuple[int, ...]:
    """The horizons (s) at which a model beats strong naive; naive serves at all others."""
    return tuple(sorted(h for h, score in scores.items() if score.wins))


def against_champion(
    challenger: Mapping[int, Score], champion: Mapping[int, Score], champion_serves: Sequence[int]
) -> float | None:
    """Mean over the horizons of what the challenger would err over what the champion errs; below 1 is better.

    Both as they serve: with strong naive where they do not. Both were scored on the same rows. None where
    no horizon tells anything.
    """
    ratios = []
    for horizon, score in challenger.items():
        ours = min(score.mae_w, score.strong_mae_w)
        other = champion.get(horizon)
        serves = other is not None and horizon in champion_serves
        theirs = other.mae_w if other is not None and serves else score.strong_mae_w
        if theirs > 0:
            ratios.append(ours / theirs)
    return sum(ratios) / len(ratios) if ratios else None


def decide(scores: Mapping[int, Score], versus: float | None, champion: str | None) -> Decision:
    """Whether a challenger is promoted, from its scores and `versus` (see `against_champion`)."""
    served = served_horizons(scores)
    if not scores:
        return Decision(REJECTED, "no horizon has enough later windows to judge by", ())
    if not served:
        return Decision(REJECTED, "it does not beat the naive forecast at any horizon", ())
    where = f"it beats the naive forecast at {', '.join(f'{h} s' for h in served)}"
    lost = [f"{h} s" for h in sorted(scores) if h not in served]
    if lost:
        where += f", not at {', '.join(lost)}, where that one goes on serving"
    if champion is None:
        return Decision(PROMOTED, where, served)
    if versus is None:
        return Decision(
            CHALLENGER, f"{where}; too few windows since {champion} was trained to compare", served
        )
    compared = f"its error is {versus:.3f} of that of {champion} on windows that neither has learned from"
    return Decision(PROMOTED if versus < 1 else CHALLENGER, f"{where}; {compared}", served)
