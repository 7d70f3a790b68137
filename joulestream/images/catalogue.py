"""The images: which packages, which of our rooms and which jars each has."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import PipelineError
from spark_jobs.object_store import JAR_SET

REGISTRY = "docker.io/joulestream"
PYTHON = "3.11"  # of the base image; the packages are chosen for it
BASE = "docker.io/library/python:3.11-slim-bookworm"


@dataclass(frozen=True)
class Image:
    """One image. `extras` are those of setup.cfg, `files` lie in images/.

    `jars` are sets of conf/jars.lock; those of `optional_jars` are left out unless they are asked for.
    """

    name: str
    extras: tuple[str, ...]
    rooms: tuple[str, ...]
    jars: tuple[str, ...] = ()
    published: bool = True
    files: tuple[str, ...] = ()
    optional_jars: tuple[str, ...] = ()

    def tagged(self, tag: str) -> str:
        """Its full name."""
        return f"{REGISTRY}/{self.name}:{tag}"


_SHARED = ("schemas", "conf")

IMAGES = (
    Image(
        "stream",
        ("stream", "cli", "exporter", "otel", "java"),
        # The command line reads the store as the dashboard does.
        (*_SHARED, "spark_jobs", "producers", "dashboard", "joulestream"),
        ("spark",),
        optional_jars=(JAR_SET,),
    ),
    Image("producers", ("tracker", "demo"), (*_SHARED, "producers", "joulestream")),
    Image("dashboard", ("dashboard", "login"), (*_SHARED, "dashboard", "joulestream")),
    Image(
        "store",
        ("embedded-store",),
        (*_SHARED, "joulestream"),
        published=False,
    ),
    Image(
        "kafka",
        ("java",),
        (*_SHARED, "joulestream"),
        ("kafka",),
        published=False,
        files=("server.properties", "broker.sh"),
    ),
)


def image(name: str) -> Image:
    """The image of a name. Raises PipelineError that lists the names."""
    for each in IMAGES:
        if each.name == name:
            return each
    raise PipelineError(f"there is no image {name}; there are {', '.join(each.name for each in IMAGES)}")
