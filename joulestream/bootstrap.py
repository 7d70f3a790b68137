"""Makes `.venv` from the lock file and hands over to the command line; run by `./joule`.

Runs before anything is installed, so it needs the standard library alone. A stamp in `.venv` names the
lock file that was installed: with the same lock nothing is done again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

STAMP = "joule.stamp"
UNFINISHED = "joule.unfinished"
PATH_FILE = "joulestream-checkout.pth"
ENTRY = """\
#!{python}
# Written by ./joule. A script, so that no file of the current folder can stand before the project's own.
from joulestream.cli import main

main()
"""


class BootstrapError(Exception):
    """The environment cannot be made; the message says what to do."""


def say(text: str) -> None:
    sys.stderr.write(f"joule: {text}\n")
    sys.stderr.flush()


def wanted_stamp(lock: Path) -> str:
    """What the stamp says when the environment is the lock file's."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def is_current(venv: Path, lock: Path) -> bool:
    """Whether the environment was made from this very lock file, to its end, and its Python still runs."""
    try:
        stamp = (venv / STAMP).read_text()
    except OSError:
        return False
    return stamp == wanted_stamp(lock) and not (venv / UNFINISHED).exists() and _runs(venv)


def ensure(root: Path) -> Path:
    """Have the environment; returns its folder. Raises BootstrapError."""
    venv, lock = root / ".venv", root / "requirements.lock"
    if not is_current(venv, lock):
        with alone(lock):
            if not is_current(venv, lock):  # another start may have made it while we waited
                make(root, venv, lock)
    if not is_linked(root, venv):
        with alone(lock):
            say(f"{venv} was made for another folder; pointing it at this one")
            _link(root, venv)
    return venv


def is_linked(root: Path, venv: Path) -> bool:
    """Whether the environment imports this checkout and runs its own Python: not so where the folder was moved."""
    try:
        entry = (venv / "bin" / "joule").read_text()
        paths = [file.read_text() for file in venv.glob(f"lib/python3*/site-packages/{PATH_FILE}")]
    except OSError:
        return False
    return entry == _entry(venv) and paths == [f"{root}\n"]


PASSED_OVER = ("Ignoring ", "Requirement already satisfied", "Looking in links")


def make(root: Path, venv: Path, lock: Path) -> None:
    """Make or complete the environment. One whose installation was cut off is made anew."""
    cut_off = (venv / UNFINISHED).exists()
    if cut_off:
        say("the last installation was cut off; making .venv anew (what was downloaded is kept)")
    if cut_off or not _runs(venv):
        _create(venv)
    (venv / STAMP).unlink(missing_ok=True)
    (venv / UNFINISHED).touch()
    say(f"installing the pinned packages into {venv} (once; a few minutes)")
    install = ["-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    if _pip([str(_python(venv)), *install, "-r", str(lock)]) != 0:
        raise BootstrapError(
            "pip could not install requirements.lock (see above): check the network, try again"
        )
    _link(root, venv)
    (venv / STAMP).write_text(wanted_stamp(lock))
    (venv / UNFINISHED).unlink()


def _pip(command: list[str]) -> int:
    """Run pip with its words on stderr (stdout is for data), without what it only passes over."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout or ():
            if not line.startswith(PASSED_OVER):
                sys.stderr.write(line)
                sys.stderr.flush()
    return process.returncode


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Only one start at a time installs. The kernel gives the lock back if its holder dies."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another ./joule is installing; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _create(venv: Path) -> None:
    missing = [name for name in ("venv", "ensurepip") if find_spec(name) is None]
    if missing:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise BootstrapError(
            f"found Python {version} without its module {missing[0]}: install it "
            f"(Debian and Ubuntu: apt-get install python{version}-venv), or name another Python in JOULE_PYTHON"
        )
    if _within(venv):
        raise BootstrapError(f"{venv} is broken and cannot repair itself: delete it and try again")
    say(f"making {venv} with Python {sys.version.split()[0]}")
    shutil.rmtree(venv, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(venv)], stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise BootstrapError(f"{sys.executable} -m venv {venv} failed (see above): check the disk, try again")


def _link(root: Path, venv: Path) -> None:
    """Let the environment's Python import the checkout from anywhere, and give it the command `joule`."""
    script = "import sysconfig; print(sysconfig.get_path('purelib'))"
    asked = subprocess.run([str(_python(venv)), "-c", script], capture_output=True, text=True, check=True)
    (Path(asked.stdout.strip()) / PATH_FILE).write_text(f"{root}\n")
    entry = venv / "bin" / "joule"
    entry.write_text(_entry(venv))
    entry.chmod(0o755)


def _entry(venv: Path) -> str:
    return ENTRY.format(python=_python(venv))


def _python(venv: Path) -> Path:
    return venv / "bin" / "python"


def _runs(venv: Path) -> bool:
    try:
        done = subprocess.run([str(_python(venv)), "-c", ""], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _within(venv: Path) -> bool:
    return Path(sys.prefix).resolve() == venv.resolve()


def main() -> None:
    root = Path(sys.argv[1])
    try:
        venv = ensure(root)
    except BootstrapError as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; the next ./joule goes on")
        sys.exit(130)
    os.execv(str(_python(venv)), [str(_python(venv)), str(venv / "bin" / "joule"), *sys.argv[2:]])  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
