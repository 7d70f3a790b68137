"""Builds the images with docker, podman or buildah, whichever is there."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from joulestream import __version__
from joulestream.images.catalogue import BASE, Image
from joulestream.images.staging import stage
from joulestream.local.process import ROOT
from schemas.errors import PipelineError

Say = Callable[[str], None]

TOOLS = ("docker", "podman", "buildah")


def find_tool(wanted: str) -> str:
    """The tool that builds: the one that is named, or the first that is installed. Raises PipelineError."""
    candidates = TOOLS if wanted == "auto" else (wanted,)
    for name in candidates:
        if shutil.which(name):
            return name
    raise PipelineError(
        f"found none of {', '.join(candidates)}, which build images: install one (Debian and Ubuntu: "
        "apt-get install buildah), or name another with --tool"
    )


@dataclass(frozen=True)
class Build:
    """How images are built. `arguments` go to the tool before the context, as they are."""

    tool: str
    tag: str = __version__
    base: str = BASE
    pull: bool = True
    from_environment: bool = False
    global_arguments: Sequence[str] = field(default=())
    arguments: Sequence[str] = field(default=())
    more_jars: Sequence[str] = field(default=())

    def command(self, image: Image, context: Path) -> list[str]:
        """The tool's command for one image."""
        start = [self.tool, *self.global_arguments, "bud" if self.tool == "buildah" else "build"]
        # Podman and buildah write OCI images, which know no health check, unless told otherwise.
        form = [] if self.tool == "docker" else ["--format", "docker"]
        pull = [] if self.pull else ["--pull=false" if self.tool == "docker" else "--pull-never"]
        return [
            *(*start, *form, *pull, *self.arguments),
            *("--build-arg", f"BASE={self.base}", "--build-arg", f"VERSION={self.tag}"),
            *("--build-arg", f"REVISION={revision()}"),
            *("--file", str(context / f"{image.name}.Containerfile"), "--tag", image.tagged(self.tag)),
            str(context),
        ]


def build(images: Sequence[Image], how: Build, folder: Path, say: Say) -> list[str]:
    """Build images one after the other; returns their full names. Raises PipelineError."""
    names = []
    for number, image in enumerate(images, 1):
        began = time.monotonic()
        say(f"[{number}/{len(images)}] {image.tagged(how.tag)}")
        context = stage(image, folder, say, how.from_environment, how.more_jars)
        say(f"{image.name}: building with {how.tool}")
        done = subprocess.run(how.command(image, context), check=False)
        if done.returncode != 0:
            raise PipelineError(
                f"{how.tool} could not build {image.name} (see above); its context is {context}"
            )
        shutil.rmtree(context)
        names.append(image.tagged(how.tag))
        say(f"{image.name}: done in {time.monotonic() - began:.0f} s")
    return names


def revision() -> str:
    """The commit of this checkout, or `unknown`; `-dirty` where files differ from it."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--match=-"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"
