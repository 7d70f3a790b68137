"""What verbs print: data on stdout, as a table or as JSON; progress on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

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

PROSE_WIDTH = 32  # a column of words is not made narrower than this
COLUMN_GAP = 2
WIDEST = 10_000

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
    """Rows as a table on stdout; what is not known is left blank. `empty` is said where there are no rows.

    Nothing is ever cut off: half a number is another number, and half a name finds nothing. On a terminal, prose
    is wrapped where it is too wide; piped into a file or a tool a row is a line.
    """
    if not rows:
        say(empty)
        return
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = list(columns or dict.fromkeys(key for row in rows for key in row))
    on_terminal, needed = sys.stdout.isatty(), 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        texts = [cell(row.get(name)) for row in rows]
        width = max(map(cell_len, [name, *texts]))
        wraps = on_terminal and width > PROSE_WIDTH and any(" " in text for text in texts)
        least = PROSE_WIDTH if wraps else width
        needed += least + COLUMN_GAP
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        justify: Literal["right", "left"] = "right" if numeric else "left"
        table.add_column(name, justify=justify, no_wrap=not wraps, min_width=least, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row.get(name))) for name in shown))
    console = Console(width=None if on_terminal else WIDEST, soft_wrap=not on_terminal)
    console.width = max(console.width, needed)
    console.print(table)


def cell(value: Any) -> str:
    """A value as text for people: not known is blank, never zero; times to the second."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return str(_plain(value.replace(microsecond=0)))
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
