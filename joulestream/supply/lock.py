"""`requirements.lock`: every package with its version, the hashes of its files, and who needs it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import PipelineError

LOCK_FILE = Path(__file__).resolve().parents[2] / "requirements.lock"
ROOT = "joulestream"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Package:
    """One pinned package. `marker`: where it is installed; None is everywhere. `needed_by`: names of packages."""

    name: str
    version: str
    marker: str | None
    sha256: tuple[str, ...]
    needed_by: tuple[str, ...]

    @property
    def ref(self) -> str:
        """Its package URL (purl-spec, type pypi)."""
        return f"pkg:pypi/{self.name}@{self.version}"


def canonical(name: str) -> str:
    """A name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file: Path = LOCK_FILE) -> tuple[Package, ...]:
    """The packages of a lock. Raises PipelineError where it cannot be read, or where a package has no hash."""
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise PipelineError(
            f"{file} cannot be read ({type(error).__name__}); it lies in the checkout, not in the wheel"
        ) from None
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    packages = tuple(_package(block, file) for block in blocks if not block.startswith("#") and block.strip())
    if not packages:
        raise PipelineError(f"{file} pins nothing; write it anew with the command in its head")
    return packages


def _package(block: str, file: Path) -> Package:
    head, *rest = block.splitlines()
    found = _PIN.match(head)
    if found is None:
        raise PipelineError(f"{file}: {head!r} is no pin; expected name==version")
    hashes = tuple(_HASH.findall(block))
    if not hashes:
        raise PipelineError(f"{file}: {found['name']} has no SHA-256; write the lock with --generate-hashes")
    comments = " ".join(line.strip().lstrip("#").strip() for line in rest if line.lstrip().startswith("#"))
    needed_by = comments.removeprefix("via").replace(f"{ROOT} (setup.cfg)", ROOT).split()
    return Package(canonical(found["name"]), found["version"], found["marker"], hashes, tuple(needed_by))
