"""Write what is derived from the event classes: `schemas/json/` and `docs/reference/events.md`.

`python -m schemas.generate`; a test regenerates everything and compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from schemas.derive import EVENTS, json_schema, spark_schema, validator
from schemas.reference import events_page

FOLDER = Path(__file__).parent / "json"
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "events.md"


def derived() -> dict[Path, str]:
    """File -> text of everything derived."""
    texts: dict[Path, str] = {PAGE: events_page()}
    for topic, event_class in EVENTS.items():
        made = {
            f"{topic}.schema.json": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                **json_schema(event_class),
            },
            f"{topic}.spark.json": spark_schema(event_class),
            f"{topic}.validator.json": validator(event_class),
        }
        for name, schema in made.items():
            texts[FOLDER / name] = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    return texts


def main() -> int:
    """Write all files."""
    for path, text in derived().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
