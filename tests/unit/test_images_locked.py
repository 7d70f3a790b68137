"""What of the lock file goes into an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulestream.images.catalogue import IMAGES, PYTHON
from joulestream.images.locked import environment_of, locked_for, pins_of, wanted
from schemas.errors import PipelineError
from tests.documentation import ROOT

HASH = "--hash=sha256:" + "0" * 64
LOCK = f"""\
# a comment
numbers==1.0 ; python_full_version < '3.11' \\
    {HASH}
    # via tool
numbers==2.0 ; python_full_version >= '3.11' \\
    {HASH} \\
    {HASH.replace("0", "1")}
    # via
    #   other
    #   tool[fast]
tool==3.1 \\
    {HASH}
    # via joulestream (setup.cfg)
windows-thing==1 ; sys_platform == 'win32' \\
    {HASH}
    # via tool
other==1 \\
    {HASH}
"""
SETUP = """\
[options]
install_requires =
    tool>=1
    old>=2; python_version < "3.11"
[options.extras_require]
# a comment
more =
    Other>=1
"""


def names(root: Path, extras: tuple[str, ...], python: str = "3.11") -> dict[str, str]:
    return {pin.name: pin.version for pin in locked_for(root, extras, python, "x86_64")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "setup.cfg").write_text(SETUP)
    return tmp_path


def test_what_is_wanted_brings_what_it_wants_in_turn(root: Path) -> None:
    assert names(root, ()) == {"tool": "3.1", "numbers": "2.0"}
    assert names(root, ("more",)) == {"tool": "3.1", "numbers": "2.0", "other": "1"}


def test_markers_are_decided_for_the_images_python_and_linux(root: Path) -> None:
    (root / "setup.cfg").write_text(SETUP.replace("old>=2", "other>=1"))
    assert names(root, (), "3.10") == {"tool": "3.1", "numbers": "1.0", "other": "1"}


def test_every_pin_keeps_all_its_hashes() -> None:
    pins = {(pin.name, pin.version): pin for pin in pins_of(LOCK)}
    assert pins["numbers", "2.0"].line == f"numbers==2.0 {HASH} {HASH.replace('0', '1')}"


def test_a_package_that_is_not_locked_is_said(root: Path) -> None:
    (root / "setup.cfg").write_text(SETUP.replace("tool>=1", "tool>=1\n    absent>=1"))
    with pytest.raises(PipelineError, match="does not have absent: lock again"):
        names(root, ())


def test_a_line_that_is_not_understood_is_no_silent_gap() -> None:
    with pytest.raises(PipelineError, match="no pin, no hash"):
        pins_of("tool @ https://example.org/tool.whl\n")


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_an_image_has_what_its_extras_ask_for_and_nothing_for_developers(image: object, machine: str) -> None:
    extras: tuple[str, ...] = image.extras  # type: ignore[attr-defined]  # pytest's parameter has no type
    pins = locked_for(ROOT, extras, PYTHON, machine)
    found = {pin.name for pin in pins}
    environment = environment_of(PYTHON, machine)
    assert wanted((ROOT / "setup.cfg").read_text(), extras, environment) <= found
    assert all(pin.hashes for pin in pins)
    assert len(found) == len(pins)
    assert not found & {"pytest", "ruff", "mypy", "selenium", "hypothesis"}
    if "embedded-store" not in extras:
        assert "secantusdb" not in found
