"""The `joule` command: one verb per module of `joulestream.verbs`, each imported only when it is used."""

from __future__ import annotations

import ast
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from joulestream import __version__, output
from schemas.errors import PipelineError

# In the order of the help. A module has `command` (a function) or `app` (a Typer with verbs of its own).
VERBS = (
    *("up", "down", "status", "logs", "doctor", "reset"),
    *("track", "node", "ingest", "stream", "exporter", "replay", "simulate", "drain"),
    *("runs", "report", "forecast", "budget", "alerts", "dlq", "audit"),
    *("images", "k8s", "test", "bench", "supply"),
)
FOLDER = Path(__file__).parent / "verbs"
EPILOG = (
    "Exit codes: 0 done, 1 an error (one sentence on stderr; JOULE_DEBUG=1 shows where), 2 wrong usage, "
    "3 no stack runs, 4 a service of the stack is down, 130 interrupted."
)


class LazyGroup(TyperGroup):
    """Knows the verbs by name; the list of the help needs no import, so it is there at once."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in VERBS if (FOLDER / f"{name}.py").is_file()]

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return TyperCommand(cmd_name, help=summary(cmd_name)) if self._listing else load(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


def summary(name: str) -> str:
    """First line of the verb's module, read and not run."""
    text = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text())) or ""
    return text.partition("\n")[0]


def load(name: str) -> TyperCommand | TyperGroup:
    """The verb as a command."""
    module = import_module(f"joulestream.verbs.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(name, context_settings=getattr(module, "context_settings", None))(module.command)
    command = get_command(app)
    command.name = name
    return command  # type: ignore[return-value]  # Typer makes these two kinds only


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"joule {__version__}\n")
        raise typer.Exit


@app.callback()
def joule(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_version
    ),
) -> None:
    """What each training run, user, model and node costs in energy and CO2e: live, exactly, ahead of time."""


def main() -> None:
    """Run the command line; an error ends as one sentence on stderr and an exit code."""
    try:
        app(prog_name="joule")
    except KeyboardInterrupt:
        sys.exit(output.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has enough, as in `joule runs ls | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(output.OK)
    except PipelineError as error:
        _fail(error, str(error))
    except Exception as error:  # noqa: BLE001 - the last door: a person gets a sentence, never a traceback
        _fail(error, f"{type(error).__name__}: {error}; JOULE_DEBUG=1 shows where")


def _fail(error: Exception, text: str) -> None:
    if os.environ.get("JOULE_DEBUG"):
        raise error
    output.say(f"joule: {text}")
    sys.exit(output.ERROR)
