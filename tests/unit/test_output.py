"""What tables look like on a terminal: nothing in them is ever cut off."""

from __future__ import annotations

import io
import sys
from datetime import datetime, timezone

import pytest

from joulestream import output

RUN = "mlp-breast-cancer-20261121-113236-db962d"
SOURCE = "Our World in Data/Ember (CC-BY-4.0), via codecarbon 3.3.2, country SWE, 2023"


class Terminal(io.StringIO):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, row: dict[str, object]) -> list[str]:
    """The lines below the header, on a terminal of 60 columns."""
    shown = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", shown)
        patch.setenv("COLUMNS", "60")
        patch.setenv("TERM", "xterm")
        output.print_table([row])
    return shown.getvalue().splitlines()[1:]


def test_numbers_and_names_are_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"run": RUN, "kWh": 1.34669e-05, "kg CO2e": 5.48037e-07, "mean W": 0.880818, "user": "grace"}
    (line,) = on_terminal(monkeypatch, row)
    assert line.split() == [RUN, "1.34669e-05", "5.48037e-07", "0.880818", "grace"]


def test_prose_is_wrapped_and_not_cut_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = on_terminal(monkeypatch, {"run": "a", "source": SOURCE})
    assert len(lines) > 1
    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()) == f"a {SOURCE}"


def test_piped_a_row_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    output.print_table([{"run": RUN, "source": SOURCE * 3}])
    assert capsys.readouterr().out.splitlines()[1].split(maxsplit=1) == [RUN, SOURCE * 3]


def test_tables_tell_times_to_the_second_and_json_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=timezone.utc)
    assert output.cell(at) == "2026-01-02T03:04:05Z"
    output.print_json({"at": at})
    assert "2026-01-02T03:04:05.678900Z" in capsys.readouterr().out
