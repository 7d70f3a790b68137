"""List what the project is made of (SBOM), check its licences, ask what is known against it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from joulestream.output import ERROR, AsJson, print_json, print_table, say

# Neither well nor ill: the database of vulnerabilities did not answer, or not for every package.
NOT_KNOWN = 5


def command(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the bill of materials is written.")
    ] = Path("joulestream.cdx.json"),
    audit: Annotated[
        bool, typer.Option("--audit/--no-audit", help="Whether the database of vulnerabilities is asked.")
    ] = True,
    service: Annotated[str, typer.Option(help="Which database is asked: `pypi` or `osv`.")] = "pypi",
    as_json: AsJson = False,
) -> None:
    """List what the project is made of (SBOM), check its licences, ask what is known against it.

    The bill of materials (CycloneDX 1.6, JSON) names every locked package and jar with its hashes, and the licences
    that the packages installed here state. pip-audit asks about the packages that this machine would install.

    Exit code: 0 if nothing is wrong, 1 if something is, 5 if that could not be found out for every package.
    """
    from joulestream import __version__
    from joulestream.local.jars import SETS, pinned
    from joulestream.supply import licences, lock, sbom
    from spark_jobs.object_store import JAR_SET

    packages = lock.locked()
    stated = {package.ref: licences.licence_of(package) for package in packages}
    bill = sbom.bill(__version__, packages, pinned(sets=(*SETS, JAR_SET)), stated)
    out.write_text(json.dumps(bill, indent=2) + "\n", "utf-8")
    n_stated = sum(licence.text is not None for licence in stated.values())
    say(
        f"{out}: {len(bill['components'])} components; {n_stated} of {len(stated)} packages state their licence here"
    )
    faults = licences.faults(list(stated.values()))
    for fault in faults:
        say(f"licence: {fault}")
    code, found = _ask(service, as_json) if audit else (0, {})
    if as_json:
        print_json({"components": len(bill["components"]), "licence_faults": faults, **found})
    raise typer.Exit(ERROR if faults else code)


def _ask(service: str, as_json: bool) -> tuple[int, dict[str, object]]:
    """Exit code and answer of the audit."""
    from joulestream.supply.audit import audit
    from schemas.errors import RetryableError

    try:
        answer = audit(service=service)
    except RetryableError as error:
        say(f"vulnerabilities: {error}")
        return NOT_KNOWN, {"vulnerabilities": None}
    rows = [
        {"package": k.package, "version": k.version, "id": k.id, "fixed in": ", ".join(k.fixed_in)}
        for k in answer.known
    ]
    if rows and not as_json:
        print_table(rows)
    n_answered = answer.n_asked - len(answer.unknown)
    say(
        f"vulnerabilities: {len(rows)} known; the database ({service}) knew {n_answered} of {answer.n_asked} packages"
    )
    if answer.unknown:
        more = " …" if len(answer.unknown) > 10 else ""
        say(f"not known: {', '.join(answer.unknown[:10])}{more}; ask again elsewhere")
    result: dict[str, object] = {"vulnerabilities": rows, "not_known": list(answer.unknown)}
    return (ERROR if rows else NOT_KNOWN if answer.unknown else 0), result
