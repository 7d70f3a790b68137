"""The context of an image: packages, our code and jars, each checked against its lock, in one folder.

All that comes from a network comes here, once, so the build itself needs none and any tool can do it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from joulestream.images.catalogue import PYTHON, Image
from joulestream.images.locked import Pin, locked_for
from joulestream.local.jars import ensure_jars, jar_paths
from joulestream.local.java import find_java
from joulestream.local.process import ROOT
from schemas.errors import PipelineError, RetryableError

Say = Callable[[str], None]

NEWEST_GLIBC = 36  # of Debian 12: wheels for a later one do not load there
_NOT_CODE = shutil.ignore_patterns("__pycache__", "*.pyc", ".streamlit/secrets.toml")
# Parts of packages that nothing imports: examples, data of examples, tests, headers for compilers.
_UNUSED = ("pyspark/examples", "pyspark/data", "pandas/tests", "pyarrow/tests", "pyarrow/include")
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def machine() -> str:
    """This machine's processor, as wheels name it. Raises PipelineError for one that has no images."""
    found = platform.machine().lower()
    if found not in _MACHINES:
        raise PipelineError(f"found a processor {found}; images are built for {', '.join(_MACHINES)}")
    return _MACHINES[found]


def stage(
    image: Image, folder: Path, say: Say, from_environment: bool = False, more_jars: Collection[str] = ()
) -> Path:
    """Make the context of an image in `folder`/name, anew; returns it.

    Packages are fetched by pip (hashes checked), or copied out of the running environment where
    `from_environment` says so. Of the image's optional jars it holds those that `more_jars` names.
    Raises RetryableError where the network fails, PipelineError otherwise.
    """
    context = folder / image.name
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    pins = locked_for(ROOT, image.extras, PYTHON, machine())
    fill(context / "site-packages", pins, say, from_environment)
    code = context / "code"
    for room in image.rooms:
        shutil.copytree(ROOT / room, code / room, ignore=_NOT_CODE)
    for name in ("LICENSE", "NOTICE"):
        shutil.copy2(ROOT / name, code / name)
    if image.jars:
        copy_jars(image.jars, context / "jars", say)
    for name in image.optional_jars:  # the folder is there in any case: the Containerfile copies it
        copy_jars([name] if name in more_jars else [], context / name, say)
    for name in ("finish.py", ".containerignore", f"{image.name}.Containerfile", *image.files):
        shutil.copy2(ROOT / "images" / name, context / name)
    return context


def fill(folder: Path, pins: Sequence[Pin], say: Say, from_environment: bool = False) -> None:
    """Put packages into a folder, each checked. Raises as `stage`."""
    folder.mkdir(parents=True)
    if from_environment:
        say(f"copying {len(pins)} packages out of {sys.prefix}")
        for pin in pins:
            copy_installed(pin, folder)
    else:
        say(f"fetching {len(pins)} packages")
        _fetch(pins, folder, folder.with_name("requirements.txt"))
    for unused in _UNUSED:
        shutil.rmtree(folder / unused, ignore_errors=True)


def copy_jars(sets: Sequence[str], folder: Path, say: Say) -> None:
    """Put these jar sets into a folder, out of the cache, which checks every one."""
    folder.mkdir(exist_ok=True)
    if sets:
        ensure_jars(find_java(), say, sets)
    for name in sets:
        for jar in jar_paths(name):
            shutil.copy2(jar, folder / jar.name)


def platforms(processor: str) -> list[str]:
    """The platform tags of wheels that run on the base image, the best first."""
    tags = [f"manylinux_2_{minor}_{processor}" for minor in range(NEWEST_GLIBC, 4, -1)]
    old = {"x86_64": ("manylinux2014", "manylinux2010", "manylinux1"), "aarch64": ("manylinux2014",)}
    return [*tags, *(f"{name}_{processor}" for name in old[processor]), f"linux_{processor}"]


def pip_command(target: Path, requirements: Path, processor: str) -> list[str]:
    """pip, for the image's Python and processor, whatever this machine's are."""
    tags = [part for tag in platforms(processor) for part in ("--platform", tag)]
    return [
        *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-compile"),
        *("--no-deps", "--require-hashes", "--target", str(target)),
        *("--implementation", "cp", "--python-version", PYTHON, *tags),
        *("-r", str(requirements)),
    ]


def _fetch(pins: Sequence[Pin], target: Path, requirements: Path) -> None:
    requirements.write_text("".join(f"{pin.line}\n" for pin in pins))
    done = subprocess.run(pip_command(target, requirements, machine()), stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise RetryableError(
            "pip could not fetch the packages of the lock file (see above): check the network and try again, or "
            "take them out of this environment with --from-environment"
        )
    shutil.rmtree(target / "bin", ignore_errors=True)  # scripts that name this machine's Python


def copy_installed(pin: Pin, target: Path) -> None:
    """Copy one installed package, file by file as its RECORD says, with the hashes in it checked.

    Raises PipelineError where it is not installed, in another version than the lock's, or was changed.
    """
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != PYTHON:
        raise PipelineError(f"this environment has Python {sys.version.split()[0]}; images need {PYTHON}")
    try:
        found = distribution(pin.name)
    except PackageNotFoundError:
        raise PipelineError(
            f"{pin.name} {pin.version} is not installed here: run ./joule, or fetch it"
        ) from None
    if found.version != pin.version:
        raise PipelineError(
            f"found {pin.name} {found.version} here, and the lock says {pin.version}: run ./joule, or fetch it"
        )
    for row in csv.reader((found.read_text("RECORD") or "").splitlines()):
        name, digest = row[0], row[1]
        if name.startswith(("..", "/")) or name.endswith(".pyc"):
            continue  # scripts, which name this environment's Python, and what Python compiled
        _copy_checked(found, name, digest, target / name)


def _copy_checked(found: Distribution, name: str, digest: str, target: Path) -> None:
    source = Path(str(found.locate_file(name)))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    kind, _, expected = digest.partition("=")
    if not expected:
        return
    content = hashlib.new(kind, target.read_bytes()).digest()
    if base64.urlsafe_b64encode(content).decode().rstrip("=") != expected:
        raise PipelineError(f"{source} is not as it was installed: delete .venv, run ./joule, try again")
