"""Check that ledger, summaries, windows and accounts agree to 1e-9; --repair sets right what does not."""

from __future__ import annotations

import os
import subprocess
from typing import Annotated, Any

import typer

from joulestream.context import Context, context
from joulestream.output import (
    DEGRADED,
    ERROR,
    OK,
    AsJson,
    DataDir,
    KafkaBootstrap,
    MongoUri,
    print_json,
    print_table,
    say,
)


def command(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Recompute differing documents from the ledger (a Spark batch job)."),
    ] = False,
    kafka_bootstrap: KafkaBootstrap = None,
    mongodb_uri: MongoUri = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check that ledger, summaries, windows and accounts agree to 1e-9; --repair sets right what does not.

    Compares at offsets that every query has settled, so it is right while data flows.
    Exit code: 0 ok, 1 broken, 4 late events are not in the totals yet.
    """
    from joulestream.audit import BROKEN, audit
    from joulestream.audit import OK as AGREES
    from spark_jobs.store import Address, connect, server_errors

    ctx = context(data_dir, {"kafka.bootstrap": kafka_bootstrap, "mongodb.uri": mongodb_uri})
    repaired = _repair(ctx) if repair else None
    with server_errors("the document store", ctx.settings.mongodb):
        found = audit(connect(Address.of(ctx.settings)), ctx.settings)
    if repaired is not None:
        found["repair"] = repaired
    if as_json:
        print_json(found)
    else:
        _show(found)
    code = OK if found["verdict"] == AGREES else ERROR if found["verdict"] == BROKEN else DEGRADED
    raise typer.Exit(code)


def _repair(ctx: Context) -> Any:
    """Run the reconciliation as a process of its own: it needs Spark, which an audit does not."""
    import json

    from joulestream.local.jars import ensure_jars
    from joulestream.local.java import find_java
    from joulestream.local.process import ROOT, python

    java = find_java()
    if ctx.settings.stream.jars_dir is None:
        ensure_jars(java, say)
    say("comparing every document with the ledger (a Spark batch job; this takes a while) …")
    own = {"JAVA_HOME": str(java.home), "SPARK_CONF_DIR": str(ROOT / "conf")}
    result = subprocess.run(
        python("spark_jobs.reconcile", "--repair"),
        env={**os.environ, **ctx.settings.environment(), **own},
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("JOULE_DEBUG") else subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    if result.returncode not in (OK, DEGRADED):
        lines = (result.stderr or b"").decode(errors="replace").strip().splitlines()
        say(f"the reconciliation failed: {lines[-1] if lines else 'JOULE_DEBUG=1 shows why'}")
        raise typer.Exit(ERROR)
    return json.loads(result.stdout)


def _show(found: dict[str, Any]) -> None:
    rows = []
    for query, entry in found["sources"].items():
        if not entry["started"]:
            say(f"{query}: the stream has not started yet")
            continue
        counts = {
            name: entry[name] for name in ("consumed", "accepted", "rejected_total", "duplicates", "late")
        }
        rows.append({"source": query, "side": "ledger", **counts, **entry["ledger"]})
        sides = {"summaries": entry["summaries"], **{f"windows:{k}": v for k, v in entry["windows"].items()}}
        for name, side in sides.items():
            if side is not None:
                rows.append({"source": query, "side": name, **side, "residual": entry["residuals"][name]})
    columns = [
        "source",
        "side",
        "kwh",
        "kg",
        "events",
        "residual",
        "consumed",
        "accepted",
        "rejected_total",
        "duplicates",
        "late",
    ]
    print_table(rows, columns, "nothing to compare yet")
    for query, entry in found["sources"].items():
        for problem in entry["problems"]:
            say(f"{query}: {problem}")
    say(f"verdict: {found['verdict']}")
    if found["verdict"] != "ok":
        say("set right what differs with: joule audit --repair")
