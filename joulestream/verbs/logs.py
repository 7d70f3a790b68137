"""Show the logs of the services."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from joulestream.context import data_folder
from joulestream.output import DataDir
from schemas.errors import PipelineError


def command(
    service: Annotated[str | None, typer.Argument(help="One service, such as stream. Default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the logs grow.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    data_dir: DataDir = None,
) -> None:
    """Show the last lines of the services' logs, on stdout; with several, each line says whose it is."""
    files = _files(data_folder(data_dir) / "logs", service)
    several = len(files) > 1
    for file in files:
        with file.open(errors="replace") as log:
            for line in deque(log, maxlen=lines):
                _show(file, line, several)
    if follow:
        _follow(files, several)


def _files(folder: Path, service: str | None) -> list[Path]:
    found = sorted(folder.glob("*.log"))
    names = [file.stem for file in found]
    if service is None and found:
        return found
    if service in names:
        return [folder / f"{service}.log"]
    if not names:
        raise PipelineError(f"there are no logs in {folder}; ./joule up writes them")
    raise PipelineError(f"found no log of {service!r} in {folder}, expected one of: {', '.join(names)}")


def _show(file: Path, line: str, several: bool) -> None:
    prefix = f"{file.stem:<10} | " if several else ""
    sys.stdout.write(f"{prefix}{line.rstrip()}\n")


def _follow(files: list[Path], several: bool) -> None:
    """Print what is added, until Ctrl-C; a log that was put aside at a restart is opened anew."""
    places = {file: file.stat().st_size for file in files}
    while True:
        for file, place in places.items():
            if not file.exists():
                continue
            if file.stat().st_size < place:
                place = 0
            with file.open(errors="replace") as log:
                log.seek(place)
                for line in log:
                    _show(file, line, several)
                places[file] = log.tell()
        sys.stdout.flush()
        time.sleep(0.5)
