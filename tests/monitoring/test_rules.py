"""Rules and runbooks: each alert fires when it should, names metrics that exist, and has a page that helps."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from joulestream.dashboards.generate import OVERLAY, files, rule_files
from joulestream.exporter.metrics import METRICS
from tests.documentation import ROOT, blocks, section
from tests.monitoring.promql import RULES, alerts, all_rules, labels_of, matchers_in, metrics_in, promtool

CASES = Path(__file__).parent / "rules"
RUNBOOKS = ROOT / "docs" / "how-to" / "runbooks"
BASE = "https://docs.example"
SECTIONS = ("## Meaning", "## Impact", "## First look", "## Causes", "## Remedy", "## Over when")
_FIRING = re.compile(r'ALERTS\{(?:alertname="(\w+)", )?alertstate="firing"\}')


def page_of(rule: dict[str, Any]) -> str:
    """The page that an alert links to, as its template gives it without a setting."""
    return re.sub(r"\{\{.*\}\}", "", rule["annotations"]["runbook_url"])


@cache
def cases() -> list[dict[str, Any]]:
    """All cases of all files, each with the rule files that it needs."""
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        found += [{**case, "rule_files": document["rule_files"]} for case in document["tests"]]
    return found


def checks(alert: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The checks of one alert, each with its case."""
    return [
        (case, check)
        for case in cases()
        for check in case["promql_expr_test"]
        if _FIRING.fullmatch(check["expr"])[1] == alert  # type: ignore[index]
    ]


def test_the_rules_are_rules_of_prometheus() -> None:
    done = promtool("check", "rules", *rule_files())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts())
def test_each_alert_is_seen_firing_and_silent(alert: str) -> None:
    expected = [bool(check["exp_samples"]) for _, check in checks(alert)]
    assert True in expected
    assert False in expected


def test_the_manifests_are_those_of_the_sources() -> None:
    stale = [path.name for path, text in files().items() if path.read_text("utf-8") != text]
    assert stale == [], "run: python -m joulestream.dashboards.generate"


def test_the_manifest_holds_every_group_as_it_is() -> None:
    manifest = yaml.safe_load((RULES / "prometheusrule.yaml").read_text("utf-8"))
    groups = [group for file in rule_files() for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]
    assert manifest["spec"] == {"groups": groups}


def test_every_metric_of_a_rule_is_there() -> None:
    named = {name for rule in all_rules() for name in metrics_in(rule["expr"])}
    assert "joulestream_store_up" in named
    assert {name for name in named if labels_of(name) is None} == set()


def test_every_label_that_a_rule_asks_for_is_there() -> None:
    asked = {pair for rule in all_rules() for pair in matchers_in(rule["expr"])}
    assert ("joulestream_runs", "status") in asked
    assert {(name, label) for name, label in asked if label not in (labels_of(name) or ())} == set()


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = alerts()[alert]
    assert alert.startswith("Joulestream")
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert len(rule["annotations"]["summary"]) < 120
    assert len(rule["annotations"]["description"]) > 80


def test_no_two_rules_have_one_name() -> None:
    names = [rule.get("alert") or rule["record"] for rule in all_rules()]
    assert len(names) == len(set(names))


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    wanted = {page_of(rule) for rule in alerts().values()}
    there = {str(path.relative_to(ROOT)) for path in RUNBOOKS.glob("*.md") if path.name != "index.md"}
    assert wanted == there
    assert len(wanted) == len(alerts())


@pytest.mark.parametrize("alert", alerts())
def test_a_page_is_of_its_alert_and_answers_all_questions(alert: str) -> None:
    text = (ROOT / page_of(alerts()[alert])).read_text("utf-8")
    assert text.startswith(f"# {alert}\n")
    assert f"**{alerts()[alert]['labels']['severity']}**" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == list(SECTIONS)
    for heading in SECTIONS:
        assert len(section(text, heading).strip()) > 20, heading


