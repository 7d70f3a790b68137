"""Write the derived schemas to `schemas/json/`; a test regenerates them and compares.

`python -m schemas.generate`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from schemas.derive import EVENTS, json_schema, spark_schema, validator

FOLDER = Path(__file__).parent / "json"


def derived() -> dict[str, str]:
    """File name -> text of every derived schema."""
    texts: dict[str, str] = {}
    for topic, event_class in EVENTS.items():
        made = {
            f"{topic}.schema.json": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                **json_schema(event_class),
            },
            f"{topic}.spark.json": spark_schema(event_class),
            f"{topic}.validator.json": validator(event_class),
        }
        texts.update(
            {name: json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for name, schema in made.items()}
        )
    return texts


def main() -> int:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in derived().items():
        (FOLDER / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
