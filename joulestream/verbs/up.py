"""Start everything on this machine: broker, store, stream, node agent, dashboard and a demo."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from conf.settings import load_settings
from joulestream.context import data_folder
from joulestream.local.lock import Held, held
from joulestream.local.plan import Plan, Wishes, given_servers, make_plan
from joulestream.local.ports import HOST
from joulestream.local.process import ROOT, last_words, python
from joulestream.local.state import StackState, read_state
from joulestream.output import DataDir, KafkaBootstrap, MongoUri, say
from schemas.errors import PipelineError

LOCK = "up.lock"
DETACH_TIMEOUT_S = 900.0


def command(
    data_dir: DataDir = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Run no training job as a demo.")] = False,
    headless: Annotated[bool, typer.Option("--headless", help="Start no dashboard.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when all is ready; it goes on in the background.")
    ] = False,
    port_base: Annotated[
        int | None,
        typer.Option(
            min=1024,
            max=65_000,
            help="First of the ports: dashboard, broker, its controller, store, exporter.",
        ),
    ] = None,
    kafka_bootstrap: KafkaBootstrap = None,
    mongodb_uri: MongoUri = None,
    exporter: Annotated[
        bool, typer.Option("--exporter", help="Serve metrics to Prometheus on 127.0.0.1 too.")
    ] = False,
) -> None:
    """Start everything on this machine: broker, store, stream, node agent, dashboard and a demo.

    Stays in the foreground; Ctrl-C ends it in order and loses nothing. A second start goes on where the
    last one ended. If it runs already, prints where, and ends with exit code 0.
    """
    if os.environ.get("JOULE_CONFIG"):  # the services start in another folder
        os.environ["JOULE_CONFIG"] = os.path.abspath(os.environ["JOULE_CONFIG"])
    folder = data_folder(data_dir)
    wishes = Wishes(folder, not no_demo, not headless, port_base, kafka_bootstrap, mongodb_uri, exporter)
    try:
        if detach:
            with held(folder / LOCK):
                pass
            _detach(wishes)
        else:
            with held(folder / LOCK):
                _run(wishes)
    except Held:
        _already(folder)


def _run(wishes: Wishes) -> None:
    from joulestream.local.leftovers import end_leftovers
    from joulestream.local.supervisor import Supervisor

    stop = threading.Event()
    _stop_on_signals(stop)
    _check_platform()
    say(f"data       {wishes.data_dir}")
    last = read_state(wishes.data_dir)
    end_leftovers(last, say)
    plan = _prepare(wishes, last)
    if stop.is_set():
        return
    supervisor = Supervisor(plan, stop, say)
    watcher = threading.Thread(target=_welcome, args=(wishes.data_dir, stop), daemon=True)
    watcher.start()
    supervisor.run()


def _prepare(wishes: Wishes, last: StackState | None) -> Plan:
    from joulestream.local.jars import ensure_jars, sets_for
    from joulestream.local.java import find_java
    from joulestream.local.store import find_document_server

    java = find_java()
    say(f"java       {java.version} from {java.origin} ({java.home})")
    sets = sets_for(load_settings({"data_dir": wishes.data_dir}))
    ensure_jars(java, lambda text: say(f"jars       {text}"), sets)
    own_store = given_servers(wishes)[1] is None
    server = find_document_server() if own_store else None
    if server is not None:
        say(f"store      {server.words}")
    return make_plan(wishes, java, server, last)


def _welcome(data_dir: Path, stop: threading.Event) -> None:
    while not stop.wait(0.2):
        state = read_state(data_dir)
        if state is not None and state.phase == "ready" and state.supervisor_pid == os.getpid():
            for line in urls(state):
                say(line)
            say("ready      Ctrl-C (or ./joule down) stops everything in order and loses nothing")
            return


def urls(state: StackState) -> list[str]:
    """Where the running stack is, one line each."""
    exporter = state.services.get("exporter")
    return [
        f"dashboard  {state.dashboard_url or 'none (--headless)'}",
        f"kafka      {state.kafka_bootstrap}",
        f"mongodb    {state.mongodb_uri}",
        *([f"metrics    {_scheme(state)}://{HOST}:{exporter.port}/metrics"] if exporter is not None else []),
    ]


def _scheme(state: StackState) -> str:
    return "http" if load_settings({"data_dir": state.data_dir}).exporter.cert_file is None else "https"


def _stop_on_signals(stop: threading.Event) -> None:
    def ask(number: int, frame: Any) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)


def _check_platform() -> None:
    system = platform.system()
    if system not in ("Linux", "Darwin"):
        raise PipelineError(f"found {system}, expected Linux or macOS: on Windows run it in WSL 2")


def _already(folder: Path) -> None:
    state = read_state(folder)
    say(f"a stack runs already from {folder}; ./joule status shows it, ./joule down stops it")
    if state is not None and state.alive:
        for line in urls(state):
            say(line)


def _detach(wishes: Wishes) -> None:
    """Start `up` as a daemon and show what it says until all is ready."""
    log = wishes.data_dir / "logs" / "supervisor.log"
    log.parent.mkdir(exist_ok=True)
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            python("joulestream", "up", *_flags(wishes)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=ROOT,
        )
    deadline = time.monotonic() + DETACH_TIMEOUT_S
    with log.open(errors="replace") as tail:
        tail.seek(begin)
        while not _is_ready(wishes.data_dir, process.pid):
            _copy(tail)
            if process.poll() is not None:
                _copy(tail)
                raise PipelineError(f"the stack did not start (exit code {process.returncode}); see {log}")
            if time.monotonic() > deadline:
                process.terminate()
                raise PipelineError(f"not ready after {DETACH_TIMEOUT_S:.0f} s{last_words(log)}")
            time.sleep(0.2)
        time.sleep(0.5)  # its last lines: the addresses
        _copy(tail)
    say(f"detached   ./joule status shows it, ./joule down stops it; its log is {log}")


def _copy(tail: Any) -> None:
    for line in tail:
        say(line.rstrip("\n"))


def _is_ready(folder: Path, pid: int) -> bool:
    state = read_state(folder)
    return state is not None and state.supervisor_pid == pid and state.phase == "ready"


def _flags(wishes: Wishes) -> list[str]:
    flags = ["--data-dir", str(wishes.data_dir)]
    flags += [] if wishes.demo else ["--no-demo"]
    flags += [] if wishes.dashboard else ["--headless"]
    flags += ["--exporter"] if wishes.exporter else []
    flags += ["--port-base", str(wishes.port_base)] if wishes.port_base else []
    # Addresses may carry passwords, and flags are for all to see in `ps`.
    if wishes.kafka_bootstrap:
        os.environ["JOULE_KAFKA_BOOTSTRAP"] = wishes.kafka_bootstrap
    if wishes.mongodb_uri:
        os.environ["JOULE_MONGODB_URI"] = wishes.mongodb_uri
    return flags
