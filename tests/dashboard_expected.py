"""What each page of the dashboard must show, per data set: the first text also on a narrow screen."""

from __future__ import annotations

from tests.dashboard_seed import HOSTILE

EXPECTED: dict[str, dict[str, tuple[str, ...]]] = {
    "empty": {
        "": ("Overview", "No run has arrived yet.", "./joule up", "not started"),
        "runs": ("Runs", "No run has arrived yet.", "./joule track"),
        "run": ("Run", "No run has arrived yet."),
        "compare": ("Compare", "No run has arrived yet."),
        "groups": ("Users and models", "No energy in this range."),
        "nodes": ("Nodes", "No node has reported yet.", "./joule node"),
        "forecast": ("Forecast", "Nothing is forecast yet.", "./joule status"),
        "budgets": (
            "Budgets and alerts",
            "There is no budget.",
            "./joule budget add",
            "Nothing was noticed so far.",
        ),
        "quality": ("Data quality", "No message has been consumed yet."),
        "methodology": ("Methodology", "Our World in Data", "475 g CO2e/kWh", "3,600,000 J"),
    },
    "normal": {
        "": (
            "Overview",
            "369 Wh",
            "of 9",
            "location-based",
            "Energy (Wh) per 1 min",
            "Next hour, all runs",
            "2 of 5",
        ),
        "runs": ("Runs", "9 runs", "resnet50-imagenet", "imagenet-1k", "stale", "206", "Peak power (W)"),
        "run": ("Energy so far", "Event time (UTC)", "By device", "Link to this run", "/run?run="),
        "compare": ("Compare", "Choose at least two runs."),
        "groups": ("Users and models", "linus", "katherine", "69 %"),
        "nodes": (
            "Nodes",
            "lab-node-1",
            "unattributed",
            "Mean power (W)",
            "vit-small",
            "Open its forecasts",
            "Energy by namespace: training",
            "kube-system-0",
            "CO₂e at 381 g/kWh (average), Our World in Data",
            "CO₂e unknown: the node names no region",
        ),
        "forecast": (
            "Forecast",
            "Power in 5 min",
            "Error beside strong naive",
            "Energy ahead",
            "20260131-0600",
        ),
        "budgets": (
            "Budgets and alerts",
            "5 budgets, 2 at risk",
            "project imagenet",
            "3 open, 2 resolved",
            "Evidence",
        ),
        "quality": ("Data quality", "6,000", "not_finite", "to the message", "Lag now: node 0, training 0."),
        "methodology": ("Methodology", "Peak power", "Strong naive", "ISO/IEC 21031", "timestamp_in_future"),
    },
    "hostile": {
        "": ("Overview", "of 8", "../../etc/passwd+1"),
        "runs": ("Runs", "8 runs", HOSTILE[0], HOSTILE[2]),
        "run": ("Energy so far", "By device"),
        "compare": ("Compare",),
        "groups": ("Users and models", HOSTILE[0], HOSTILE[5]),
        "nodes": ("Nodes", HOSTILE[0], f"{HOSTILE[1]}-0", "Energy by namespace:"),
        "forecast": ("Forecast", HOSTILE[0], "The last value serves as the forecast", "Reason:"),
        "budgets": ("Budgets and alerts", *HOSTILE[:4], "7 open, 0 resolved", "cut"),
        "quality": ("Data quality", HOSTILE[0], HOSTILE[1], "training.events/7/0"),
        "methodology": ("Methodology",),
    },
}
