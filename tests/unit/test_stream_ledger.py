"""Inserting into the ledger under roles that may less."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.errors import OperationFailure

from spark_jobs.ledger import UNAUTHORIZED, insert_new


class Guarded:
    """A collection whose user may not leave the validator out."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.rows: list[Any] = []

    def __getitem__(self, name: str) -> Guarded:
        return self

    def insert_many(self, rows: list[Any], ordered: bool, bypass_document_validation: bool) -> None:
        if bypass_document_validation:
            raise OperationFailure("not authorized to execute command", self.code)
        self.rows += rows


def test_a_user_who_may_not_leave_out_the_validator_still_inserts() -> None:
    store = Guarded(UNAUTHORIZED)
    assert insert_new(store, "training_metrics", [{"_id": "e|r|1"}], checked=True) == ([], {})  # type: ignore[arg-type]
    assert store.rows == [{"_id": "e|r|1"}]


def test_another_refusal_is_raised() -> None:
    with pytest.raises(OperationFailure):
        insert_new(Guarded(8000), "training_metrics", [{"_id": "e|r|1"}], checked=True)  # type: ignore[arg-type]
