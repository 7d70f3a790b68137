"""The part of requirements.lock that an image needs: what its extras ask for, and what that asks for in turn.

The lock is for every platform and all extras; who wants a package is in its `# via` comments. What comes out
are lines for `pip install --require-hashes --no-deps`, with the markers decided for the image's Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from configparser import ConfigParser
from dataclasses import dataclass, field
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from schemas.errors import PipelineError

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))? \\$")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_VIA = re.compile(r"^    #(?: via)?\s+(?P<parent>[A-Za-z0-9._-]+)(?:\[[^]]*\])?")


@dataclass
class Pin:
    """One package of the lock: its version, its files' hashes, where it is for, and who wants it."""

    name: str
    version: str
    marker: Marker | None
    hashes: list[str] = field(default_factory=list)
    wanted_by: set[str] = field(default_factory=set)

    @property
    def line(self) -> str:
        """As pip reads it."""
        return f"{self.name}=={self.version} {' '.join(f'--hash={each}' for each in self.hashes)}"


def environment_of(python: str, machine: str) -> dict[str, str]:
    """The environment of markers (PEP 508) of CPython on Linux; `python` is such as 3.11."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }


def pins_of(lock: str) -> list[Pin]:
    """All packages of a lock file. Raises PipelineError for a line that is not understood."""
    pins: list[Pin] = []
    for line in lock.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        found = _PIN.match(line)
        if found:
            marker = Marker(found["marker"]) if found["marker"] else None
            pins.append(Pin(canonicalize_name(found["name"]), found["version"], marker))
        elif line.startswith("    --hash="):
            pins[-1].hashes.extend(_HASH.findall(line))
        elif line.startswith("    #"):
            parent = _VIA.match(line)
            if parent:
                pins[-1].wanted_by.add(canonicalize_name(parent["parent"]))
        else:
            raise PipelineError(
                f"requirements.lock has a line that is no pin, no hash and no comment: {line!r}"
            )
    return pins


def wanted(setup: str, extras: Iterable[str], environment: Mapping[str, str]) -> set[str]:
    """The packages that setup.cfg itself asks for with these extras."""
    parser = ConfigParser(interpolation=None)
    parser.read_string(setup)
    lines = parser["options"]["install_requires"].splitlines()
    for extra in extras:
        lines += parser["options.extras_require"][extra].splitlines()
    names: set[str] = set()
    for line in lines:
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(dict(environment)):
                names.add(canonicalize_name(requirement.name))
    return names


def locked_for(root: Path, extras: Iterable[str], python: str, machine: str) -> list[Pin]:
    """What the extras need, on CPython `python` on Linux, from the lock and setup.cfg in `root`."""
    environment = environment_of(python, machine)
    pins = {
        pin.name: pin
        for pin in pins_of((root / "requirements.lock").read_text("utf-8"))
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    names = wanted((root / "setup.cfg").read_text("utf-8"), extras, environment)
    missing = sorted(names - pins.keys())
    if missing:
        raise PipelineError(
            f"requirements.lock does not have {', '.join(missing)}: lock again (CONTRIBUTING.md)"
        )
    while True:
        more = {name for name, pin in pins.items() if pin.wanted_by & names} - names
        if not more:
            return [pins[name] for name in sorted(names)]
        names |= more
