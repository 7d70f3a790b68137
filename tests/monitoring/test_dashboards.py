"""Dashboards: what Grafana can load, every query answered, no gap drawn over, every link and variable of use."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from joulestream.dashboards.generate import BOARDS, OVERLAY
from joulestream.dashboards.grafana import COLUMNS, SCHEMA_VERSION
from joulestream.exporter.metrics import METRICS, Kind
from tests.monitoring.promql import (
    DASHBOARDS,
    OTHERS,
    all_rules,
    labels_of,
    matchers_in,
    metrics_in,
    promtool,
    rule_files,
)

SCHEMA = json.loads((Path(__file__).parent / "grafana_schema.json").read_text("utf-8"))
FILES = sorted(DASHBOARDS.glob("*.json"))
SLUGS = [path.stem for path in FILES]
UNITS = {
    "short", "joule", "watt", "watth", "si:gCO2e", "suffix: gCO2e/kWh",
    "s", "bytes", "percentunit", "cps", "none",
}  # fmt: skip
# A client-side `kubectl apply` keeps the whole object in an annotation of at most this size.
MOST_BYTES = 262_144
# Values of labels that an expression asks for by name.
VALUES = {
    "status": ("running", "stale", "completed", "failed"),
    "use": ("attributed", "idle"),
    "zone": ("package",),
    "state": ("running",),
    "condition": ("true",),
    "namespace": ("bigdata-pipeline",),
    "alertname": ("JoulestreamQueryDown",),
    "alertstate": ("firing",),
    "le": ("1", "5", "+Inf"),
}


@cache
def board(slug: str) -> dict[str, Any]:
    """One dashboard, as it is committed."""
    found: dict[str, Any] = json.loads((DASHBOARDS / f"{slug}.json").read_text("utf-8"))
    return found


def panels(slug: str) -> list[dict[str, Any]]:
    """Its panels, those of folded rows too."""
    return [inner for panel in board(slug)["panels"] for inner in (panel, *panel.get("panels", ()))]


def shown(slug: str) -> list[dict[str, Any]]:
    """Its panels without the rows."""
    return [panel for panel in panels(slug) if panel["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    """Every expression, with the name of its panel."""
    return [
        (f"{slug}: {panel['title']}", target["expr"])
        for slug in SLUGS
        for panel in shown(slug)
        for target in panel["targets"]
    ]


def settled(expr: str) -> str:
    """The expression as Grafana sends it, with everything chosen."""
    known = {"$__rate_interval": "5m", "$__range": "10m", "$__interval": "1m"}
    for name, value in known.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+", ".*", expr)


@pytest.mark.parametrize("slug", SLUGS)
def test_grafana_can_load_it(slug: str) -> None:
    document = json.loads(json.dumps(board(slug)))
    for query in document["annotations"]["list"]:  # what Prometheus adds to an annotation
        for name in ("expr", "step", "titleFormat", "textFormat"):
            del query[name]
    jsonschema.Draft7Validator(SCHEMA["dashboard"]).validate(document)
    for panel in shown(slug):
        jsonschema.Draft7Validator(SCHEMA[panel["type"]]).validate(panel["options"])
        if panel["type"] == "timeseries":
            custom = panel["fieldConfig"]["defaults"]["custom"]
            jsonschema.Draft7Validator(SCHEMA["timeseries_field"]).validate(custom)


def test_the_files_are_those_of_the_sources_and_in_the_config_map() -> None:
    kustomization = yaml.safe_load((OVERLAY / "grafana" / "kustomization.yaml").read_text("utf-8"))
    maps = {one["name"]: one["files"] for one in kustomization["configMapGenerator"]}
    assert {one.slug for one in BOARDS} == set(SLUGS)
    assert sorted(maps["grafana-dashboards"]) == [f"dashboards/{slug}.json" for slug in SLUGS]
    assert all((OVERLAY / "grafana" / file).is_file() for file in maps["grafana-provisioning"])


def test_the_config_map_is_small_enough_to_be_applied() -> None:
    data = {path.name: path.read_text("utf-8") for path in FILES}
    assert len(json.dumps({"data": data}).encode()) < MOST_BYTES * 0.9


@pytest.mark.parametrize("slug", SLUGS)
def test_it_has_the_same_frame_as_the_others(slug: str) -> None:
    found, first = board(slug), board(SLUGS[0])
    for name in ("time", "refresh", "timezone", "links", "annotations", "tags", "graphTooltip"):
        assert found[name] == first[name], name
    assert found["schemaVersion"] == SCHEMA_VERSION
    assert found["uid"] == slug
    assert found["title"].startswith("Joulestream / ")
    assert found["links"][0]["keepTime"]
    assert found["links"][0]["includeVars"]


@pytest.mark.parametrize("slug", SLUGS)
def test_panels_have_ids_of_their_own_and_do_not_overlap(slug: str) -> None:
    ids = [panel["id"] for panel in panels(slug)]
    assert len(ids) == len(set(ids))
    taken: dict[tuple[int, int, int], str] = {}
    for number, panel in enumerate(board(slug)["panels"]):
        groups = [(0, [panel]), (number + 1, panel.get("panels", []))]
        for group, members in groups:
            for member in members:
                place = member["gridPos"]
                assert place["x"] >= 0
                assert place["x"] + place["w"] <= COLUMNS, member["title"]
                for x, y in product(range(place["w"]), range(place["h"])):
                    cell = (group, place["x"] + x, place["y"] + y)
                    assert cell not in taken, (member["title"], taken[cell])
                    taken[cell] = member["title"]


@pytest.mark.parametrize("slug", SLUGS)
def test_each_panel_says_what_it_is_in_which_unit(slug: str) -> None:
    titles = [(panel["type"], panel["title"]) for panel in shown(slug)]
    assert len(set(titles)) == len(titles)
    for panel in shown(slug):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs
        assert len(set(refs)) == len(refs)


@pytest.mark.parametrize("slug", SLUGS)
def test_what_is_missing_is_not_drawn(slug: str) -> None:
    for panel in shown(slug):
        lines = panel["type"] == "timeseries"
        for target in panel["targets"]:
            assert not re.search(r"\bor\b.*\bvector\s*\(", target["expr"]), panel["title"]
            assert target["instant"] is not lines, panel["title"]
        if lines:
            assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
        elif panel["type"] in ("stat", "bargauge"):
            assert panel["options"]["reduceOptions"]["calcs"] == ["last"], panel["title"]


@pytest.mark.parametrize("slug", SLUGS)
def test_limits_rise(slug: str) -> None:
    for panel in shown(slug):
        first, *steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert first["value"] is None
        assert all(low["value"] < high["value"] for low, high in pairwise(steps)), panel["title"]


@pytest.mark.parametrize("slug", SLUGS)
def test_every_variable_is_used_and_every_used_one_is_there(slug: str) -> None:
    there = {one["name"]: one for one in board(slug)["templating"]["list"]}
    text = json.dumps([panel["targets"] for panel in shown(slug)])
    used = {name for name in re.findall(r"\$\{?(\w+)", text) if not name.startswith("__")}
    assert used == there.keys()
    for name, one in there.items():
        if name != "datasource":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["query"]["query"]).groups()  # type: ignore[union-attr]
            assert label in (labels_of(metric) or ()), name
            assert one["allValue"] == ".*"


def test_the_data_source_is_the_one_that_is_provisioned() -> None:
    file = OVERLAY / "grafana" / "provisioning" / "datasources.yaml"
    (source,) = yaml.safe_load(file.read_text("utf-8"))["datasources"]
    for slug in SLUGS:
        (chosen,) = (one for one in board(slug)["templating"]["list"] if one["name"] == "datasource")
        assert chosen["current"]["value"] == source["uid"]
        assert {panel["datasource"]["uid"] for panel in shown(slug)} == {"${datasource}"}
    (provider,) = yaml.safe_load(file.with_name("dashboards.yaml").read_text("utf-8"))["providers"]
    assert provider["options"]["path"] in (OVERLAY / "grafana" / "kustomization.yaml").read_text("utf-8")


@pytest.mark.parametrize("slug", SLUGS)
def test_links_lead_to_a_dashboard_that_takes_the_choice(slug: str) -> None:
    for panel in shown(slug):
        for link in panel["fieldConfig"]["defaults"]["links"]:
            target, choices = re.fullmatch(r"/d/([\w-]+)\?(.*)", link["url"]).groups()  # type: ignore[union-attr]
            names = {one["name"] for one in board(target)["templating"]["list"]}
            for name, label in re.findall(r"var-(\w+)=\$\{__field\.labels\.(\w+)\}", choices):
                assert name in names, link
                assert all(re.search(rf"by \([^)]*\b{label}\b", t["expr"]) for t in panel["targets"]), link
            assert "${__url_time_range}" in choices


def test_the_overview_is_quick_and_leads_to_all_others() -> None:
    overview = board("joulestream-overview")
    first = [panel["type"] for panel in overview["panels"][1:7]]
    assert first == ["stat"] * 6
    assert not any(panel.get("collapsed") for panel in overview["panels"])
    for slug in SLUGS:
        if slug != "joulestream-overview":
            assert any(panel.get("collapsed") for panel in board(slug)["panels"]), slug
    text = json.dumps(overview["panels"])
    assert {slug for slug in SLUGS if f"/d/{slug}?" in text} >= set(SLUGS) - {
        "joulestream-overview",
        "joulestream-pods",
    }


def test_every_metric_and_label_of_a_panel_is_there() -> None:
    wrong = {
        (panel, name) for panel, expr in queries() for name in metrics_in(expr) if labels_of(name) is None
    }
    assert wrong == set()
    asked = {pair for _, expr in queries() for pair in matchers_in(expr)}
    assert ("joulestream_node_energy_joules_total", "use") in asked
    assert {(name, label) for name, label in asked if label not in (labels_of(name) or ())} == set()


def series() -> list[dict[str, str]]:
    """Some of every metric that there is, growing by 60 each minute."""
    names = {**{name: one.labels for name, one in METRICS.items()}, **OTHERS}
    for name, metric in METRICS.items():
        if metric.kind is Kind.HISTOGRAM:
            del names[name]
            names |= {f"{name}_bucket": (*metric.labels, "le")}
            names |= dict.fromkeys((f"{name}_sum", f"{name}_count"), metric.labels)
    found = []
    for name, labels in names.items():
        for values in product(*(VALUES.get(label, (f"a-{label}",)) for label in labels)):
            inside = ", ".join(f'{label}="{value}"' for label, value in zip(labels, values, strict=True))
            found.append({"series": f"{name}{{{inside}}}", "values": "60+60x20"})
    return found


def test_every_panel_shows_something_when_every_metric_is_there(tmp_path: Path) -> None:
    """This also finds a join whose labels do not meet, and PromQL that is none."""
    checks = [
        {
            "expr": f"count({settled(expr)}) > bool 0",
            "eval_time": "15m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for _, expr in queries()
    ]
    assert len(checks) > 80
    document = {
        "rule_files": [str(rule_files()[0])],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series(), "promql_expr_test": checks}],
    }
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_recorded_that_nobody_reads() -> None:
    read = {name for _, expr in queries() for name in metrics_in(expr)}
    read |= {name for rule in all_rules() for name in metrics_in(rule["expr"])}
    assert {rule["record"] for rule in all_rules() if "record" in rule} - read == set()
