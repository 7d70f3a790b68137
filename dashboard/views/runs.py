"""Runs: find them, export them, open or compare them."""

from __future__ import annotations

from hashlib import sha256

import streamlit as st

from dashboard import context, export, tables, widgets
from dashboard.store import Run, RunFilter
from dashboard.store.rows import STATUSES
from dashboard.text import shortened

LIMIT = 1000
MAX_COMPARED = 10
SHOWN_ROWS, ROW_PX = 18, 35
CHOICES = (
    ("Owner", "user", "user_id"),
    ("Model", "model", "model_name"),
    ("Dataset", "dataset", "dataset_name"),
    ("Region", "region", "region_iso"),
    ("Project", "project", "project"),
)
ACTIVE = {
    "any time": None,
    "last hour": "1 h",
    "last 24 h": "24 h",
    "last 7 days": "7 d",
    "last 30 days": "30 d",
}


def page() -> None:
    """Draw the page."""
    widgets.title("Runs", "Every run with its energy, its emissions and what it learned for them.")
    wanted, recency = filters()
    widgets.live(listing)(wanted, recency)


def filters() -> tuple[RunFilter, str]:
    """The filters; they live in the URL, and outside of the part that refreshes."""
    found = context.choices()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Search",
            key="q",
            bind="query-params",
            placeholder="run, owner, model, dataset, project",
            max_chars=200,
            width=270,
        )
        recency = st.selectbox("Active", list(ACTIVE), key="active", bind="query-params", width=150)
        statuses = st.pills(
            "Status", STATUSES[:-1], selection_mode="multi", key="status", bind="query-params"
        )
    picked: dict[str, tuple[str, ...]] = {}
    with st.container(horizontal=True):
        for label, key, name in CHOICES:
            picked[key] = tuple(
                st.multiselect(
                    label,
                    found[name],
                    key=key,
                    bind="query-params",
                    format_func=shortened,
                    placeholder="any",
                    width=155,
                )
            )
    wanted = RunFilter(
        text=text or "",
        statuses=tuple(statuses),
        users=picked["user"],
        models=picked["model"],
        datasets=picked["dataset"],
        regions=picked["region"],
        projects=picked["project"],
    )
    return wanted, recency or "any time"


def listing(wanted: RunFilter, recency: str) -> None:
    """The table, what can be done with the selected runs, and the downloads."""
    since = context.since(ACTIVE[recency]) if ACTIVE[recency] else None
    asked = RunFilter(**{**vars(wanted), "active_from": since})
    listed = context.runs(asked, LIMIT)
    if not listed.runs:
        if wanted == RunFilter() and since is None:
            widgets.empty("No run has arrived yet.", widgets.NO_RUNS)
        else:
            widgets.empty("No run matches.", ("Take away a filter, or choose a longer time.",))
        return
    key = f"runs-{sha256(repr((wanted, recency)).encode()).hexdigest()[:12]}"
    runs = in_known_order(listed.runs, key)
    bar = st.container(horizontal=True, vertical_alignment="center")
    event = widgets.run_table(
        tables.run_columns(runs),
        key,
        "Runs that match the filters",
        on_select="rerun",
        selection_mode="multi-row",
        height="content" if len(runs) <= SHOWN_ROWS else ROW_PX * (SHOWN_ROWS + 1),
    )
    chosen = [runs[row].run_id for row in event.selection.rows if row < len(runs)]
    with bar:
        actions(chosen)
        downloads(runs)
    shown = (
        f"{len(runs):,} runs"
        if listed.matching == len(runs)
        else f"The newest {len(runs):,} of {listed.matching:,} runs"
    )
    widgets.note(f"{shown}. CO₂e is location-based, with average intensity; times are UTC.")


def in_known_order(runs: tuple[Run, ...], key: str) -> list[Run]:
    """While rows are selected, runs keep their rows: a selection is by row, and no refresh may move it."""
    state = st.session_state.get(key)
    selected = bool(state and state["selection"]["rows"])
    order: list[str] = st.session_state.get(f"{key}-order", []) if selected else []
    found = {run.run_id: run for run in runs}
    kept = [found.pop(run_id) for run_id in order if run_id in found]
    ordered = [*kept, *found.values()] if len(kept) == len(order) else list(runs)
    st.session_state[f"{key}-order"] = [run.run_id for run in ordered]
    return ordered


def actions(chosen: list[str]) -> None:
    """Open or compare the selected runs."""
    pages = st.session_state[widgets.PAGES]
    if st.button("Open run", icon=":material/monitoring:", disabled=len(chosen) != 1, key="open"):
        st.switch_page(pages["run"], query_params={"run": chosen[0]})
    label = f"Compare {len(chosen)}" if len(chosen) > 1 else "Compare"
    too_many = len(chosen) > MAX_COMPARED
    if st.button(
        label,
        icon=":material/compare_arrows:",
        disabled=len(chosen) < 2 or too_many,
        key="compare",
        help=f"Select 2 to {MAX_COMPARED} runs in the table",
    ):
        st.switch_page(pages["compare"], query_params={"run": chosen})


def downloads(runs: list[Run]) -> None:
    """What the table shows, as files that are made when asked for."""
    st.download_button(
        "CSV",
        lambda: export.runs_csv(runs),
        "runs.csv",
        "text/csv",
        key="csv",
        on_click="ignore",
        icon=":material/download:",
        help="Texts that a spreadsheet would read as formulas begin with an apostrophe",
    )
    st.download_button(
        "JSON",
        lambda: export.runs_json(runs),
        "runs.json",
        "application/json",
        key="json",
        on_click="ignore",
        icon=":material/download:",
    )
