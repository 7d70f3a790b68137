"""Kubernetes: the ConfigMaps of k8s/base, passwords and certificates of a new installation, a check of all of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from joulestream.output import AsJson, print_json, say

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
def secrets(
    name: Annotated[list[str] | None, typer.Argument(help="Secrets to make. Default: all.")] = None,
) -> None:
    """Print secrets with random passwords, for `kubectl create -n bigdata-pipeline -f -`, which keeps those there."""
    from joulestream.cluster.credentials import KEYS, known, secret

    known(name or ())
    _print([secret(one) for one in name or KEYS])


@app.command()
def certificates(
    name: Annotated[list[str] | None, typer.Argument(help="Secrets to make. Default: all.")] = None,
    host: Annotated[str, typer.Option(help="Host of the dashboard.")] = "joulestream.example.org",
    days: Annotated[int, typer.Option(min=1, max=825, help="How long they last.")] = 90,
) -> None:
    """Print TLS secrets of a new authority, for a trial; needs the program openssl.

    For `kubectl create -n bigdata-pipeline -f -`, which keeps those there. kafka-tls, mongodb-tls and dashboard-tls are
    of the overlay `prod`, exporter-tls of the component of that name. A secret that no pod mounts does nothing.
    """
    from joulestream.cluster.certificates import SECRETS, secrets_of

    _print(secrets_of(host, days, name or SECRETS))


@app.command()
def check(
    overlay: Annotated[str, typer.Option(help="Folder below k8s/ that is installed.")] = "overlays/local",
    pictures: Annotated[Path, typer.Option(help="Where the screenshots go.")] = Path("k8s-check"),
    wait: Annotated[float, typer.Option(help="Longest wait for one roll-out, in seconds.")] = 600.0,
    acceptance: Annotated[bool, typer.Option(help="Ask the API server about every overlay.")] = True,
    installation: Annotated[bool, typer.Option(help="Install the overlay, break it, audit it.")] = True,
    as_json: AsJson = False,
) -> None:
    """Check the manifests on the cluster that KUBECONFIG names: it installs into it, and leaves that there.

    Every overlay is posted to the API server without being kept (in namespaces joulestream-check-…, removed again),
    and each of its pods under its namespace's policy. Then one overlay is installed in the order of the how-to; driver,
    executor, broker and store are killed while a run trains; the audit must end ok.
    Exit code: 0 all ok, 1 a step failed.
    """
    from joulestream.cluster.check import command
    from joulestream.cluster.config import ROOT

    plan = command.Plan(ROOT / "k8s", overlay, pictures, wait, acceptance, installation)
    steps = command.check(plan, say)
    if as_json:
        print_json(command.as_documents(steps))
    if any(step.state == command.FAILED for step in steps):
        raise typer.Exit(1)


def _print(items: Sequence[dict[str, object]]) -> None:
    typer.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))
