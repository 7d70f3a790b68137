"""The dashboard: `streamlit run dashboard/app.py`, with the settings of the environment."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from dashboard.doorkeeper import ready
from dashboard.headers import SecurityHeaders

ready()
app = App(Path(__file__).parent / "pages.py", middleware=[Middleware(SecurityHeaders)])
