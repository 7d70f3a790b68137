"""Measure any command as a run."""

from __future__ import annotations

import os
import signal
import subprocess
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conf.links import dashboard_url
from conf.settings import Settings
from dashboard.display import MASS, amount, energy
from joulestream.context import context
from joulestream.output import DataDir, KafkaBootstrap, say

if TYPE_CHECKING:
    from producers.tracker import Tracker

context_settings = {"allow_interspersed_args": False}  # what follows the command's name is the command's

NOT_FOUND, NOT_EXECUTABLE, SIGNALLED = 127, 126, 128  # as a shell says it
LOOK_S = 0.5


class OnBudget(str, Enum):
    """What a run does that is asked to stop."""

    STOP = "stop"
    IGNORE = "ignore"


def _usable(meters: str | None) -> str | None:
    """The choice of meters, if they can be read: inside a training they would cost its measurement."""
    from producers.meters.errors import MeterUnavailable
    from producers.meters.select import open_machine

    if meters is not None:
        try:
            open_machine(meters).close()
        except MeterUnavailable as error:
            raise typer.BadParameter(str(error)) from None
    return meters


Words = Annotated[list[str], typer.Argument(metavar="-- CMD…", help="The command and its arguments.")]
RunId = Annotated[str | None, typer.Option(metavar="ID", help="Name of the run. Default: a new one.")]
User = Annotated[str | None, typer.Option(metavar="ID", help="Who the run is for.")]
Name = Annotated[str | None, typer.Option(metavar="NAME")]
Region = Annotated[str | None, typer.Option(metavar="ISO", help="Country (ISO 3166), for CO2e.")]
Meters = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES", callback=_usable, help="`auto`, or meters such as rapl,nvml or simulated:7."
    ),
]
Interval = Annotated[
    float | None, typer.Option(metavar="S", min=0.1, help="Longest time between events. Default: 5.")
]
WhenAsked = Annotated[
    OnBudget,
    typer.Option(help="Whether a broken budget or `joule runs stop` ends the command, by SIGTERM."),
]


def command(
    words: Words,
    run_id: RunId = None,
    user: User = None,
    project: Name = None,
    model: Name = None,
    dataset: Name = None,
    framework: Name = None,
    environment: Name = None,
    region: Region = None,
    meters: Meters = None,
    interval: Interval = None,
    on_budget: WhenAsked = OnBudget.IGNORE,
    kafka_bootstrap: KafkaBootstrap = None,
    data_dir: DataDir = None,
) -> None:
    """Measure any command as a run: `joule track --user ann --model resnet -- python train.py`.

    Exit code: the command's own; 128 + N where signal N ended it; 126 or 127 where it could not be started.
    """
    from producers.tracker import Tracker

    _tell_trackers(context(data_dir, {"kafka.bootstrap": kafka_bootstrap}).settings)
    run = Tracker(
        run_id,
        user_id=user,
        project=project,
        model_name=model,
        dataset_name=dataset,
        framework=framework,
        environment=environment,
        region_iso=region,
        meters=meters,
        interval_s=interval,
        on_budget="stop" if on_budget is OnBudget.STOP else "ignore",
    )
    code, status = _measure(run, words, obeys=on_budget is OnBudget.STOP)
    emitted = amount(run.emissions_kg, MASS, " CO2e")
    say(f"run {run.run_id}: {status}, {energy(run.energy_kwh)}, {emitted}")
    if run.link:
        say(run.link)
    raise typer.Exit(code)


def _tell_trackers(settings: Settings) -> None:
    """For the tracker here and one inside the command; no more, as secrets are no business of the command."""
    os.environ["JOULE_DATA_DIR"] = str(settings.data_dir)
    os.environ["JOULE_KAFKA_BOOTSTRAP"] = settings.kafka.bootstrap
    os.environ["JOULE_DASHBOARD_URL"] = dashboard_url(settings)


def _measure(run: Tracker, words: list[str], *, obeys: bool) -> tuple[int, str]:
    """Exit code and status of the command, which gets the signals that we get."""
    run.start()
    relay = Relay()
    with relay:  # over the tracker's own handler: the command decides how to end
        try:
            relay.child = subprocess.Popen(words)
        except OSError as error:
            run.stop("failed")
            say(f"joule: {words[0]} cannot be started: {error.strerror}")
            return (NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE), "failed"
        code = _wait(run, relay.child) if obeys else relay.child.wait()
        asked = run.stop_requested is not None
        status = "stopped" if asked else "completed" if code == 0 else "stopped" if relay.asked else "failed"
        run.stop(status)
    return (SIGNALLED - code if code < 0 else code), status


def _wait(run: Tracker, child: subprocess.Popen[bytes]) -> int:
    """Exit code of the command, which gets SIGTERM, once, where its run is asked to stop."""
    while run.stop_requested is None:
        try:
            return child.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            continue
    say(f"joule: run {run.run_id} was asked to stop: {run.stop_requested.reason or 'no reason was given'}")
    child.terminate()
    return child.wait()


class Relay:
    """Hands SIGTERM, SIGHUP and SIGINT on to the child while it is entered; `asked` is whether any came."""

    def __init__(self) -> None:
        self.asked = False
        self.child: subprocess.Popen[bytes] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Relay:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            self._before[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self.asked = True
        typed = number == signal.SIGINT and _in_foreground()  # the terminal tells the command itself
        if self.child is not None and not typed:
            self.child.send_signal(number)


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
