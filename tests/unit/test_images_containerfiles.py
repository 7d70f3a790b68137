"""Rules that every Containerfile keeps; each rule is seen to refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from joulestream.images.catalogue import BASE, IMAGES
from tests.documentation import ROOT

FOLDER = ROOT / "images"
FILES = sorted(FOLDER.glob("*.Containerfile"))
Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """A Containerfile as (word, rest), without comments, with continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest)
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def final_stage(all_of: list[Instruction]) -> list[Instruction]:
    last = max(number for number, (word, _) in enumerate(all_of) if word == "FROM")
    return all_of[last:]


def runs_as_185(all_of: list[Instruction]) -> str | None:
    users = [rest for word, rest in final_stage(all_of) if word == "USER"]
    return None if users == ["185:185"] else f"USER is {users}, expected 185:185 once"


def base_is_pinned_by_tag(all_of: list[Instruction]) -> str | None:
    bases = [rest for word, rest in all_of if word == "ARG" and rest.startswith("BASE=")]
    if bases != [f"BASE={BASE}"] or not re.fullmatch(r"[a-z.]+/[a-z/]+:3\.\d+-[a-z-]+", BASE):
        return f"base {bases}, expected one default, {BASE}, with a tag that says its version"
    odd = [rest for word, rest in all_of if word == "FROM" and rest.split(" AS ")[0] != "${BASE}"]
    return f"FROM {odd}, expected ${{BASE}}" if odd else None


def names_no_latest(all_of: list[Instruction]) -> str | None:
    found = [rest for word, rest in all_of if word in ("FROM", "ARG", "COPY") and ":latest" in rest]
    return f"latest: {found}" if found else None


def downloads_nothing(all_of: list[Instruction]) -> str | None:
    programs = r"(?<!-)\b(curl|wget|pip3?|apt(-get)?|apk|git|ivy)\b|https?://"
    found = [
        f"{word} {rest}"
        for word, rest in all_of
        if word == "ADD" or (word == "RUN" and re.search(programs, rest))
    ]
    return f"fetches while it is built: {found}" if found else None


def holds_no_secret(all_of: list[Instruction]) -> str | None:
    names = r"(?i)(password|secret|token|credential|api_?key)"
    found = [rest for word, rest in all_of if word in ("ENV", "ARG", "LABEL") and re.search(names, rest)]
    return f"a secret in {found}" if found else None


def checks_its_health(all_of: list[Instruction]) -> str | None:
    found = [rest for word, rest in final_stage(all_of) if word == "HEALTHCHECK"]
    return (
        None
        if len(found) == 1 and "CMD [" in found[0]
        else f"HEALTHCHECK is {found}, expected one with a command"
    )


def says_what_it_is(all_of: list[Instruction]) -> str | None:
    labels = " ".join(rest for word, rest in final_stage(all_of) if word == "LABEL")
    wanted = ("title", "description", "version", "revision", "licenses")
    missing = [name for name in wanted if f"org.opencontainers.image.{name}=" not in labels]
    return f"labels missing: {missing}" if missing else None


def starts_from_a_list(all_of: list[Instruction]) -> str | None:
    """A shell as process 1 would not pass SIGTERM on."""
    found = [
        rest
        for word, rest in final_stage(all_of)
        if word in ("CMD", "ENTRYPOINT") and not rest.startswith("[")
    ]
    commands = [word for word, _ in final_stage(all_of) if word == "CMD"]
    return None if commands == ["CMD"] and not found else f"CMD {commands}, as shell text {found}"


def copies_only_from_the_first_stage(all_of: list[Instruction]) -> str | None:
    found = [
        rest for word, rest in final_stage(all_of) if word == "COPY" and not rest.startswith("--from=tree ")
    ]
    return f"copied into the image past the checks: {found}" if found else None


RULES: tuple[Callable[[list[Instruction]], str | None], ...] = (
    runs_as_185,
    base_is_pinned_by_tag,
    names_no_latest,
    downloads_nothing,
    holds_no_secret,
    checks_its_health,
    says_what_it_is,
    starts_from_a_list,
    copies_only_from_the_first_stage,
)
BREACHES = {
    "runs_as_185": ("USER 185:185", "USER root"),
    "base_is_pinned_by_tag": (f"BASE={BASE}", "BASE=docker.io/library/python"),
    "names_no_latest": (f"BASE={BASE}", "BASE=docker.io/library/python:latest"),
    "downloads_nothing": (
        "COPY code/ /opt/joulestream/",
        "ADD https://example.org/code.tar /opt/joulestream/",
    ),
    "holds_no_secret": ("ARG VERSION=0.1.0", "ARG DB_PASSWORD=hunter2"),
    "checks_its_health": ("HEALTHCHECK", "# HEALTHCHECK"),
    "says_what_it_is": ("org.opencontainers.image.revision", "revision"),
    "starts_from_a_list": ('CMD ["', 'CMD sh -c "["'),
    "copies_only_from_the_first_stage": ("COPY --from=tree /opt/venv", "COPY venv"),
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_containerfile_keeps_the_rule(file: Path, rule: Callable[[list[Instruction]], str | None]) -> None:
    assert rule(instructions(file.read_text("utf-8"))) is None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_breach_of_the_rule_is_found(rule: Callable[[list[Instruction]], str | None]) -> None:
    text = (FOLDER / "dashboard.Containerfile").read_text("utf-8")
    good, bad = BREACHES[rule.__name__]
    assert good in text
    assert rule(instructions(text.replace(good, bad))) is not None


def test_every_image_has_its_containerfile_and_every_file_its_image() -> None:
    assert [file.name.split(".")[0] for file in FILES] == sorted(image.name for image in IMAGES)


def test_the_embedded_store_is_not_published() -> None:
    assert {image.name for image in IMAGES if not image.published} == {"store", "kafka"}


def test_a_jar_that_is_not_the_pinned_one_ends_the_build(tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("finish", FOLDER / "finish.py")
    assert spec is not None
    assert spec.loader is not None
    finish = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(finish)
    (tmp_path / "kafka-clients-3.9.1.jar").write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"kafka-clients-3\.9\.1\.jar has SHA-256"):
        finish.check_jars(tmp_path, ROOT / "conf" / "jars.lock")
