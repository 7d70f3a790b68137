"""Addresses of things on other pages, relative to the pages beside them."""

from __future__ import annotations

from urllib.parse import quote


def alert_link(alert_id: str) -> str:
    """Address of an alert."""
    return f"./budgets?alert={quote(alert_id, safe='')}"


def budget_link(name: str) -> str:
    """Address of the page with a budget."""
    return f"./budgets?budget={quote(name, safe='')}"


def forecast_link(target: str) -> str:
    """Address of a series' forecasts."""
    return f"./forecast?target={quote(target, safe='')}"
