"""The dashboard: `streamlit run dashboard/app.py`, with the settings of the environment."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from dashboard.doorkeeper import look_at_store, ready
from dashboard.headers import SecurityHeaders

ready()
look_at_store()
app = App(Path(__file__).parent / "pages.py", middleware=[Middleware(SecurityHeaders)])
