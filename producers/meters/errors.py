"""Why a meter cannot be used, and what would make it so."""

from __future__ import annotations

from schemas.errors import PipelineError


class MeterUnavailable(PipelineError):
    """This machine does not offer the meter. `remedy` says what would change that (may be empty)."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy
