"""The exporter in the stack of one machine: only where it is asked for, on 127.0.0.1, on a port of the stack's."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulestream.local.java import Java
from joulestream.local.plan import Plan, Wishes, make_plan


def planned(folder: Path, exporter: bool) -> Plan:
    wishes = Wishes(
        folder,
        kafka_bootstrap="127.0.0.1:9092",
        mongodb_uri="mongodb://127.0.0.1:27017",
        exporter=exporter,
        port_base=31_000,
    )
    return make_plan(wishes, Java(folder, 17, "here"), None, None)


def test_it_is_started_only_where_it_is_asked_for(tmp_path: Path) -> None:
    assert "exporter" in {service.name for service in planned(tmp_path, exporter=True).services}
    assert "exporter" not in {service.name for service in planned(tmp_path, exporter=False).services}


def test_it_listens_on_this_machine_alone_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOULE_EXPORTER_HOST", "0.0.0.0")  # noqa: S104 - what it must not be
    plan = planned(tmp_path, exporter=True)
    (service,) = [one for one in plan.services if one.name == "exporter"]
    assert service.env["JOULE_EXPORTER_HOST"] == "127.0.0.1"
    assert service.env["JOULE_EXPORTER_PORT"] == str(service.port) == str(plan.ports["exporter"])
    assert service.port != plan.ports["dashboard"]
