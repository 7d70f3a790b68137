"""The package for `spark-submit` by hand: code as a zip, mains, jars, options, and the packages that workers need."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from joulestream import __version__
from joulestream.cluster.cluster_mode import write_cluster_mode
from joulestream.images.catalogue import PYTHON, image
from joulestream.images.locked import locked_for
from joulestream.images.staging import fill, machine
from joulestream.local.jars import ensure_jars, jar_paths
from joulestream.local.java import find_java
from joulestream.local.process import ROOT

Say = Callable[[str], None]

ROOMS = ("schemas", "conf", "spark_jobs")
MAINS = {"stream": "stream.py", "reconcile": "reconcile.py", "retrain": "forecast/retrain.py"}
OPTIONS = ("spark-defaults.conf", "log4j2.properties")
CODE = f"joulestream-{__version__}.zip"
PACKAGES = f"joulestream-{__version__}-packages.tar.gz"
# Archives are the same, byte for byte, whenever they are made: the least date that a zip can have.
_DATE = (1980, 1, 1, 0, 0, 0)
_DATA = (".json", ".lock", ".conf", ".properties", ".toml", ".xml")


def make_package(
    folder: Path, say: Say, packages: bool = False, from_environment: bool = False
) -> list[Path]:
    """Write the package to `folder`; returns its files. With `packages`, the archive for workers without them, too.

    Raises PipelineError, or RetryableError where the network fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = [write_zip(folder / CODE)]
    for name, source in MAINS.items():
        made.append(Path(shutil.copyfile(ROOT / "spark_jobs" / source, folder / f"{name}.py")))
    made += [Path(shutil.copyfile(ROOT / "conf" / name, folder / name)) for name in OPTIONS]
    made += _jars(folder / "jars", say)
    made += write_cluster_mode(folder / "kubernetes")
    pins = locked_for(ROOT, image("stream").extras[:1], PYTHON, machine())
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{pin.line}\n" for pin in pins if pin.name != "pyspark"))
    made.append(requirements)
    if packages:
        staging = folder / ".packages"
        fill(staging, [pin for pin in pins if pin.name != "pyspark"], say, from_environment)
        made.append(_pack(staging, folder / PACKAGES))
        shutil.rmtree(staging)
    return made


def write_zip(target: Path) -> Path:
    """The code that driver and executors import, with the data files that it reads as package data."""
    draft = target.with_suffix(".part")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _code_files():
            entry = zipfile.ZipInfo(file.relative_to(ROOT).as_posix(), _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    return draft.replace(target)


def _code_files() -> Iterator[Path]:
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*")):
            if file.suffix == ".py" or (file.suffix in _DATA and file.is_file()):
                yield file


def _jars(folder: Path, say: Say) -> list[Path]:
    ensure_jars(find_java(), say)
    folder.mkdir(exist_ok=True)
    return [Path(shutil.copyfile(jar, folder / jar.name)) for jar in jar_paths("spark")]


def _pack(tree: Path, target: Path) -> Path:
    """The packages as an archive that Spark unpacks beside each executor (`--archives`)."""
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for entry in sorted(tree.iterdir()):
            archive.add(entry, entry.name)
    return target
