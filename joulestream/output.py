"""What verbs print: data on stdout, as a table or as JSON; progress on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Folder of the stack's data. Default: JOULE_DATA_DIR, else a folder of the user.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the data as JSON on stdout.")]
KafkaBootstrap = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Use this Kafka instead of the stack's.")
]
MongoUri = Annotated[
    str | None,
    typer.Option("--mongodb-uri", metavar="URI", help="Use this MongoDB instead of the stack's."),
]

OK = 0
ERROR = 1
USAGE = 2
NOT_RUNNING = 3
DEGRADED = 4
INTERRUPTED = 130

# Names come from clients: a terminal must not obey what stands in them (controls, and marks that turn text).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def say(text: str) -> None:
    """One line of progress, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_json(data: Any) -> None:
    """Data as JSON on stdout: times as RFC 3339 in UTC, bytes as hexadecimal digits."""
    sys.stdout.write(json.dumps(data, indent=2, default=_plain, ensure_ascii=False) + "\n")


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None, empty: str = "nothing to show"
) -> None:
    """Rows as a table on stdout; what is not known is left blank. `empty` is said where there are no rows."""
    if not rows:
        say(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = list(columns or dict.fromkeys(key for row in rows for key in row))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*(Text(cell(row.get(name))) for name in shown))
    # Piped into a file or a tool nothing is cut off.
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, soft_wrap=not sys.stdout.isatty()).print(table)


def cell(value: Any) -> str:
    """A value as text for people: not known is blank, never zero."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return str(_plain(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
