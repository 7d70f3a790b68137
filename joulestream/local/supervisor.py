"""Starts the stack in order, looks after it, and ends it in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NoReturn

import psutil

from joulestream.local.leftovers import ORDER
from joulestream.local.managed import Managed
from joulestream.local.plan import Chore, Plan, check_given
from joulestream.local.process import Service, last_words
from joulestream.local.state import StackState, write_state
from joulestream.local.store import without_user
from joulestream.local.topics import ensure_topics
from joulestream.local.watchdog import Watchdog
from schemas.errors import PipelineError

POLL_S = 0.25
TRIES = 3

Say = Callable[[str], None]


class Supervisor:
    """The life of one stack. `stop` is set by a signal; then everything ends in order."""

    def __init__(self, plan: Plan, stop: threading.Event, say: Say) -> None:
        self._plan = plan
        self._stop = stop
        self._say = say
        self._watchdog = Watchdog()
        self._managed: list[Managed] = []
        self._state = StackState(
            data_dir=str(plan.settings.data_dir),
            phase="starting",
            supervisor_pid=os.getpid(),
            supervisor_create_time=psutil.Process().create_time(),
            kafka_bootstrap=plan.settings.kafka.bootstrap,
            mongodb_uri=without_user(plan.settings.mongodb.uri.get_secret_value()),
            dashboard_url=plan.url,
            document_server=plan.server.words if plan.server else None,
            own=plan.own,
            ports=plan.ports,
        )

    def run(self) -> None:
        """Start all, stay until asked to stop, end all. Raises PipelineError if the start fails."""
        self._write()
        try:
            self._start()
            if not self._stop.is_set():
                self._write("ready")
                self._stay()
        finally:
            self._end()

    def _start(self) -> None:
        for line in check_given(self._plan):
            self._say(line)
        self._start_group(self._plan.servers)
        if self._stop.is_set():
            return
        self._prepare_servers()
        self._start_group(self._plan.services)
        if self._plan.demo is not None and not self._stop.is_set():
            self._start_group([self._plan.demo])

    def _prepare_servers(self) -> None:
        from spark_jobs.store import Address, connect, ensure_collections

        created = ensure_topics(self._plan.settings.kafka)
        self._say(f"topics     {'created: ' + ', '.join(created) if created else 'there'}")
        db = connect(Address.of(self._plan.settings))
        try:
            ensure_collections(db, self._plan.settings)
        finally:
            db.client.close()
        self._say("documents  indexes and validators there")

    def _start_group(self, services: Iterable[Service]) -> None:
        """Start services side by side; return when all are ready or we are asked to stop."""
        began_s = time.monotonic()
        group = []
        for service in services:
            one = Managed(service, self._watchdog, self._say)
            self._managed.append(one)
            one.start(time.monotonic())
            group.append(one)
        self._write()
        waiting = list(group)
        while waiting and not self._stop.is_set():
            for one in list(waiting):
                if one.tick(time.monotonic()):
                    self._write()
                if one.state in ("running", "finished"):
                    waiting.remove(one)
                    self._say(self._ready_line(one, time.monotonic() - began_s))
                elif one.state == "failed" or one.restarts >= TRIES:
                    self._cannot(one)
            self._stop.wait(POLL_S)

    def _ready_line(self, one: Managed, took_s: float) -> str:
        pid = one.running.pid if one.running else ""
        where = f", port {one.service.port}" if one.service.port else ""
        which = f", {self._plan.server.words}" if one.name == "store" and self._plan.server else ""
        if not one.service.restart:
            return f"{one.name:<10} started (pid {pid}); watch it with ./joule logs {one.name} -f"
        return f"{one.name:<10} ready in {took_s:.1f} s (pid {pid}{where}{which})"

    def _cannot(self, one: Managed) -> NoReturn:
        raise PipelineError(f"{one.name} does not start{last_words(one.service.log)}")

    def _stay(self) -> None:
        due_s = {chore.service.name: time.monotonic() + chore.first_s for chore in self._plan.chores}
        while not self._stop.wait(POLL_S):
            changed = [one.tick(time.monotonic()) for one in self._managed]
            if any(changed):
                self._write()
            for chore in self._plan.chores:
                if time.monotonic() >= due_s[chore.service.name]:
                    due_s[chore.service.name] = time.monotonic() + chore.every_s
                    self._do(chore)

    def _do(self, chore: Chore) -> None:
        """Start a chore in the background, unless its last turn still runs."""
        last = next((one for one in self._managed if one.name == chore.service.name), None)
        if last is not None:
            if last.state in ("starting", "running"):
                return
            self._managed.remove(last)
        one = Managed(chore.service, self._watchdog, self._say)
        self._managed.append(one)
        one.start(time.monotonic())
        self._write()

    def _end(self) -> None:
        """End in the order that loses nothing: who writes first, then the stream, then the servers."""
        started = [one.name for one in self._managed if one.state in ("starting", "running", "waiting")]
        if started:
            self._say(f"stopping   {', '.join(sorted(started, key=ORDER.index))}")
        for one in sorted(self._managed, key=lambda managed: ORDER.index(managed.name)):
            one.stop()
            self._write()
        self._watchdog.close()
        self._write("stopped")
        if self._managed:
            self._say("stopped    nothing is lost; `./joule up` goes on from here")

    def _write(self, phase: str | None = None) -> None:
        services = {one.name: one.snapshot() for one in self._managed}
        self._state = replace(self._state, phase=phase or self._state.phase, services=services)
        write_state(self._plan.settings.data_dir, self._state)
