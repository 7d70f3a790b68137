"""The dashboard: `streamlit run dashboard/app.py`, with the settings of the environment."""

from __future__ import annotations

import streamlit as st

from dashboard import context, widgets
from dashboard.store import StoreAway
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


def pages() -> list[st.Page]:
    """All pages, in the order of the menu. `run` and `runs` are addresses that others print."""
    return [
        st.Page(overview.page, title="Overview", icon=":material/bolt:", url_path="overview", default=True),
        st.Page(runs.page, title="Runs", icon=":material/list:", url_path="runs"),
        st.Page(run.page, title="Run", icon=":material/monitoring:", url_path="run"),
        st.Page(compare.page, title="Compare", icon=":material/compare_arrows:", url_path="compare"),
        st.Page(groups.page, title="Users and models", icon=":material/group:", url_path="groups"),
        st.Page(nodes.page, title="Nodes", icon=":material/dns:", url_path="nodes"),
        st.Page(forecast.page, title="Forecast", icon=":material/trending_up:", url_path="forecast"),
        st.Page(
            budgets.page, title="Budgets and alerts", icon=":material/notifications:", url_path="budgets"
        ),
        st.Page(quality.page, title="Data quality", icon=":material/rule:", url_path="quality"),
        st.Page(methodology.page, title="Methodology", icon=":material/function:", url_path="methodology"),
    ]


def main() -> None:
    """Draw the chosen page, or what is wrong and what to do."""
    st.set_page_config(page_title="Joulestream", page_icon="⚡", layout="wide", initial_sidebar_state=230)
    st.html(widgets.STYLE)
    listed = pages()
    st.session_state[widgets.PAGES] = {page.url_path or "overview": page for page in listed}
    chosen = st.navigation(listed)
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
