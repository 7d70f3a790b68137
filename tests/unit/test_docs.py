"""What the pages say: links lead somewhere, examples are accepted, defaults are the code's, nothing of one machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import platformdirs.macos
import platformdirs.unix
import pytest
from pydantic import SecretStr

from conf.settings import APP, SECTIONS, Settings, load_settings
from joulestream.cli import VERBS
from schemas import topics
from schemas.parse import parse_training
from tests.documentation import ROOT, blocks, names_in, rows, section, text_of

# SHA-256 of https://www.apache.org/licenses/LICENSE-2.0.txt
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
OPENING = (
    "> Every number is an amount of energy over an interval of event time, measured on a device, charged to a\n"
    "> run, and traceable to the events that it came from.\n"
)
# Names that look like a setting: topics, and files of code.
NOT_SETTINGS = {*topics.ALL, "stream.py", "tracker.py"}
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the checkout that git keeps, or would keep; without git, those of the known folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        names = [path for path in ROOT.rglob("*") if not path.relative_to(ROOT).parts[0].startswith(".")]
    return tuple(path for path in names if path.is_file())


def pages() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The names that code hosts give to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_of_every_page_leads_somewhere() -> None:
    wrong = []
    for page in pages():
        for target in _LINK.findall(prose(page)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
    assert wrong == []


def test_the_index_names_every_page() -> None:
    listed = {(ROOT / "docs" / target).resolve() for target in _LINK.findall(text_of("docs/index.md"))}
    of_docs = {page for page in pages() if page.is_relative_to(ROOT / "docs")}
    left_out = {
        page
        for page in of_docs - listed
        if page.parent.name not in ("adr", "runbooks") and page.name != "index.md"
    }
    assert left_out == set()


def test_the_readme_begins_with_the_two_commands() -> None:
    (language, commands), *_ = blocks(text_of("README.md"))
    assert language == "bash"
    assert [line.split("#")[0].strip() for line in commands.splitlines()] == ["./joule up", "./joule test"]


def test_the_architecture_opens_with_the_sentence_of_the_design() -> None:
    text = text_of("ARCHITECTURE.md")
    assert text.startswith(f"# Architecture\n\n{OPENING}")
    assert len(text.splitlines()) < 80


def test_the_licence_is_the_unmodified_text() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_notice_names_the_source_of_the_carbon_table() -> None:
    table = json.loads((ROOT / "schemas/data/grid_intensity.json").read_text("utf-8"))
    version = re.search(r"codecarbon [\d.]+", table["source"])
    assert version is not None
    assert version[0] in text_of("NOTICE")


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for name in [name for name in os.environ if name.startswith("JOULE_")]:
        monkeypatch.delenv(name)
    return load_settings({"data_dir": tmp_path})


def as_in_the_table(value: object, setting: str) -> set[str]:
    """How a default may be written."""
    if value is None:
        return {"for ever"}
    if isinstance(value, SecretStr):
        return {value.get_secret_value()}
    if isinstance(value, str):
        return {value}
    unit = {"days": "days", "s": "s", "mib": "MiB", "port": ""}[setting.rpartition("_")[2].rpartition(".")[2]]
    text = f"{value:g} {unit}".strip()
    return {text, f"port {text}", f"every {text}", f"{text} (as soon as possible)"}


def test_the_table_of_defaults_is_that_of_the_code(defaults: Settings) -> None:
    table = [(cells[1], *names_in(cells[2])) for cells in rows(section(text_of("README.md"), "## Defaults"))]
    stated = {setting: default for default, setting in table if setting != "data_dir"}
    for setting, default in stated.items():
        part, _, key = setting.partition(".")
        assert part in SECTIONS
        assert default in as_in_the_table(getattr(getattr(defaults, part), key), setting), setting
    needed = {"dashboard.port", "kafka.bootstrap", "mongodb.uri"}
    needed |= {"stream.window_s", "stream.watermark_s", "stream.trigger_s"}
    for part in SECTIONS:
        keys = type(getattr(defaults, part)).model_fields
        needed |= {f"{part}.{key}" for key in keys if key.endswith("retention_days")}
    assert needed <= stated.keys()


def test_the_data_folders_of_the_table_are_those_of_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    table = rows(section(text_of("README.md"), "## Defaults"))
    stated = [names_in(cells[1])[0] for cells in table if names_in(cells[2]) == ["data_dir"]]
    systems = (platformdirs.unix.Unix(APP), platformdirs.macos.MacOS(APP))
    home = str(Path.home())
    assert stated == [system.user_data_dir.replace(home, "~") for system in systems]


PAGES_WITH_EVENTS = ("docs/how-to/track-from-any-language.md",)


@pytest.mark.parametrize("page", PAGES_WITH_EVENTS)
def test_every_event_that_a_page_shows_is_accepted(page: str) -> None:
    shown = [content for _, content in blocks(text_of(page), "json")]
    assert shown
    for content in shown:
        for line in content.splitlines():
            parsed = parse_training(line.encode(), datetime(2026, 1, 1, tzinfo=timezone.utc))
            assert "extra" not in parsed.doc


def test_no_file_holds_a_path_or_a_registry_of_one_machine() -> None:
    index = os.environ.get("PIP_INDEX_URL", "")
    hosts = [match[1] for match in re.finditer(r"//(?:[^@/]*@)?([^/:]+)", index)]
    # Put together here, so that this file does not hold them itself.
    hosts += [
        "repo1.maven" + ".org",
        "repo.maven" + ".apache.org",
        "pypi" + ".org",
        "files.pythonhosted" + ".org",
    ]
    forbidden = [text.encode() for text in (f"{ROOT}/", f"{Path.home()}/", *hosts)]
    found = [
        f"{path.relative_to(ROOT)}: {text.decode()}"
        for path in tracked()
        for text in forbidden
        if text in path.read_bytes()
    ]
    assert found == []


def code_of(page: Path) -> str:
    """What a page shows as code: fenced blocks, indented ones and spans."""
    text = page.read_text("utf-8")
    spans = [*(content for _, content in blocks(text)), *re.findall(r"^ {4}\S.*$", text, re.MULTILINE)]
    return "\n".join([*spans, *names_in(prose(page))])


def test_every_command_on_a_page_is_a_verb() -> None:
    used = {
        (str(page.relative_to(ROOT)), verb)
        for page in pages()
        for verb in re.findall(r"(?:^|\s|/)joule ([a-z][a-z0-9]*)", code_of(page), re.MULTILINE)
    }
    assert used
    assert {pair for pair in used if pair[1] not in VERBS} == set()


def test_every_setting_on_a_page_exists(defaults: Settings) -> None:
    keys = {part: type(getattr(defaults, part)).model_fields.keys() for part in SECTIONS}
    dotted = re.compile(rf"(?<![\w./$])({'|'.join(SECTIONS)})\.([a-z_]+)(?![\w(.])")
    variable = re.compile(rf"JOULE_({'|'.join(SECTIONS).upper()})_([A-Z_]+)\b")
    wrong = [
        f"{page.relative_to(ROOT)}: {part}.{key}"
        for page in pages()
        for pattern in (dotted, variable)
        for part, key in pattern.findall(code_of(page))
        if key.lower() not in keys[part.lower()] and f"{part}.{key}" not in NOT_SETTINGS
    ]
    assert wrong == []