def test_the_index_of_the_pages_names_them_all() -> None:
    listed = re.findall(r"\[(\w+)\]\(([\w-]+\.md)\)", (RUNBOOKS / "index.md").read_text("utf-8"))
    assert {name: f"docs/how-to/runbooks/{page}" for name, page in listed} == {
        name: page_of(rule) for name, rule in alerts().items()
    }


def firing() -> list[dict[str, Any]]:
    """One test per alert that expects nothing where it fires, so that promtool shows what it found."""
    found = []
    for alert in alerts():
        case, check = next(pair for pair in checks(alert) if pair[1]["exp_samples"])
        asked = {"eval_time": check["eval_time"], "alertname": alert, "exp_alerts": []}
        found.append(
            {
                "interval": case["interval"],
                "input_series": case["input_series"],
                "external_labels": {"docs_url": BASE},
                "alert_rule_test": [asked],
            }
        )
    return found


def test_the_texts_are_filled_in(tmp_path: Path) -> None:
    document = {
        "rule_files": [str(path) for path in rule_files()],
        "evaluation_interval": "1m",
        "tests": firing(),
    }
    path = tmp_path / "texts.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    said = promtool("test", "rules", path)
    texts = re.findall(r"Annotations:\{(.*)\}", said.stdout + said.stderr)
    texts = [text for text in texts if text]
    assert len(texts) >= len(alerts())
    for text in texts:
        assert not re.search(r"\{\{|\}\}|no value|<error|%!|NaN|\bfor query  ", text), text
        assert re.search(rf'runbook_url="{BASE}/docs/how-to/runbooks/[\w-]+\.md"', text), text
        assert not re.search(r"(?:of|from|node|query|budget) [,.(]", text), text


def base() -> list[dict[str, Any]]:
    """The objects of the base manifests."""
    paths = sorted((ROOT / "k8s" / "base").glob("*.yaml"))
    found = [one for path in paths for one in yaml.safe_load_all(path.read_text("utf-8"))]
    return [one for one in found if one and one["kind"] != "Kustomization"]


def test_what_kubectl_is_asked_for_is_in_the_manifests() -> None:
    text = "\n".join(path.read_text("utf-8") for path in RUNBOOKS.glob("*.md"))
    spans = re.findall(
        r"`(kubectl [^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    commands = "\n".join([*(content for _, content in blocks(text, "bash")), *spans])
    short = {"deploy": "Deployment", "svc": "Service"}
    full = {"statefulset": "StatefulSet", "daemonset": "DaemonSet", "job": "Job"}
    kinds = {**short, **full}
    asked = re.findall(rf"\b({'|'.join(kinds)})/([\w-]+)", commands)
    there = {(one["kind"], one["metadata"]["name"]) for one in base()}
    assert len(asked) > 30
    assert {(kinds[kind], name) for kind, name in asked} - there == set()
    apps = {(one["metadata"].get("labels") or {}).get("app") for one in base()}
    assert set(re.findall(r"-l app=([\w-]+)", commands)) - apps == set()
    namespaces = {one["metadata"].get("namespace") for one in base() if one["kind"] in kinds.values()}
    assert set(re.findall(r"-n ([\w-]+)", commands)) <= namespaces


def test_a_scrape_does_not_rename_the_labels_of_the_exporter() -> None:
    """The operator gives each series the target's own `namespace` and `pod`: ours of that name would be renamed."""
    given = {"namespace", "pod", "service", "container", "endpoint", "instance", "job"}
    taken = {label for metric in METRICS.values() for label in metric.labels} & given
    documents = yaml.safe_load_all((OVERLAY / "monitors.yaml").read_text("utf-8"))
    monitors = [one for one in documents if one["kind"] == "ServiceMonitor"]
    ours = [one for one in monitors if one["metadata"]["name"] == "stream-exporter"]
    endpoints = [endpoint for one in ours for endpoint in one["spec"]["endpoints"]]
    assert endpoints
    assert not taken or all(endpoint.get("honorLabels") for endpoint in endpoints), taken
