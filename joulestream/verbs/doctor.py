"""Check this machine and the servers, and say how to put right what is wrong."""

from __future__ import annotations

from dataclasses import asdict

import typer

from joulestream.output import ERROR, AsJson, DataDir, print_json, print_table, say


def command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check this machine and the servers, and say how to put right what is wrong.

    Exit code: 0 if nothing is wrong (warnings allowed), 1 otherwise.
    """
    from joulestream.context import context
    from joulestream.local.checkup import examine

    findings = examine(context(data_dir))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table([asdict(finding) for finding in findings], ["state", "what", "found"])
        for finding in findings:
            if finding.remedy:
                say(f"{finding.what}: {finding.remedy}")
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(ERROR)
