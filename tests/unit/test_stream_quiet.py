"""A batch that was asked to stop leaves no traceback; one that fails does."""

from __future__ import annotations

import logging
from unittest.mock import MagicMock

import pytest

from schemas.errors import PipelineError
from spark_jobs import quiet
from spark_jobs.store import Stopped


def record_of(error: Exception | None) -> logging.LogRecord:
    told = None if error is None else (type(error), error, None)
    return logging.LogRecord(quiet.PROXY, logging.ERROR, __file__, 1, "an exception", (), told)


def test_a_stop_that_was_asked_for_is_not_logged_by_python_nor_by_spark() -> None:
    spark = MagicMock()
    log4j = spark._jvm.org.apache.logging.log4j
    assert not quiet.QuietStop(spark).filter(record_of(Stopped("asked to stop before batch 7")))
    log4j.core.config.Configurator.setLevel.assert_called_once_with(quiet.QUERIES, log4j.Level.OFF)


@pytest.mark.parametrize("error", [None, PipelineError("the store refused"), ValueError("a bug")])
def test_any_other_error_is_logged_by_both(error: Exception | None) -> None:
    spark = MagicMock()
    assert quiet.QuietStop(spark).filter(record_of(error))
    spark._jvm.org.apache.logging.log4j.core.config.Configurator.setLevel.assert_not_called()


def test_py4j_logs_through_the_filter(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(quiet.PROXY)
    before = list(logger.filters)
    try:
        quiet.stop_quietly(MagicMock())
        for error in (Stopped("asked to stop"), ValueError("a bug")):
            logger.error("the proxy failed", exc_info=error)
    finally:
        logger.filters[:] = before
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("a bug",)]
