"""A dashboard as the JSON that Grafana (10.3 and newer) reads.

Missing is not zero: lines stop where there is no sample (`spanNulls` is false), and a panel without data says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from joulestream.dashboards.model import Dashboard, Link, Panel, Query, Section, Show, Step, Variable

Json = dict[str, Any]

SCHEMA_VERSION = 39
COLUMNS = 24
TAG = "joulestream"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The uid of the data source that is provisioned; another one can be chosen at the top.
PROVISIONED = {"text": "Prometheus", "value": "joulestream-prometheus"}
# Okabe-Ito: told apart by colour-blind people too.
GOOD, WARN, BAD, PLAIN = "#009E73", "#E69F00", "#D55E00", "#0072B2"


def dashboard_json(board: Dashboard) -> Json:
    """The whole file."""
    return {
        "uid": board.slug,
        "title": board.title,
        "description": board.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "links": [_to_all()],
        "annotations": {"list": [_alerts()]},
        "templating": {"list": [_datasource(), *(_variable(one) for one in board.variables)]},
        "panels": list(_panels(board.sections)),
    }


def _to_all() -> Json:
    """A link to each of our dashboards, with the range and the choices of this one."""
    return {
        "type": "dashboards",
        "title": "Joulestream",
        "tags": [TAG],
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
        "url": "",
    }


def _alerts() -> Json:
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": BAD,
        "expr": 'ALERTS{alertname=~"Joulestream.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}}",
        "step": "60s",
    }


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "refresh": 1,
        "options": [],
        "current": {"selected": False, **PROVISIONED},
    }


def _variable(one: Variable) -> Json:
    query = f"label_values({one.metric}, {one.label})"
    return {
        "name": one.name,
        "label": one.title,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "regex": "",
        "hide": 0,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        # Anew with each change of the range.
        "refresh": 2,
        "sort": 1,
        "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panels(sections: Sequence[Section]) -> Iterator[Json]:
    """The panels, numbered and placed; a folded section holds its own, as Grafana wants it."""
    number, top = 1, 0
    for section in sections:
        row = {
            "id": number,
            "type": "row",
            "title": section.title,
            "collapsed": section.folded,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }
        placed, below = _placed(section.panels, number + 1, top + 1)
        yield {**row, "panels": placed if section.folded else []}
        if not section.folded:
            yield from placed
        number += 1 + len(placed)
        top = top + 1 if section.folded else below


def _placed(panels: Sequence[Panel], number: int, top: int) -> tuple[list[Json], int]:
    """Left to right; the next line begins where no room is left, below the tallest panel of the last."""
    placed: list[Json] = []
    left, tallest = 0, 0
    for panel in panels:
        if left + panel.width > COLUMNS:
            left, top, tallest = 0, top + tallest, 0
        place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
        placed.append({"id": number + len(placed), "gridPos": place, **_panel(panel)})
        left, tallest = left + panel.width, max(tallest, panel.height)
    return placed, top + tallest


def _panel(panel: Panel) -> Json:
    found: Json = {
        "type": panel.show.value,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [_target(panel, index, query) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _OPTIONS[panel.show],
    }
    if panel.show is Show.TABLE:
        found["transformations"] = _transformations(panel)
    return found


def _target(panel: Panel, index: int, query: Query) -> Json:
    lines = panel.show is Show.LINES
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": not lines,
        "range": lines,
        "format": "table" if panel.show is Show.TABLE else "time_series",
    }


def _defaults(panel: Panel) -> Json:
    found: Json = {
        "unit": panel.unit.value,
        "noValue": panel.without,
        "mappings": _mappings(panel.words),
        "thresholds": {"mode": "absolute", "steps": _steps(panel.steps)},
        "color": {"mode": "palette-classic" if panel.show is Show.LINES else "thresholds"},
        "links": [_link(link) for link in panel.links],
    }
    bounds = {"min": panel.least, "max": panel.most, "decimals": panel.decimals}
    found.update({name: value for name, value in bounds.items() if value is not None})
    if panel.show is Show.LINES:
        found["custom"] = _custom(panel)
    return found


def _custom(panel: Panel) -> Json:
    """How lines are drawn: never across a gap."""
    return {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 2,
        "fillOpacity": 25 if panel.stacked else 0,
        "showPoints": "auto",
        "pointSize": 4,
        "spanNulls": False,
        "insertNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        "axisPlacement": "auto",
        "scaleDistribution": {"type": "linear"},
    }


def _steps(steps: Sequence[Step]) -> list[Json]:
    base = GOOD if steps else PLAIN
    return [{"color": base, "value": None}, *({"color": s.colour, "value": s.value} for s in steps)]


def _mappings(words: Mapping[str, str] | None) -> list[Json]:
    """Words in place of values, such as `down` for 0."""
    if not words:
        return []
    return [{"type": "value", "options": {value: {"text": word} for value, word in words.items()}}]


def _link(link: Link) -> Json:
    choices = [f"var-{name}=${{__field.labels.{label}}}" for name, label in link.variables.items()]
    query = "&".join([*choices, "${__url_time_range}", "${datasource:queryparam}"])
    return {"title": link.title, "url": f"/d/{link.dashboard}?{query}", "targetBlank": False}


def _overrides(panel: Panel) -> list[Json]:
    """The unit of each column of a table."""
    return [
        {
            "matcher": {"id": "byName", "options": column.title},
            "properties": [{"id": "unit", "value": column.unit.value}],
        }
        for column in panel.columns
    ]


def _transformations(panel: Panel) -> list[Json]:
    """Only the columns that are named, in this order; the rows of several queries joined by their labels."""
    titles = {column.field: column.title for column in panel.columns}
    if len(panel.queries) == 1 and "Value #A" in titles:  # a lone query's value has no letter
        titles = {("Value" if field == "Value #A" else field): title for field, title in titles.items()}
    return [
        {"id": "merge", "options": {}},
        {"id": "filterFieldsByName", "options": {"include": {"names": list(titles)}}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {},
                "indexByName": {field: index for index, field in enumerate(titles)},
                "renameByName": titles,
            },
        },
    ]


_REDUCE: Json = {"calcs": ["last"], "fields": "", "values": False}
_OPTIONS: Mapping[Show, Json] = {
    Show.STAT: {
        "reduceOptions": _REDUCE,
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    },
    Show.LINES: {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    Show.BARS: {
        "reduceOptions": _REDUCE,
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "namePlacement": "auto",
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 300,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
    },
    Show.TABLE: {
        "frameIndex": 0,
        "showHeader": True,
        "cellHeight": "sm",
        "footer": {"show": False, "reducer": ["sum"]},
    },
}
