"""`./joule`: finds a Python, makes the environment once, repairs it after a cut, says what is wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from joulestream import bootstrap
from joulestream.local.process import ROOT

# Environments are made for real, by pip: seconds on an idle machine, minutes on a busy one.
pytestmark = pytest.mark.timeout(900)
SYSTEM_TOOLS = ("sh", "uname", "dirname", "readlink", "echo")


def launch(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run([str(checkout / "joule"), *arguments], checkout.parent, **variables)


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**env, **variables},
        cwd=folder,
        timeout=600,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a space, whose command line prints its arguments and whose lock is empty."""
    folder = tmp_path / "my checkout"
    package = folder / "joulestream"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "joule", folder / "joule")
    shutil.copy(ROOT / "joulestream" / "bootstrap.py", package / "bootstrap.py")
    (package / "__init__.py").touch()
    (package / "cli.py").write_text("import sys\ndef main():\n    print('verb', *sys.argv[1:])\n")
    (folder / "requirements.lock").write_text("# nothing\n")
    return folder


def test_the_environment_is_made_once_and_again_only_when_the_lock_changes(checkout: Path) -> None:
    (checkout.parent / "joulestream.py").write_text("raise SystemExit('a file of the caller was imported')")
    first = launch(checkout, "status", "--json", "a b")
    assert (first.returncode, first.stdout) == (0, "verb status --json a b\n")
    assert "installing the pinned packages" in first.stderr

    second = launch(checkout, "x")
    assert (second.stdout, second.stderr) == ("verb x\n", "")

    (checkout / "requirements.lock").write_text("# nothing else\n")
    third = launch(checkout, "x")
    assert third.stdout == "verb x\n"
    assert "installing" in third.stderr
    assert "making" not in third.stderr

    venv = checkout / ".venv"
    (venv / bootstrap.UNFINISHED).touch()
    (venv / "half-installed").touch()
    fourth = launch(checkout, "x")
    assert fourth.stdout == "verb x\n"
    assert "cut off" in fourth.stderr
    assert not (venv / "half-installed").exists()

    link = checkout.parent / "link"
    link.symlink_to(checkout / "joule")
    assert run([str(link), "y"], checkout.parent).stdout == "verb y\n"


def test_a_moved_folder_runs_its_own_files(checkout: Path) -> None:
    launch(checkout, "x")
    copy = checkout.parent / "moved"
    shutil.copytree(checkout, copy, symlinks=True)
    (copy / "joulestream" / "cli.py").write_text("def main():\n    print('moved')\n")
    first = launch(copy, "x")
    assert (first.returncode, first.stdout) == (0, "moved\n")
    assert "was made for another folder" in first.stderr
    assert "installing" not in first.stderr
    second = launch(copy, "x")
    assert (second.stdout, second.stderr) == ("moved\n", "")


def test_a_failed_installation_says_so_and_leaves_no_stamp(checkout: Path) -> None:
    (checkout / "requirements.lock").write_text(
        "no-such-package-of-joulestream==1.0 --hash=sha256:" + "0" * 64 + "\n"
    )
    done = launch(checkout, "x", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip could not install" in done.stderr
    assert not (checkout / ".venv" / bootstrap.STAMP).exists()


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with the shell's tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in SYSTEM_TOOLS:
        tool = shutil.which(name)
        if tool:
            (folder / name).symlink_to(tool)
    return folder


def program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_without_a_python_it_says_which_are_expected(checkout: Path, bare_path: Path) -> None:
    done = launch(checkout, "up", PATH=str(bare_path), JOULE_PYTHON="")
    assert done.returncode == 1
    assert "found no Python 3, expected Python 3.10, 3.11, 3.12 or 3.13" in done.stderr


def test_a_python_that_is_too_old_is_named(checkout: Path, bare_path: Path) -> None:
    program(bare_path / "python3", '[ "$1" = --version ] && echo "Python 3.8.1" && exit 0; exit 1')
    done = launch(checkout, "up", PATH=str(bare_path), JOULE_PYTHON="")
    assert done.returncode == 1
    assert "found Python 3.8.1, expected Python 3.10" in done.stderr


def test_another_system_gets_a_clear_word(checkout: Path, bare_path: Path) -> None:
    program(bare_path / "uname", "echo MINGW64_NT-10.0")
    done = launch(checkout, "up", PATH=str(bare_path))
    assert (done.returncode, done.stderr) == (
        1,
        "joule: found MINGW64_NT-10.0, expected Linux or macOS: on Windows run it in WSL 2\n",
    )


def test_a_python_without_venv_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.lock").touch()
    monkeypatch.setattr(bootstrap, "find_spec", lambda name: None if name == "venv" else object())
    with pytest.raises(bootstrap.BootstrapError, match=r"without its module venv: install it .*-venv"):
        bootstrap.ensure(tmp_path)


def test_two_starts_at_once_wait_for_each_other(checkout: Path) -> None:
    lock = checkout / "requirements.lock"
    with bootstrap.alone(lock):
        process = subprocess.Popen(
            [str(checkout / "joule"), "x"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert "another ./joule is installing" in process.stderr.readline()
        assert not (checkout / ".venv").exists()
        process.kill()
        process.communicate()
