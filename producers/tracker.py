"""The training-loop tracker: measures a run and sends its life to `training.events`.

    with Tracker(user_id="ann", model_name="resnet") as run:
        for epoch in range(10):
            run.log(epoch=epoch, loss=train())

It samples in a thread of its own, sends through a spool on disk, and never slows, stops or breaks the
training: its own errors are logged once. Without a broker the events wait on disk, and the next producer on
the machine sends them.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from conf.logs import fields
from producers.clean import Cleaner
from producers.control import StopRequest
from producers.exits import STOPPED, ExitHooks, RunStopped, Shield, status_of
from producers.identity import new_run_id
from producers.local_stack import producer_settings
from producers.machine import Machine
from producers.ports import Clock, EventSink, SystemClock, instant
from producers.session import Options, Session, open_session
from schemas.errors import PipelineError

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 3.0
# Arguments that are fields of the run's events, under the same names.
_RUN_FIELDS = (
    *("user_id", "project", "model_name", "dataset_name", "framework", "environment", "region_iso"),
    *("hyperparameters", "total_epochs", "total_steps", "rank", "world_size"),
)
OnBudget: TypeAlias = Literal["stop", "ignore"]
F = TypeVar("F", bound=Callable[..., Any])
__all__ = ["OnBudget", "RunStopped", "StopRequest", "Tracker"]


class Tracker:
    """Measures one run: a context manager, a decorator, or `start()` and `stop()`.

    The run is charged its process tree's share of the machine's CPU and memory energy, and the GPUs that it
    can see. `meters` names them (`auto`, `rapl,nvml`, `simulated:7`, …) or is a Machine; what is None comes
    from the settings. Values that the contract does not take are left out with a warning. Nothing but wrong
    keyword names raises, and what the run asked for itself: with `on_budget="stop"` it follows the requests on
    topic `run.control` (of a broken budget, or of `joule runs stop`), and the next `log` raises RunStopped.
    """

    def __init__(
        self,
        run_id: str | None = None,
        *,
        user_id: str | None = None,
        project: str | None = None,
        model_name: str | None = None,
        dataset_name: str | None = None,
        framework: str | None = None,
        environment: str | None = None,
        region_iso: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        total_epochs: float | None = None,
        total_steps: float | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        on_budget: OnBudget = "ignore",
        meters: str | Machine | None = None,
        sink: EventSink | None = None,
        clock: Clock | None = None,
        interval_s: float | None = None,
        sample_s: float | None = None,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        self._given = {name: value for name, value in locals().items() if name != "self"}
        self._fields = {name: self._given[name] for name in _RUN_FIELDS}
        self._options = (meters, sink, interval_s, sample_s)
        self._obeys = on_budget == "stop"
        if on_budget not in get_args(OnBudget):
            log.warning("on_budget=%r is none of %s; taken as 'ignore'", on_budget, get_args(OnBudget))
        self._clock = clock or SystemClock()
        self._close_timeout_s = close_timeout_s
        self._cleaner = Cleaner()
        self._shield = Shield(self._complain)
        self._session: Session | None = None
        self._hooks: ExitHooks | None = None
        self._pid = os.getpid()
        self._once = threading.Lock()
        self._ended = False
        self.run_id = self._name(run_id)

    def _complain(self, message: str, error: BaseException) -> None:
        run = {"run": getattr(self, "run_id", None)}
        if isinstance(error, PipelineError):  # it says itself what is wrong and what to do
            log.error("%s: %s", message, error, extra=run)
        else:
            log.error(message, exc_info=error, extra=run)

    def start(self) -> Tracker:
        """Begin to measure; sends `run_started`. A second call does nothing."""
        if self._session is not None or self._ended:
            return self
        with self._shield, fields(run=self.run_id):
            meters, sink, interval_s, sample_s = self._options
            hooks = ExitHooks(self.stop)
            options = Options(meters, sink, interval_s, sample_s, hooks.renew, self._obeys)
            at = instant(self._clock)
            self._pid = os.getpid()
            session = open_session(
                self.run_id,
                self._fields,
                producer_settings(),
                options,
                self._clock,
                at,
                self._cleaner,
                self._shield,
            )
            session.recorder.start()
            if session.control is not None:
                session.control.start()
            self._session, self._hooks = session, hooks
            hooks.install()
            if not self._fields["rank"]:
                sys.stderr.write(f"joulestream: measuring run {self.run_id}, see {session.link}\n")
        return self

    def log(
        self,
        epoch: float | None = None,
        step: float | None = None,
        loss: float | None = None,
        accuracy: float | None = None,
        **extra: Any,
    ) -> None:
        """Send a `metric` with the energy since the event before it. Returns at once.

        Raises nothing but RunStopped, and that only with `on_budget="stop"`, after the values are kept; every
        call after the request raises it, until the run is ended.
        """
        session = self._session
        if session is None or self._ended or os.getpid() != self._pid:
            return
        with self._shield:
            given = {"epoch": epoch, "step": step, "loss": loss, "accuracy": accuracy, **extra}
            session.recorder.mark(*self._cleaner.progress(given))
        asked = self.stop_requested
        if asked is not None:
            raise RunStopped(self.run_id, asked.reason)

    def stop(self, status: str = "completed") -> None:
        """End the run with `completed`, `failed` or `stopped` (then with the reason, where there was a request).

        Takes a few seconds at most; a second call does nothing.
        """
        session = self._session
        if session is None or os.getpid() != self._pid or not self._first_stop():
            return
        with self._shield:
            if self._hooks is not None:
                self._hooks.remove()
            known = self._cleaner.field("status", status) or "completed"
            asked = self.stop_requested if known == STOPPED else None
            session.end(known, self._close_timeout_s, asked.reason if asked else None)

    @property
    def stop_requested(self) -> StopRequest | None:
        """The request to stop this run, for a loop that looks for itself; None without `on_budget="stop"`."""
        control = None if self._session is None else self._session.control
        return None if control is None else control.request

    @property
    def energy_kwh(self) -> float:
        """Energy that the events up to now carry."""
        return 0.0 if self._session is None else self._session.builder.energy_kwh

    @property
    def emissions_kg(self) -> float:
        """Emissions that the events up to now carry."""
        return 0.0 if self._session is None else self._session.builder.emissions_kg

    @property
    def dropped(self) -> int:
        """Events of this tracker that were lost, because the spool was full or the disk failed."""
        return 0 if self._session is None else self._session.sink.dropped

    @property
    def link(self) -> str | None:
        """The run's page on the dashboard."""
        return None if self._session is None else self._session.link

    def __enter__(self) -> Tracker:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """End the run. Swallows nothing but this run's own RunStopped: the script goes on behind the block."""
        asked = self._hooks is not None and self._hooks.asked_to_stop
        self.stop(status_of(error, asked_to_stop=asked))
        return isinstance(error, RunStopped) and error.run_id == self.run_id

    def __call__(self, function: F) -> F:
        """As a decorator: every call of the function is a run of its own, measured from start to end.

        A call that was asked to stop, and obeyed, returns None.
        """

        def fresh() -> Tracker:
            return Tracker(**self._given)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def measured_async(*args: Any, **kwargs: Any) -> Any:
                with fresh():
                    return await function(*args, **kwargs)
                return None  # asked to stop

            return measured_async  # type: ignore[return-value]  # the same signature, measured

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return function(*args, **kwargs)
            return None  # asked to stop

        return measured  # type: ignore[return-value]  # the same signature, measured

    def _name(self, run_id: str | None) -> str:
        with self._shield:
            if run_id is None:
                model = self._fields["model_name"]
                return new_run_id(None if model is None else str(model), self._clock.now())
            return self._cleaner.identifier("run_id", run_id)
        return new_run_id(None, self._clock.now())

    def _first_stop(self) -> bool:
        """Whether this is the first to end the run; never waits, so a signal handler may ask."""
        if not self._once.acquire(blocking=False):
            return False
        self._ended = True
        return True
