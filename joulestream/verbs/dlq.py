"""List, show and send again the messages that were rejected."""

from __future__ import annotations

import base64
import sys
from typing import Annotated, Any

import typer

from conf.sections import Kafka
from dashboard.store import Reader
from joulestream.context import context
from joulestream.output import AsJson, DataDir, KafkaBootstrap, MongoUri, cell, print_json, print_table, say
from joulestream.rejected import can_be_sent, escaped, read_rejected, read_some, with_values
from joulestream.reports.reading import open_reader, utc_now, when
from schemas import reasons
from schemas.errors import PipelineError

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False, pretty_exceptions_enable=False)
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="topic/partition/offset, as `dlq ls` says.")
]
Reason = Annotated[
    str | None, typer.Option(metavar="CODE", help="Only with this reason, such as malformed_json.")
]
Topic = Annotated[str | None, typer.Option(help="Only from this topic.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only first seen since then (24h, a date).")]
SHOWN_BYTES = 4096
MANY = 100_000


@app.command("ls")
def ls(
    reason: Reason = None,
    topic: Topic = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """List rejected messages, newest first."""
    query = _query(reason, topic, since)
    with open_reader(context(data_dir, {"mongodb.uri": mongodb_uri})) as reader:
        found = read_rejected(reader, query, limit)
    if as_json:
        print_json([_facts(doc) for doc in found])
        return
    names = {
        "_id": "id",
        "reason": "reason",
        "field": "field",
        "length": "bytes",
        "first_seen_at": "first seen",
    }
    rows = [{title: doc.get(name) for name, title in names.items()} for doc in found]
    for row, doc in zip(rows, found, strict=True):
        row["message"] = cell(doc.get("message"))[:100]
    print_table(rows, empty="no rejected messages match")
    if len(found) == limit:
        say(f"the newest {limit}; give a larger --limit to see more")


@app.command("show")
def show(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="topic/partition/offset.")],
    raw: Annotated[bool, typer.Option("--raw", help="The kept bytes as they are, and nothing else.")] = False,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """Show one rejected message: its bytes, its reason and where it stands in Kafka."""
    with open_reader(context(data_dir, {"mongodb.uri": mongodb_uri})) as reader:
        (doc,) = _named(reader, [message_id], with_value=True)
    value = bytes(doc.get("value") or b"")
    if raw:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    if as_json:
        print_json(_facts(doc) | {"value_base64": base64.b64encode(value).decode(), "value": escaped(value)})
        return
    facts = [{"field": name, "value": cell(item)} for name, item in _facts(doc).items() if item is not None]
    print_table(facts)
    sys.stdout.write(escaped(value[:SHOWN_BYTES]) + "\n")
    if len(value) > SHOWN_BYTES:
        say(
            f"the first {SHOWN_BYTES} of {doc.get('length')} bytes; --raw writes the {len(value)} that are kept"
        )


@app.command("replay")
def replay(
    message_ids: Ids = None,
    reason: Reason = None,
    topic: Topic = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    kafka_bootstrap: KafkaBootstrap = None,
    data_dir: DataDir = None,
    mongodb_uri: MongoUri = None,
    as_json: AsJson = False,
) -> None:
    """Send the original bytes again to the topic that they came from, for when what rejected them is mended.

    The stream judges them anew, at their new place; the old entries stay as they are. A message that is kept
    in part only cannot be sent. Exit code: 0 all sent, 1 if one cannot be or the broker refused it.
    """
    if bool(message_ids) is (reason is not None) or (message_ids and (topic or since)):
        what = "name messages, or give --reason CODE (and --topic, --since)"
        raise typer.BadParameter(what, param_hint="ID / --reason")
    ctx = context(data_dir, {"kafka.bootstrap": kafka_bootstrap, "mongodb.uri": mongodb_uri})
    with open_reader(ctx) as reader:
        docs = (
            _named(reader, message_ids)
            if message_ids
            else read_rejected(reader, _query(reason, topic, since), MANY)
        )
        whole = [doc for doc in docs if can_be_sent(doc)]
        sent, failures = (0, []) if dry_run or not whole else _send(reader, whole, ctx.settings.kafka)
    cut = [str(doc["_id"]) for doc in docs if not can_be_sent(doc)]
    if as_json:
        counts = {"dry_run": dry_run, "selected": len(docs), "sent": sent}
        ids = [str(doc["_id"]) for doc in whole]
        print_json(counts | {"ids": ids, "cannot_be_sent": cut, "failures": failures})
    else:
        rows = [{"id": doc["_id"], "reason": doc.get("reason"), "to": doc.get("topic")} for doc in whole]
        print_table(rows, empty="no rejected messages match")
        say(f"{len(whole)} message(s) would be sent" if dry_run else f"{sent} message(s) sent")
    _tell_of_the_rest(docs, cut, failures)
    if cut or failures:
        raise typer.Exit(1)


def _tell_of_the_rest(docs: list[dict[str, Any]], cut: list[str], failures: list[str]) -> None:
    if len(docs) == MANY:
        say(f"only the newest {MANY} were selected; name older ones by their ids (joule dlq ls --limit N)")
    for name in cut:
        say(f"{cell(name)}: only its beginning is kept, so it cannot be sent again; send it from its source")
    for failure in failures:
        say(f"refused: {failure}")


def _send(reader: Reader, docs: list[dict[str, Any]], kafka: Kafka) -> tuple[int, list[str]]:
    from joulestream.sending import outbox

    with outbox(kafka, tuple(sorted({str(doc["topic"]) for doc in docs}))) as box:
        for doc in with_values(reader, [str(doc["_id"]) for doc in docs]):
            key = doc.get("key")
            value = bytes(doc.get("value") or b"")
            box.send(str(doc["topic"]), None if key is None else bytes(key), value, str(doc["_id"]))
    return box.sent, box.failures


def _query(reason: str | None, topic: str | None, since: str | None) -> dict[str, Any]:
    if reason is not None and reason not in reasons.REASONS:
        known = ", ".join(sorted(reasons.REASONS))
        raise typer.BadParameter(f"{reason!r} is no reason; expected one of {known}", param_hint="--reason")
    query: dict[str, Any] = {"reason": reason} if reason else {}
    if topic:
        query["topic"] = topic
    if since:
        query["first_seen_at"] = {"$gte": when(since, utc_now(), "--since")}
    return query


def _named(reader: Reader, message_ids: list[str], *, with_value: bool = False) -> list[dict[str, Any]]:
    docs = list(with_values(reader, message_ids)) if with_value else read_some(reader, message_ids)
    missing = sorted(set(message_ids) - {str(doc["_id"]) for doc in docs})
    if missing:
        names = ", ".join(cell(name) for name in missing)
        raise PipelineError(f"no rejected message is called {names}; those that there are: joule dlq ls")
    return docs


def _facts(doc: dict[str, Any]) -> dict[str, Any]:
    names = ("topic", "partition", "offset", "reason", "message", "field", "length", "truncated", "sha256")
    facts = {"id": doc["_id"], **{name: doc.get(name) for name in names}}
    facts["meaning"] = reasons.REASONS.get(str(doc.get("reason")))
    key = doc.get("key")
    facts["key"] = None if key is None else escaped(bytes(key))
    return facts | {name: doc.get(name) for name in ("recorded_at", "first_seen_at")}
