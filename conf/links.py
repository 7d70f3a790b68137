"""Links into the dashboard, so that the tracker and the CLI print the same ones."""

from __future__ import annotations

from urllib.parse import quote

from conf.settings import Settings


def dashboard_url(settings: Settings) -> str:
    """Base address of the dashboard, without a slash at its end."""
    return (settings.dashboard.url or f"http://127.0.0.1:{settings.dashboard.port}").rstrip("/")


def run_url(base_url: str, run_id: str) -> str:
    """The permalink of one run."""
    return f"{base_url.rstrip('/')}/run?run={quote(run_id, safe='')}"


def budget_url(base_url: str, name: str) -> str:
    """The page of budgets with one of them first."""
    return f"{base_url.rstrip('/')}/budgets?budget={quote(name, safe='')}"


def node_url(base_url: str, node_id: str) -> str:
    """The permalink of one node."""
    return f"{base_url.rstrip('/')}/nodes?node={quote(node_id, safe='')}"
