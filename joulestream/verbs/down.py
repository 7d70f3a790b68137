"""Stop the stack in order; nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from joulestream.context import data_folder
from joulestream.local.leftovers import end_leftovers
from joulestream.local.state import StackState, read_state
from joulestream.output import DataDir, say
from schemas.errors import PipelineError

TIMEOUT_S = 240.0


def command(data_dir: DataDir = None) -> None:
    """Stop the stack in order; nothing is lost. It is no error if none runs."""
    folder = data_folder(data_dir)
    state = read_state(folder)
    if state is not None and state.alive:
        _stop(state)
        say("stopped")
    elif not end_leftovers(state, say):
        say(f"no stack runs from {folder}")


def _stop(state: StackState) -> None:
    say(f"stopping the stack (pid {state.supervisor_pid}): it ends its services in order")
    with suppress(ProcessLookupError):
        os.kill(state.supervisor_pid, signal.SIGTERM)
    deadline = time.monotonic() + TIMEOUT_S
    while state.alive:
        if time.monotonic() > deadline:
            raise PipelineError(
                f"the stack still runs after {TIMEOUT_S:.0f} s; look at ./joule logs, or end "
                f"process {state.supervisor_pid} with `kill -9` (its services end with it)"
            )
        time.sleep(0.2)
