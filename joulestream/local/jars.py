"""Fetches the pinned jars with the Ivy that ships inside pyspark, and checks every one's SHA-256."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.sax.saxutils import quoteattr

import platformdirs

from conf.settings import APP, Settings
from joulestream.local.java import Java
from joulestream.local.lock import held
from schemas.errors import PipelineError, RetryableError
from spark_jobs.object_store import JAR_SET, is_s3

LOCK_FILE = Path(__file__).resolve().parents[2] / "conf" / "jars.lock"
SETS = ("spark", "kafka")
SETTINGS_VARIABLE = "JOULE_IVY_SETTINGS"
_BLOCK_BYTES = 1 << 20

Say = Callable[[str], None]


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    set: str
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def pinned(file: Path = LOCK_FILE, sets: Collection[str] = SETS) -> tuple[Jar, ...]:
    """The list in `conf/jars.lock`, of these sets."""
    lines = [line.split() for line in file.read_text().splitlines() if line and not line.startswith("#")]
    jars = []
    for name, coordinates, sha256 in lines:
        group, artifact, version = coordinates.split(":")
        if name in sets:
            jars.append(Jar(name, group, artifact, version, sha256))
    return tuple(jars)


def jars_root() -> Path:
    """Folder of the jar sets; a cache, shared by all checkouts of the user."""
    return Path(platformdirs.user_cache_dir(APP)) / "jars"


def jar_paths(name: str) -> list[Path]:
    """Where the jars of one set are, or will be."""
    return [jars_root() / name / jar.name for jar in pinned(sets=(name,))]


def sets_for(settings: Settings) -> tuple[str, ...]:
    """The sets that a stream of these settings needs, with a broker of its own."""
    return (*SETS, JAR_SET) if is_s3(settings.checkpoint_root) else SETS


def missing_jars(root: Path | None = None, sets: Collection[str] = SETS) -> list[Jar]:
    """The pinned jars of these sets that are not in the cache, or not as they should be."""
    folder = root or jars_root()
    return [jar for jar in pinned(sets=sets) if not _intact(folder / jar.set / jar.name, jar.sha256)]


def ensure_jars(java: Java, say: Say, sets: Collection[str] = SETS) -> Path:
    """Have all pinned jars of these sets in the cache; returns its folder.

    Only what is missing is fetched, so an interrupted fetch goes on where it stopped.
    Raises RetryableError if the network fails, PipelineError if a jar is not the pinned one.
    """
    root = jars_root()
    with held(root / ".lock", say, "another process fetches the jars"):
        wanted = missing_jars(root, sets)
        if wanted:
            say(f"fetching {len(wanted)} of {len(pinned(sets=sets))} jars into {root}")
            _fetch(java, root, wanted, say)
    return root


def _fetch(java: Java, root: Path, wanted: list[Jar], say: Say) -> None:
    with _staging(root) as staging:
        description = staging / "ivy.xml"
        description.write_text(ivy_description(wanted))
        output = _run_ivy(java, root, staging, description, wanted, say)
        bad = _take_over(wanted, staging, root)
    if bad:
        _forget(root, bad)
        names = ", ".join(jar.name for jar in bad)
        raise PipelineError(
            f"fetched {names}, whose SHA-256 is not the pinned one: delete {root} and try again"
        )
    still = [jar for jar in wanted if not _intact(root / jar.set / jar.name, jar.sha256)]
    if still:
        reason = next((line.strip() for line in output if "not found" in line or "error" in line.lower()), "")
        raise RetryableError(
            f"{len(still)} of {len(wanted)} jars could not be fetched, such as {still[0].name} ({reason}): "
            f"check the network and try again, or name your mirror's Ivy settings in {SETTINGS_VARIABLE}"
        )


def ivy_description(jars: list[Jar]) -> str:
    """An Ivy module that wants exactly these jars and nothing that they depend on."""
    sets = sorted({jar.set for jar in jars})
    confs = "".join(f"<conf name={quoteattr(name)}/>" for name in sets)
    wants = "".join(
        f"<dependency org={quoteattr(jar.group)} name={quoteattr(jar.artifact)} rev={quoteattr(jar.version)} "
        f'conf={quoteattr(jar.set + "->master")} transitive="false"/>\n'
        for jar in jars
    )
    return (
        f'<ivy-module version="2.0"><info organisation="{APP}" module="jars"/>'
        f"<configurations>{confs}</configurations>\n<dependencies>\n{wants}"
        # The broker's and Spark's versions of one library live side by side, in sets of their own.
        '<conflict manager="all"/></dependencies></ivy-module>\n'
    )


def _run_ivy(
    java: Java, root: Path, staging: Path, description: Path, wanted: list[Jar], say: Say
) -> list[str]:
    settings = os.environ.get(SETTINGS_VARIABLE)
    command = [
        java.executable,
        f"-Divy.default.ivy.user.dir={root / '.ivy'}",
        "-jar",
        str(_ivy_jar()),
        *(["-settings", settings] if settings else []),
        *("-ivy", str(description), "-cache", str(root / ".ivy" / "cache")),
        *("-confs", *sorted({jar.set for jar in wanted})),
        *("-retrieve", str(staging / "[conf]" / "[artifact]-[revision].[ext]")),
    ]
    lines = []
    done = 0
    # A folder of its own, so that nothing named ivy.xml nearby is read.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=staging
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if "[SUCCESSFUL ]" in line:
                done += 1
                say(f"jar {done} of {len(wanted)}: {line.split('!')[-1].split('(')[0].strip()}")
    return lines


def _take_over(wanted: list[Jar], staging: Path, root: Path) -> list[Jar]:
    """Move what came and is right to its place; returns those that came and are wrong."""
    bad = []
    for jar in wanted:
        came = staging / jar.set / jar.name
        if not came.is_file():
            continue
        if _intact(came, jar.sha256):
            (root / jar.set).mkdir(exist_ok=True)
            came.replace(root / jar.set / jar.name)
        else:
            bad.append(jar)
    return bad


def _forget(root: Path, jars: list[Jar]) -> None:
    for jar in jars:
        shutil.rmtree(root / ".ivy" / "cache" / jar.group / jar.artifact, ignore_errors=True)


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    folder = root / f".staging-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ivy_jar() -> Path:
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise PipelineError(
            "pyspark is not installed, and the jars are fetched with its Ivy: run `./joule doctor`"
        )
    found = sorted((Path(spec.origin).parent / "jars").glob("ivy-*.jar"))
    if not found:
        raise PipelineError(
            f"no ivy-*.jar beside {spec.origin}: reinstall pyspark (delete .venv, run ./joule)"
        )
    return found[-1]


def _sha256(file: Path) -> str:
    """Of a file that may be larger than one wants in memory. Raises OSError."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _intact(file: Path, sha256: str) -> bool:
    try:
        return _sha256(file) == sha256
    except OSError:
        return False
