"""Delete the data of the stack (never of a server that it did not start)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from joulestream.context import data_folder
from joulestream.local.leftovers import end_leftovers
from joulestream.local.lock import Held, held
from joulestream.local.plan import Wishes, given_servers
from joulestream.local.state import FILE, read_state
from joulestream.output import USAGE, DataDir, say
from joulestream.verbs.up import LOCK
from schemas.errors import PipelineError

# Only what the stack made: the settings file, and whatever else lies there, stays.
PARTS = ("kafka", "store", "checkpoints", "spool", "registry", "logs", FILE)


def command(
    data_dir: DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really delete.")] = False,
) -> None:
    """Delete the data of the stack: events, documents, checkpoints, unsent events, logs.

    Refuses while the stack runs, and where the settings name servers that the stack did not start.
    """
    folder = data_folder(data_dir)
    try:
        with held(folder / LOCK):
            _reset(folder, yes)
    except Held:
        raise PipelineError(f"a stack runs from {folder}: stop it first with ./joule down") from None


def _reset(folder: Path, yes: bool) -> None:
    state = read_state(folder)
    kafka, mongodb = given_servers(Wishes(folder))
    foreign = [name for name in ("broker", "store") if state is not None and name not in state.own]
    if kafka or mongodb or foreign:
        raise PipelineError(
            f"the stack of {folder} works with servers that it did not start "
            f"({kafka or 'own Kafka'}, {'given MongoDB' if mongodb else 'own store'}); their data is not "
            "ours to delete: drop the topics and the database there yourself, or name another --data-dir"
        )
    found = [folder / part for part in PARTS if (folder / part).exists()]
    if not yes:
        say("this would delete: " + (", ".join(str(path) for path in found) or "nothing"))
        say("add --yes to do it")
        raise typer.Exit(USAGE)
    end_leftovers(state, say)
    if not found:
        say(f"there is nothing to delete in {folder}")
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
        say(f"deleted {path}")
