"""Builders of budgets and alerts as the alerts process writes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.dashboard_documents import Documents


def budget(
    name: str,
    scope: str,
    key: str | None,
    limit: float,
    unit: str,
    now: datetime,
    spent: float | None,
    ends: tuple[float, float, float] | None,
    probability: float | None,
    **more: Any,
) -> dict[str, Any]:
    """A budget with its status; `ends` is p10, point and p90 of what it will be at the end of its period."""
    document: dict[str, Any] = {
        "_id": name,
        "name": name,
        "scope": scope,
        "limit": limit,
        "unit": unit,
        "period": "month",
        "on_break": "notify",
        "channels": ["webhook"],
        "created_at": now - timedelta(days=3),
        "created_by": "ada",
        "schema_version": 1,
        **more,
    }
    if key is not None:
        document["key"] = key
    if spent is None:
        return document
    status: dict[str, Any] = {
        "period": f"{now:%Y-%m}",
        "period_start": now.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        "actual": spent,
        "probability": probability,
        "stage_pct_actual": max((s for s in (0, 50, 80, 90, 100) if spent >= limit * s / 100), default=0),
        "stage_pct_forecast": 0,
        "evaluated_at": now - timedelta(seconds=4),
    }
    if ends is not None:
        p10, point, p90 = ends
        status["forecast"] = {"p10": p10, "point": point, "p90": p90, "at": now + timedelta(hours=6)}
        stages = (0, 50, 80, 90, 100)
        status["stage_pct_forecast"] = max(stage for stage in stages if point >= limit * stage / 100)
    document["status"] = status
    return document


def alert(
    rule: str, severity: str, subject: tuple[str, str | None], message: str, raised_at: datetime, **more: Any
) -> dict[str, Any]:
    """An open alert; `resolved_at` closes it."""
    dimension, key = subject
    document: dict[str, Any] = {
        "_id": f"{rule}|{dimension}/{key or ''}|{more.get('stage_pct', '')}|{raised_at:%Y-%m-%dT%H:%M}",
        "rule": rule,
        "severity": severity,
        "state": "resolved" if "resolved_at" in more else "open",
        "subject": {"dimension": dimension, **({"key": key} if key is not None else {})},
        "message": message,
        "evidence": {},
        "raised_at": raised_at,
        "last_seen_at": raised_at + timedelta(minutes=2),
        "deliveries": [],
        "schema_version": 1,
    }
    return document | more


def add_budgets(db: Documents, now: datetime) -> None:
    """Budgets below, near and over their limit, in three units; one that was never evaluated."""
    db.budgets.insert_many(
        [
            budget("team-ada", "user", "ada", 0.5, "kWh", now, 0.11, (0.2, 0.24, 0.3), 0.01),
            budget("vit-small-cap", "run", "vit-small", 0.07, "kWh", now, 0.05, (0.06, 0.071, 0.09), 0.55,
                   period="total", on_break="stop"),
            budget("fleet-co2", "all", None, 0.12, "kg", now, 0.131, (0.14, 0.16, 0.19), 1.0, period="day"),
            budget("imagenet-money", "project", "imagenet", 20.0, "EUR", now, 16.5, (17.0, 18.1, 19.2), 0.04),
            budget("new-one", "node", "lab-node-1", 5.0, "kWh", now, None, None, None, period="week"),
        ]
    )  # fmt: skip


def add_alerts(db: Documents, now: datetime) -> None:
    """Open and resolved alerts of every rule, with deliveries in every state."""
    sent = {"channel": "webhook", "state": "sent", "attempts": 1, "sent_at": now - timedelta(minutes=19)}
    failed = {"channel": "email", "state": "failed", "attempts": 5, "last_error": "connection refused"}
    pending = {
        "channel": "webhook",
        "state": "pending",
        "attempts": 2,
        "next_at": now + timedelta(seconds=30),
    }
    db.alerts.insert_many(
        [
            alert("budget", "critical", ("all", None), "The budget fleet-co2 is used up: 0.131 of 0.12 kg.",
                  now - timedelta(minutes=20), budget="fleet-co2", stage_pct=100, basis="actual",
                  period=f"{now:%Y-%m-%d}", probability=1.0, deliveries=[sent, failed],
                  evidence={"actual": 0.131, "limit": 0.12, "unit": "kg"}),
            alert("budget", "warning", ("run", "vit-small"), "vit-small-cap will break with 55 %.",
                  now - timedelta(minutes=6), budget="vit-small-cap", stage_pct=100, basis="forecast",
                  probability=0.55, deliveries=[pending], evidence={"point": 0.071, "limit": 0.07}),
            alert("power_anomaly", "warning", ("node", "lab-node-1"),
                  "Power of lab-node-1 left its 90 % interval in 5 windows of 5.", now - timedelta(minutes=12),
                  evidence={"windows": [{"at": now - timedelta(minutes=12), "actual_w": 311.0, "p95_w": 243.5}],
                            "k": 5}),
            alert("idle_gpu", "warning", ("run", "llm-lora-7b"), "The GPU was idle for 10 min in a running job.",
                  now - timedelta(hours=2), resolved_at=now - timedelta(hours=1), deliveries=[sent],
                  evidence={"gpu_utilization_pct": 1.5, "minutes": 10}),
            alert("stuck_counter", "info", ("node", "lab-node-2"), "The energy counter stood still for 6 windows.",
                  now - timedelta(hours=5), resolved_at=now - timedelta(hours=4)),
        ]
    )  # fmt: skip
