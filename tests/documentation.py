"""The Markdown of the project as tests read it: sections, tables, fenced blocks."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")


def text_of(path: str) -> str:
    """A page, by its path from the root."""
    return (ROOT / path).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading (such as `## Defaults`), to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        if line.rstrip() == heading:
            break
    else:
        raise AssertionError(f"there is no heading {heading!r}")
    found = []
    for line in lines:
        marks = len(line) - len(line.lstrip("#"))
        if line.startswith("#") and marks <= level:
            break
        found.append(line)
    return "".join(found)


def blocks(text: str, *languages: str) -> list[tuple[str, str]]:
    """The fenced blocks in order, as (language, content); only these languages, if any are named."""
    found = [(match[1], match[2]) for match in _FENCED.finditer(text)]
    return [pair for pair in found if not languages or pair[0] in languages]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables' lines, without headings and rulers; `\\|` is a bar inside a cell."""
    found: list[list[str]] = []
    previous: list[str] | None = None
    for line in text.splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            previous = None
        elif all(set(cell) <= set("-: ") for cell in cells):
            if previous is not None:
                found.remove(previous)
        else:
            found.append(cells)
            previous = cells
    return found


def names_in(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return _CODE.findall(cell)
