"""What the pages keep of what they read is kept for each viewer apart."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from dashboard import context
from dashboard.claims import NotLoggedIn
from dashboard.store.access import Person, SeesAll, Viewer

TREE = ast.parse(Path(context.__file__).read_text("utf-8"))
KEPT = {
    node.name: len(node.args.args) - 1
    for node in TREE.body
    if isinstance(node, ast.FunctionDef)
    for decorator in node.decorator_list
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "kept"
}
ANN, BOB = Person("ann"), Person("bob")


class Echo:
    """A store that answers with whose it is and what was asked."""

    def __init__(self, *path: Any) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Echo:
        if name.startswith("__"):
            raise AttributeError(name)
        return Echo(*self._path, name)

    def __call__(self, *args: Any, **options: Any) -> tuple[Any, ...]:
        return self._path


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls a read of the pages as somebody."""

    def as_somebody(who: Viewer, name: str) -> Any:
        monkeypatch.setattr(context, "viewer", lambda: who)
        monkeypatch.setattr(context, "store_of", lambda viewer: Echo(repr(viewer)))
        return getattr(context, name)(*["x"] * KEPT[name])

    return as_somebody


def test_the_pages_read_through_kept_functions() -> None:
    assert len(KEPT) > 20
    users = [node for node in ast.walk(TREE) if isinstance(node, ast.Attribute) and node.attr == "cache_data"]
    assert len(users) == 1


@pytest.mark.parametrize("name", list(KEPT))
def test_no_viewer_gets_what_was_read_for_another(look: Any, name: str) -> None:
    for who in (ANN, BOB, SeesAll(), ANN, BOB):
        shown = repr(look(who, name))
        assert repr(who) in shown
        assert not [other for other in (ANN, BOB, SeesAll()) if other != who and repr(other) in shown]


def test_no_read_gets_what_another_one_kept(look: Any) -> None:
    found = {repr(look(ANN, name)) for name in KEPT}
    # The same method of the store stands behind these pairs.
    assert len(found) == len(KEPT) - len({"live_points", "settled_points"}) + 1


def test_nothing_is_read_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Viewer:
        raise NotLoggedIn("please log in")

    monkeypatch.setattr(context, "viewer", nobody)
    monkeypatch.setattr(context, "store_of", lambda viewer: pytest.fail("read"))
    for name, n_args in KEPT.items():
        with pytest.raises(NotLoggedIn):
            getattr(context, name)(*["x"] * n_args)
    with pytest.raises(NotLoggedIn):
        context.store()
