"""The door: who looks, the page before the login, and the way out. Login is OpenID Connect, by Streamlit."""

from __future__ import annotations

import streamlit as st

from dashboard import context, widgets
from dashboard.claims import NotLoggedIn, Refused, user_of
from dashboard.store.access import SeesAll, Viewer


def viewer() -> Viewer:
    """Who looks. Raises NotLoggedIn or Refused."""
    return context.viewer()


def page(error: Exception) -> None:
    """In place of all pages: the way in, or why there is none."""
    st.title("Joulestream", anchor=False)
    if isinstance(error, NotLoggedIn):
        widgets.note(f"{_sentence(error)} What you see then is what your own runs use.")
        st.button("Log in", icon=":material/login:", type="primary", on_click=st.login, key="log-in")
    elif isinstance(error, Refused):
        st.error("**You are logged in, but nothing can be shown to you.**", icon=":material/block:")
        widgets.note(_sentence(error))
        _way_out()
    else:
        st.error("**The dashboard cannot start.**", icon=":material/warning:")
        widgets.note(_sentence(error))


def closed() -> None:
    """In place of a page about all people together."""
    widgets.title("For administrators", "This page is about everybody's runs together.")
    widgets.empty("It is not shown to you.", ("What your own runs use is on the other pages.",))


def who(viewer: Viewer) -> None:
    """Beside every page: as whom one is logged in, and the way out."""
    access = context.settings().access
    if not access.login:
        return
    with st.sidebar:
        what = "sees everything" if isinstance(viewer, SeesAll) else "sees their own runs"
        widgets.note(f"{user_of(st.user.to_dict(), access)}, {what}")
        _way_out()


def _way_out() -> None:
    st.button("Log out", icon=":material/logout:", on_click=st.logout, key="log-out")


def _sentence(error: Exception) -> str:
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
