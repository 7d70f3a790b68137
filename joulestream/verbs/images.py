"""Container images: build them, look up published digests; the package for spark-submit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from joulestream.output import ERROR, OK, print_table, say

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Container images: build them, look up published digests; the package for spark-submit.",
)

Only = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this image; may be repeated.")]

WithS3 = Annotated[
    bool, typer.Option("--s3", help="Also the jars for checkpoints in an S3-compatible store (559 MB).")
]


@app.command("build")
def build_images(
    only: Only = None,
    tool: Annotated[str, typer.Option(help="docker, podman, buildah, or auto.")] = "auto",
    tag: Annotated[str | None, typer.Option(help="Tag of the images. Default: this version.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Base image with Python 3.11. Default: Debian's slim one.")
    ] = None,
    pull: Annotated[
        bool, typer.Option("--pull/--no-pull", help="Whether the base image may be fetched.")
    ] = True,
    from_environment: Annotated[
        bool,
        typer.Option("--from-environment", help="Copy the packages of this environment, fetch none."),
    ] = False,
    s3: WithS3 = False,
    global_arg: Annotated[
        list[str] | None, typer.Option(metavar="ARG", help="Goes to the tool before its verb.")
    ] = None,
    tool_arg: Annotated[
        list[str] | None, typer.Option(metavar="ARG", help="Goes to the tool after its verb.")
    ] = None,
    context_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the contexts are made. Default: build/images.")
    ] = None,
) -> None:
    """Build the images from this checkout: packages and jars from the lock files, each checked."""
    from joulestream import __version__
    from joulestream.images.building import Build, build, find_tool
    from joulestream.images.catalogue import BASE, IMAGES, image
    from joulestream.local.process import ROOT
    from spark_jobs.object_store import JAR_SET

    chosen = [image(name) for name in only] if only else list(IMAGES)
    how = Build(
        tool=find_tool(tool),
        tag=tag or __version__,
        base=base or BASE,
        pull=pull,
        from_environment=from_environment,
        global_arguments=global_arg or (),
        arguments=tool_arg or (),
        more_jars=(JAR_SET,) if s3 else (),
    )
    for name in build(chosen, how, context_dir or ROOT / "build" / "images", say):
        typer.echo(name)


@app.command("package")
def make_package(
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where it goes. Default: dist.")] = None,
    packages: Annotated[
        bool, typer.Option("--packages", help="Also an archive of the packages that workers need.")
    ] = False,
    from_environment: Annotated[
        bool,
        typer.Option("--from-environment", help="Copy the packages of this environment, fetch none."),
    ] = False,
    s3: WithS3 = False,
) -> None:
    """Make what `spark-submit` by hand needs: code as a zip, mains, jars, options."""
    from joulestream.cluster.package import make_package as make
    from joulestream.images.staging import copy_jars
    from joulestream.local.process import ROOT
    from spark_jobs.object_store import JAR_SET

    folder = out or ROOT / "dist"
    for file in make(folder, say, packages, from_environment):
        typer.echo(file)
    if s3:
        copy_jars([JAR_SET], folder / JAR_SET, say)
        typer.echo(folder / JAR_SET)


@app.command("digests")
def write_digests(
    tag: Annotated[str | None, typer.Option(help="Tag of our images. Default: this version.")] = None,
) -> None:
    """Ask the registries for the digest of each image, for a release; writes images/digests.lock.

    Exit code: 0 all were found and written, 1 if not: then nothing is written.
    """
    from joulestream import __version__
    from joulestream.images.digests import LOCK, look_up, references, write

    found, problems = look_up(references(tag or __version__))
    for problem in problems:
        say(problem)
    if problems:
        say(
            f"{LOCK.name} is not written: {len(problems)} of {len(problems) + len(found)} digests are not known"
        )
        raise typer.Exit(ERROR)
    write(found)
    print_table([{"image": name, "digest": digest} for name, digest in found.items()])
    raise typer.Exit(OK)
