"""The reference page of the wire, `docs/reference/events.md`, from the same classes that check the events."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from schemas import parse, times
from schemas.events import (
    Consumer,
    GpuReading,
    GpuShare,
    GridIntensity,
    NodeSample,
    RunControl,
    RunSummaryTotals,
    TrainingEvent,
)
from schemas.fields import ID_PATTERN, MAX_TEXT, Field, Kind, fields_of
from schemas.meanings import meaning_of
from schemas.reasons import REASONS
from schemas.topics import COMPACTED, DLQ, GRID_INTENSITY, NODE_METRICS, RUN_CONTROL, TRAINING_EVENTS

_KINDS: dict[Kind, str] = {
    Kind.ID: "id",
    Kind.TEXT: "text",
    Kind.NUMBER: "number",
    Kind.INTEGER: "integer",
    Kind.TIME: "time",
    Kind.CHOICE: "one of",
    Kind.REGION: "text",
    Kind.OBJECT: "object",
    Kind.TEXTS: "array of texts",
    Kind.ITEMS: "array of",
    Kind.FLAG: "true or false",
}

# topic, event class, key, who writes it
_TOPICS: tuple[tuple[str, type[object], str, str], ...] = (
    (TRAINING_EVENTS, TrainingEvent, "`run_id`", "tracker, replay, any client"),
    (NODE_METRICS, NodeSample, "`node_id`", "node agent"),
    (GRID_INTENSITY, GridIntensity, "`zone`", "grid producer"),
    (RUN_CONTROL, RunControl, "`run_id`", "budgets and the CLI; the run's tracker reads it"),
)

_PARTS: tuple[tuple[type[object], str], ...] = (
    (RunSummaryTotals, "Totals in a `run_summary` message"),
    (GpuReading, "An entry of `gpus` in `node.metrics`"),
    (Consumer, "An entry of `consumers` in `node.metrics`"),
    (GpuShare, "An entry of `gpus` in a consumer"),
)


def events_page() -> str:
    """The page, as Markdown."""
    blocks = [_intro(), _rules(), _identity(), _topics()]
    blocks += [_section(f"Topic `{topic}`", event_class) for topic, event_class, _, _ in _TOPICS]
    blocks += [_section(title, event_class) for event_class, title in _PARTS]
    blocks += [_dialect(), _reasons()]
    return "\n\n".join(blocks) + "\n"


def _intro() -> str:
    return (
        "# Events\n\n"
        "<!-- Written by `python -m schemas.generate` from schemas/; a test compares. Do not edit. -->\n\n"
        "What flows through Kafka: topics, fields, units, limits, and why a message is rejected.\n"
        "The same as JSON Schema: [`schemas/json/`](../../schemas/json)."
    )


def _rules() -> str:
    return f"""## Rules for every message

- One JSON object in UTF-8, at most {parse.MAX_MESSAGE_BYTES // 1024**2} MiB, nested at most \
{parse.MAX_DEPTH} levels, no key twice in an object.
- **Absent or null means not known, never zero.** An empty text says nothing either, and is read as absent.
- Numbers are finite JSON numbers, not texts. Integers fit 64 bits.
- **id**: matches `{ID_PATTERN}`. **text**: at most {MAX_TEXT:,} characters.
- **time**: RFC 3339 with any offset or `Z`; without a zone it is UTC; epoch seconds or milliseconds as \
a number. Finer epochs are rejected. Kept to the millisecond.
- `timestamp` is not before {times.rfc3339(times.EARLIEST)}, and at most \
{times.MAX_AHEAD.total_seconds() / 60:g} minutes after the Kafka record's own time, \
so that a replay gives the same verdict.
- Unknown fields are kept under `extra`, those of entries of arrays under the entry's `extra`; \
above {parse.MAX_EXTRA_BYTES // 1024} KiB of JSON in all the message is rejected.
- A free object with a key that is empty or has `$`, `.` or NUL is stored as an array of `{{k, v}}`."""


def _identity() -> str:
    return """## Identity

Two messages of one identity are one event, however far apart and whatever their bytes; the one with the
lowest offset stands. The identity is the `_id` in the ledger:

| where the message has | identity |
|---|---|
| `event_id` | `e\\|{run_id}\\|{event_id}` |
| else `producer_id` and `sequence` | `s\\|{run_id}\\|{producer_id}\\|{sequence}` |
| else | `h\\|` and the SHA-256 of its bytes, in hexadecimal |

In `node.metrics` the `node_id` stands in the place of the `run_id`. A `producer_id` is new for every process
start, so that a restarted producer may count from 0 again."""


def _topics() -> str:
    rows = [
        (f"`{topic}`{' (compacted)' if topic in COMPACTED else ''}", key, writer, _doc(event_class))
        for topic, event_class, key, writer in _TOPICS
    ]
    rows.append((f"`{DLQ}`", "source coordinates", "stream", "Rejected messages: their original bytes."))
    return "## Topics\n\n" + table(("topic", "key", "who writes", "what"), rows)


def _doc(event_class: type[object]) -> str:
    return (event_class.__doc__ or "").strip().splitlines()[0].partition(": topic")[0].rstrip(".") + "."


def _section(title: str, event_class: type[object]) -> str:
    rows = [_row(event_class, field) for field in fields_of(event_class)]
    return f"## {title}\n\n{_doc(event_class)}\n\n" + table(
        ("field", "kind", "unit", "limits", "meaning"), rows
    )


def _row(event_class: type[object], field: Field) -> Sequence[str]:
    spec = field.spec
    kind = _KINDS[spec.kind]
    if field.item is not None:
        kind += f" {field.item.__name__}"
    if spec.choices:
        kind += " " + ", ".join(f"`{choice}`" for choice in spec.choices)
    name = f"**`{field.name}`** (required)" if field.required else f"`{field.name}`"
    meaning = meaning_of(event_class, field.name) + _default(event_class, field)
    return (name, kind, spec.unit.value if spec.unit else "", _limits(field), meaning)


def _limits(field: Field) -> str:
    spec = field.spec
    if spec.max_items is not None:
        return f"at most {spec.max_items:,} {'keys' if spec.kind is Kind.OBJECT else 'entries'}"
    if spec.minimum is not None and spec.maximum is not None:
        return f"{spec.minimum:g} to {spec.maximum:g}"
    return "" if spec.minimum is None else f"≥ {spec.minimum:g}"


def _default(event_class: Any, field: Field) -> str:
    declared = next(f for f in dataclasses.fields(event_class) if f.name == field.name)
    unset = field.required or declared.default is None or field.name == "event_type"
    return "" if unset else f"; absent means `{declared.default}`"


def _dialect() -> str:
    words: dict[str, list[str]] = {}
    for word, status in parse.STATUS_WORDS.items():
        words.setdefault(status, []).append(f"`{word}`")
    rows = [(f"`{status}`", ", ".join(found)) for status, found in words.items()]
    return (
        "## The `run_summary` dialect\n\n"
        "A message with `event_type` `run_summary` is read as `run_finished`. Its totals (above) are kept\n"
        "under `reported_totals` for the audit and are never added to the metrics' sum.\n"
        "Words for `status`, in either case:\n\n" + table(("status", "words"), rows)
    )


def _reasons() -> str:
    rows = [(f"`{code}`", text) for code, text in REASONS.items()]
    return (
        "## Reason codes\n\n"
        "A rejected message is kept in `rejected_events` with its bytes, and goes to "
        f"`{DLQ}`; its reason is one of:\n\n" + table(("code", "meaning"), rows)
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a `|` in a cell comes escaped already or is escaped here."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\\|", "|").replace("|", "\\|")
