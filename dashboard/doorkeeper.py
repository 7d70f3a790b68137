"""Before the dashboard serves: whether the login that the settings ask for can work. Ends the process where not.

A store that cannot be read ends nothing, as the pages say so; the log says it too, once, at the start.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import streamlit as st

from conf.sections import MongoDB
from conf.settings import load_settings
from dashboard.store import Store
from schemas.errors import PipelineError

HOW = "see docs/how-to/dashboard-login.md"
NEEDED = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
# 256 bits in hexadecimal digits are 64; half of that is still out of reach of guessing.
LEAST_SECRET = 32
log = logging.getLogger(__name__)


def ready() -> None:
    """Returns where the dashboard can serve; ends the process with what is wrong and what to do where not."""
    try:
        check(load_settings().access.login, auth_secrets(), bool(find_spec("authlib") and find_spec("httpx")))
    except PipelineError as error:
        sys.stderr.write(f"dashboard: {error}\n")
        raise SystemExit(1) from None


def look_at_store() -> None:
    """Have the log told of the store, without waiting for it: the pages serve at once."""
    threading.Thread(
        target=tell_of_store, args=(load_settings().mongodb,), daemon=True, name="first look at the store"
    ).start()


def tell_of_store(mongodb: MongoDB) -> None:
    """Log why the document store cannot be read and what to do, where it cannot."""
    try:
        with Store(mongodb) as store:
            store.ping()
    except PipelineError as error:
        log.warning("%s; the pages say so too, and try again by themselves", str(error).rstrip("."))


def check(login: bool, auth: dict[str, Any], has_library: bool) -> None:
    """Raises PipelineError where people are to log in and cannot."""
    if not login:
        if auth:
            log.warning(
                "secrets.toml names a provider, but access.login is off: whoever reaches this page sees everything"
            )
        return
    if not has_library:
        raise PipelineError(
            "access.login is on, but Authlib or httpx is not installed: pip install '.[dashboard,login]'"
        )
    missing = [name for name in NEEDED if not auth.get(name)]
    if missing:
        raise PipelineError(
            f"access.login is on, but [auth] in Streamlit's secrets.toml lacks {', '.join(missing)}; {HOW}"
        )
    if len(str(auth["cookie_secret"])) < LEAST_SECRET:
        raise PipelineError(
            f"cookie_secret in secrets.toml has fewer than {LEAST_SECRET} characters, and who guesses it can log in as "
            'anybody; make one: python -c "import secrets; print(secrets.token_hex(32))"'
        )


def auth_secrets() -> dict[str, Any]:
    """[auth] of Streamlit's `secrets.toml`; empty where there is none that can be read (Streamlit's log says why)."""
    if not st.secrets.load_if_toml_exists():
        return {}
    found = st.secrets.get("auth")
    return dict(found) if isinstance(found, Mapping) else {}
