"""Licences of the installed packages, and the one rule: what is under the GPL is never a part of the project."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from joulestream.supply.lock import Package, canonical

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("schemas", "conf", "producers", "spark_jobs", "dashboard", "joulestream")
# Extras with programmes that are started as processes of their own: the document server, a Java runtime (GPL-2.0
# with the Classpath exception). Nobody has them who does not ask for them.
APART = ("embedded-store", "java")
# Of these no module may even be imported.
NEVER_IMPORTED = ("embedded-store",)
LONGEST = 80
_COPYLEFT = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|SSPL|EUPL)", re.IGNORECASE)
_LESSER = re.compile(r"\bLGPL|Lesser General Public|WITH .*exception", re.IGNORECASE)
_CLASSIFIER = "License :: "


@dataclass(frozen=True)
class Licence:
    """A package's licence in its own words; None is not known: it is not installed here, or does not say."""

    package: str
    text: str | None
    is_spdx: bool = False

    @property
    def binds_its_users(self) -> bool:
        """Whether it asks that what is made with the package be under the same licence."""
        return bool(self.text and _COPYLEFT.search(self.text) and not _LESSER.search(self.text))


def licence_of(package: Package) -> Licence:
    """The licence that the installed package of this very version states."""
    try:
        found = metadata.distribution(package.name)
    except metadata.PackageNotFoundError:
        return Licence(package.name, None)
    if found.version != package.version:
        return Licence(package.name, None)
    expressions = found.metadata.get_all("License-Expression")
    if expressions:
        return Licence(package.name, str(expressions[0]), is_spdx=True)
    return Licence(package.name, _described(found.metadata))


def _described(given: metadata.PackageMetadata) -> str | None:
    """The classifiers, else a short text (both older than PEP 639's expression)."""
    classifiers = [str(c) for c in given.get_all("Classifier") or () if str(c).startswith(_CLASSIFIER)]
    names = [name.rpartition(" :: ")[2] for name in classifiers if not name.endswith(":: OSI Approved")]
    if names:
        return " AND ".join(names)
    text = str((given.get_all("License") or [""])[0]).strip()
    return text if text and len(text) <= LONGEST and "\n" not in text else None


def faults(licences: Sequence[Licence], checkout: Path = CHECKOUT) -> list[str]:
    """What breaks the rule: a binding licence outside of the extras apart, or an import of what is apart."""
    apart = set(packages_of(APART, checkout))
    found = [
        f"{licence.package} is under {licence.text}, and not in the extra {' or '.join(APART)}: replace it"
        for licence in licences
        if licence.binds_its_users and licence.package not in apart
    ]
    modules = _modules(set(packages_of(NEVER_IMPORTED, checkout)))
    for file, module in imports(checkout):
        if module in modules:
            found.append(f"{file} imports {module}, which may only run as a process of its own")
    return found


def packages_of(names: Sequence[str], checkout: Path = CHECKOUT) -> list[str]:
    """Names of the packages in some extras."""
    config = ConfigParser()
    config.read(checkout / "setup.cfg", "utf-8")
    extras = config["options.extras_require"]
    lines = (line for extra in names for line in extras[extra].splitlines() if line.strip())
    return [canonical(re.split(r"[<>=!~ ;\[]", line.strip(), maxsplit=1)[0]) for line in lines]


def _modules(packages: set[str]) -> set[str]:
    """Top-level modules that packages bring; of one that is not installed, its name."""
    # Not `packages_distributions`: before Python 3.11 it sees only packages that list their modules.
    files = [
        file
        for found in metadata.distributions()
        if canonical(found.name) in packages
        for file in found.files or ()
        if file.suffix == ".py"
    ]
    brought = {file.parts[0].removesuffix(".py") for file in files}
    return brought | {name.replace("-", "_") for name in packages}


def imports(checkout: Path = CHECKOUT) -> Iterator[tuple[str, str]]:
    """Every import of the project's code: file, and top-level module."""
    for room in ROOMS:
        for file in sorted((checkout / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                yield from ((str(file.relative_to(checkout)), name.partition(".")[0]) for name in names)
