"""Reads of the document store as frozen dataclasses. No Streamlit, no Plotly, no writes."""

from __future__ import annotations

from dashboard.store.facade import Store
from dashboard.store.reader import Reader, ReadTooSlow, StoreAway, connect
from dashboard.store.rows import (
    Account,
    Energy,
    Group,
    Lease,
    NodeTotal,
    NodeWindow,
    Overview,
    PodShare,
    Progress,
    Quality,
    Rejected,
    Run,
    RunFilter,
    RunList,
    RunPoint,
    RunSeries,
    Share,
    SourceShare,
    Window,
)

__all__ = [
    "Account",
    "Energy",
    "Group",
    "Lease",
    "NodeTotal",
    "NodeWindow",
    "Overview",
    "PodShare",
    "Progress",
    "Quality",
    "ReadTooSlow",
    "Reader",
    "Rejected",
    "Run",
    "RunFilter",
    "RunList",
    "RunPoint",
    "RunSeries",
    "Share",
    "SourceShare",
    "Store",
    "StoreAway",
    "Window",
    "connect",
]
