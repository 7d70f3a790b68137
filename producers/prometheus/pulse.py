"""Whether the reading goes on: files that it touches, and the probe `python -m producers.prometheus.pulse alive|ready`.

`alive` is touched at each turn, also while server or broker are away; `ready` where all was read and sent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from conf.settings import Settings, load_settings
from producers.prometheus.note import FILE

ALIVE, READY = "alive", "ready"
LONGEST_TURN_S = 300.0  # of an hour's samples of a large cluster


def touch(note: Path, what: str) -> None:
    """Say that it goes on. A disk that is full is told of by the note itself."""
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        pulse_file(note, what).touch()


def pulse_file(note: Path, what: str) -> Path:
    """The file beside the note."""
    return note.with_suffix(f".{what}")


def problem(settings: Settings, note: Path, what: str, now_s: float) -> str | None:
    """What is wrong, in words; None where it is well."""
    longest_s = LONGEST_TURN_S + 3 * settings.prometheus.every_s
    try:
        age_s = now_s - pulse_file(note, what).stat().st_mtime
    except FileNotFoundError:
        return "nothing has been read yet" if what == READY else "it has not begun yet"
    return None if age_s <= longest_s else f"no {what} turn for {age_s:.0f} s; see its log"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where it is well, 1 where not; then one line says why. 2 for wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given not in ([ALIVE], [READY]):
        sys.stderr.write("usage: python -m producers.prometheus.pulse alive|ready\n")
        return 2
    settings = load_settings()
    wrong = problem(settings, settings.data_dir / FILE, given[0], time.time())
    if wrong is not None:
        sys.stderr.write(f"{wrong}\n")
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main())
