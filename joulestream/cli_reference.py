"""Writes docs/reference/cli.md from the commands themselves: `python -m joulestream.cli_reference`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer import Context
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from joulestream import cli

FILE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"
HEAD = f"""\
# The command line

<!-- Written by `python -m joulestream.cli_reference`; a test compares it with the commands. -->

`./joule VERB` in the checkout. Data goes to stdout (`--json` where it prints data), progress to stderr.
{cli.EPILOG}
"""


def page() -> str:
    """The whole page."""
    names = cli.LazyGroup().list_commands(None)
    parts = [HEAD]
    for name in names:
        parts.extend(_command(name, cli.load(name)))
    return "\n".join(parts)


def _command(name: str, command: TyperCommand | TyperGroup) -> Iterator[str]:
    level = "##" if " " not in name else "###"
    yield f"{level} `joule {name}`\n"
    yield inspect.cleandoc(command.help or "").replace("\f", "") + "\n"
    context = Context(get_command(cli.app), info_name=name)
    rows = [row for parameter in command.get_params(context) if (row := _parameter(parameter, context))]
    if rows:
        yield "| | |\n|---|---|\n" + "\n".join(rows) + "\n"
    if isinstance(command, TyperGroup):
        for verb, child in command.commands.items():
            yield from _command(f"{name} {verb}", child)  # type: ignore[arg-type]  # Typer makes these two kinds only


def _parameter(parameter: Any, context: Context) -> str | None:
    record = parameter.get_help_record(context)
    if record is None or "--help" in parameter.opts:
        return None
    shown, words = (re.sub(r"\s+", " ", text).replace("|", "\\|") for text in record)
    return f"| `{shown}` | {words} |"


if __name__ == "__main__":
    FILE.write_text(page())
