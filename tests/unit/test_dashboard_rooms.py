"""Rules of the room: nothing writes, the store draws nothing, every figure has its definition, no name is markdown."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dashboard
from dashboard.definitions import DEFINITIONS

ROOM = Path(dashboard.__file__).parent
FILES = sorted(ROOM.rglob("*.py"))
READS = {"find", "find_one", "aggregate", "count_documents", "distinct", "command"}
WRITES = {
    "insert_one",
    "insert_many",
    "update_one",
    "update_many",
    "replace_one",
    "delete_one",
    "delete_many",
    "bulk_write",
    "drop",
    "drop_collection",
    "drop_database",
    "create_collection",
    "create_index",
    "create_indexes",
    "drop_index",
    "drop_indexes",
    "rename",
    "find_one_and_update",
    "find_one_and_replace",
    "find_one_and_delete",
}


def tree(file: Path) -> ast.AST:
    return ast.parse(file.read_text("utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOM)))
def test_no_file_writes_to_the_store(file: Path) -> None:
    called = {node.attr for node in ast.walk(tree(file)) if isinstance(node, ast.Attribute)}
    assert not called & WRITES
    texts = {node.value for node in ast.walk(tree(file)) if isinstance(node, ast.Constant)}
    assert not texts & {"$out", "$merge"}


def test_only_the_reader_holds_a_collection() -> None:
    users = [file.name for file in FILES if "from pymongo" in file.read_text("utf-8")]
    assert sorted(users) == ["facade.py", "reader.py"]
    called = {
        node.func.attr
        for node in ast.walk(tree(ROOM / "store" / "reader.py"))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, (ast.Subscript, ast.Attribute))
        and ast.unparse(node.func.value).startswith(("self._db[", "self._client.admin"))
    }
    assert called <= READS
    assert called


def test_the_store_imports_neither_streamlit_nor_plotly() -> None:
    code = "import dashboard.store, sys; print(sorted({'streamlit', 'plotly', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_page_polls_in_a_loop() -> None:
    for file in FILES:
        assert not [node for node in ast.walk(tree(file)) if isinstance(node, ast.While)]
        assert "sleep" not in {node.attr for node in ast.walk(tree(file)) if isinstance(node, ast.Attribute)}


def test_every_definition_is_used_and_every_used_one_is_there() -> None:
    texts = {
        node.value
        for file in FILES
        if file.name != "definitions.py"
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(DEFINITIONS) <= texts


def test_definitions_say_name_unit_meaning_and_formula() -> None:
    for definition in DEFINITIONS.values():
        assert all((definition.name, definition.unit, definition.meaning, definition.formula))
        assert definition.meaning.endswith(".")
