"""Write `docs/reference/settings.md` from the settings; a test regenerates it and compares.

`python -m conf.generate`
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from conf.sections import Section
from conf.settings import APP, CONFIG_FILE, SECTIONS, Settings, env_name

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"

_HEADS = ("setting", "environment", "default", "limits", "meaning")

_INTRO = f"""# Settings

<!-- Written by `python -m conf.generate` from the classes in conf/; a test compares. Do not edit. -->

Every process reads the same settings. Later ones win:

1. the defaults below;
2. the file that `JOULE_CONFIG` names, else `{CONFIG_FILE}` in the data folder (TOML: `[section]`, then `key = value`);
3. the environment: `JOULE_SECTION_KEY`; an empty variable counts as not set;
4. the flags of a command.

All problems are reported at once. A section or key that does not exist is refused; of the environment, other
`JOULE_` variables are left alone unless they nearly name a section. Secrets are never shown. In folders `~` is
the home folder. Names end in their unit."""


def settings_page() -> str:
    """The page, as Markdown."""
    blocks = [_INTRO, "## General\n\n" + _table([_general()])]
    for name in SECTIONS:
        section = Settings.model_fields[name].annotation
        assert isinstance(section, type) and issubclass(section, Section)  # noqa: S101, PT018 - all of them are
        blocks.append(
            f"## `[{name}]`\n\n{(section.__doc__ or '').strip()}\n\n" + _table(_rows(name, section))
        )
    return "\n\n".join(blocks) + "\n"


def _general() -> Sequence[str]:
    meaning = Settings.model_fields["data_dir"].description or ""
    return ("`data_dir`", f"`{env_name('data_dir')}`", f"of the system, for `{APP}`", "", meaning)


def _rows(name: str, section: type[Section]) -> Iterator[Sequence[str]]:
    schemas: Mapping[str, Mapping[str, Any]] = section.model_json_schema()["properties"]
    for key, field in section.model_fields.items():
        default = "host name" if field.default_factory else _default(field.default)
        path = f"{name}.{key}"
        limits = _limits(schemas[key])
        yield (f"`{key}`", f"`{env_name(path)}`", default, limits, field.description or "")


def _default(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, SecretStr):  # the default is no secret
        value = value.get_secret_value()
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _limits(schema: Mapping[str, Any]) -> str:
    """Bounds as the JSON Schema of a setting has them, also where the setting may be unset."""
    schema = next((kind for kind in schema.get("anyOf", ()) if kind["type"] != "null"), schema)
    if "pattern" in schema:
        return f"matches `{schema['pattern']}`"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} to {high:,}"
    if "exclusiveMinimum" in schema:
        return f"> {schema['exclusiveMinimum']:g}"
    return "" if low is None else f"≥ {low:g}"


def _table(rows: Iterator[Sequence[str]] | list[Sequence[str]]) -> str:
    lines = [_HEADS, ["---"] * len(_HEADS), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(settings_page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
