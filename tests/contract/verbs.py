"""What the tests of the verbs share."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from joulestream.cli import app
from schemas.errors import PipelineError

AT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
# A name that no terminal, spreadsheet or page may act on.
HOSTILE = '=HYPERLINK("x") \x1b[31m [bold]\u202e'


def joule(*arguments: object, code: int = 0) -> Result:
    """What a verb printed, which must end with this code. Raises the PipelineError that it raises."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, PipelineError):
        raise result.exception
    assert result.exit_code == code, (result.output, result.exception)
    return result


def run_doc(run_id: str, **fields: Any) -> dict[str, Any]:
    """A run's summary as the stream writes it."""
    return {"_id": run_id, "run_id": run_id, "status": "completed", "last_event_at": AT, **fields}
