"""The audit as a person runs it, and documents changed behind the stream's back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from schemas import documents
from tests.e2e.live_stack import ROOT, LiveStack


def audit(stack: LiveStack, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of `joule audit`."""
    done = subprocess.run(
        [sys.executable, "-m", "joulestream", "audit", "--json", *arguments],
        env=stack.env,
        cwd=ROOT,
        capture_output=True,
        timeout=280,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or b"{}")


def change_by_hand(db: Any) -> None:
    """A window that says too much, a summary that is gone, a window and a node window of nobody."""
    window = db[documents.WINDOWS].find_one({"dimension": "user", "energy_kwh": {"$gt": 0}})
    db[documents.WINDOWS].update_one({"_id": window["_id"]}, {"$inc": {"energy_kwh": 1.0}})
    db[documents.RUN_SUMMARY].delete_one({"_id": db[documents.RUN_SUMMARY].find_one({}, {"_id": 1})["_id"]})
    nobody = {**window, "_id": window["_id"].replace("user|", "user|nobody-"), "key": "nobody"}
    db[documents.WINDOWS].replace_one({"_id": nobody["_id"]}, nobody, upsert=True)
    node = db[documents.NODE_WINDOWS].find_one({"energy_kwh": {"$gt": 0}})
    db[documents.NODE_WINDOWS].update_one({"_id": node["_id"]}, {"$inc": {"idle_kwh": 1.0}})
