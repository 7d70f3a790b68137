"""Kubernetes: the ConfigMaps of k8s/base, passwords for a new installation."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from joulestream.output import say

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def render(
    check: Annotated[bool, typer.Option(help="Write nothing; exit 1 where the file is out of date.")] = False,
) -> None:
    """Write k8s/base/configmap.yaml from conf/ and joulestream/cluster/config.py."""
    from joulestream.cluster.config import PAGE, ROOT, rendered

    text = rendered()
    same = PAGE.is_file() and PAGE.read_text("utf-8") == text
    if check and not same:
        say(f"{PAGE.relative_to(ROOT)} is out of date; run: joule k8s render")
        raise typer.Exit(1)
    if not same:
        PAGE.write_text(text, "utf-8")
    say(f"{PAGE.relative_to(ROOT)} {'is up to date' if same else 'written'}")


@app.command()
def secrets() -> None:
    """Print secrets with random passwords, for `kubectl create -f -` (which refuses those that exist)."""
    from joulestream.cluster.credentials import KEYS, secret

    items = [secret(name) for name in KEYS]
    typer.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))
