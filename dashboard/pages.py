"""What the dashboard shows: the script that Streamlit runs for each viewer. `app.py` serves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard import context, login, widgets
from dashboard.store import StoreAway
from dashboard.store.access import SeesAll
from dashboard.views import (
    budgets,
    compare,
    forecast,
    groups,
    methodology,
    nodes,
    overview,
    quality,
    run,
    runs,
)
from schemas.errors import PipelineError


def pages(sees_all: bool) -> list[st.Page]:
    """The pages of a viewer, in the order of the menu. `run` and `runs` are addresses that others print."""
    return [
        st.Page(overview.page, title="Overview", icon=":material/bolt:", url_path="overview", default=True),
        st.Page(runs.page, title="Runs", icon=":material/list:", url_path="runs"),
        st.Page(run.page, title="Run", icon=":material/monitoring:", url_path="run"),
        st.Page(compare.page, title="Compare", icon=":material/compare_arrows:", url_path="compare"),
        st.Page(groups.page, title="Users and models", icon=":material/group:", url_path="groups"),
        *for_all_seers(sees_all, nodes.page, title="Nodes", icon=":material/dns:", url_path="nodes"),
        st.Page(forecast.page, title="Forecast", icon=":material/trending_up:", url_path="forecast"),
        st.Page(
            budgets.page, title="Budgets and alerts", icon=":material/notifications:", url_path="budgets"
        ),
        *for_all_seers(
            sees_all, quality.page, title="Data quality", icon=":material/rule:", url_path="quality"
        ),
        st.Page(methodology.page, title="Methodology", icon=":material/function:", url_path="methodology"),
    ]


def for_all_seers(sees_all: bool, page: Callable[[], None], **options: Any) -> list[st.Page]:
    """A page about all people together; to others an address that says so. It would show them nothing anyway."""
    if sees_all:
        return [st.Page(page, **options)]
    return [st.Page(login.closed, **options, visibility="hidden")]


def main() -> None:
    """Draw the chosen page, or what is wrong and what to do."""
    st.set_page_config(page_title="Joulestream", page_icon="⚡", layout="wide", initial_sidebar_state=230)
    st.html(widgets.STYLE)
    try:
        viewer = login.viewer()
    except PipelineError as error:
        # The addresses stay known, so that no page is "not found" to those who have yet to log in.
        st.navigation(pages(True), position="hidden")
        login.page(error)
        return
    listed = pages(isinstance(viewer, SeesAll))
    st.session_state[widgets.PAGES] = {page.url_path or "overview": page for page in listed}
    chosen = st.navigation(listed)
    login.who(viewer)
    try:
        every = context.settings().dashboard.refresh_s
        st.sidebar.toggle(
            "Live updates", True, key=widgets.LIVE_KEY, help=f"Refresh the live parts every {every:g} s"
        )
        chosen.run()
    except StoreAway:
        widgets.await_store()
    except PipelineError as error:
        st.error(str(error), icon=":material/warning:")


if __name__ == "__main__":
    main()
