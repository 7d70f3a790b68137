"""Errors that tell the caller what to do."""

from __future__ import annotations

from typing import Any


class PipelineError(Exception):
    """Fatal: stop, and show the message."""


class RetryableError(PipelineError):
    """Away for now: back off and try again; the data is not at fault."""


class SourceGone(RetryableError):
    """The measured thing ended: stop measuring it."""


class ContractError(PipelineError):
    """One message breaks the contract: quarantine it with its reason, and go on.

    `code` is one of `schemas.reasons`; `field` is where, as a path such as `gpus.0.energy_j`.
    """

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


def shown(value: Any) -> str:
    """A wire value as an error message names it: its type, and its beginning where that is cheap and safe."""
    kind = type(value).__name__
    if isinstance(value, (dict, list)):
        return f"{kind} of {len(value)} entries"
    if type(value) is int and value.bit_length() > 64:
        return f"{kind} of {value.bit_length()} bits"
    return f"{kind} {value[:60]!r}" if isinstance(value, str) else f"{kind} {value!r}"
