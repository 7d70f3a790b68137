"""A bounded queue of messages on disk that outlives its process: SQLite in WAL mode, one file per producer.

A message is kept from before it is sent until the broker has it, in order, byte for byte. A file is owned
by the process that holds its lock (a POSIX record lock, which ends with the process however it dies and is
not inherited by forked children); files without an owner are adopted and sent by the next producer on the
machine. When full, the oldest messages that are not just being sent are dropped and counted: the newest say
how a run stands. `synchronous=NORMAL` survives a kill at any moment; a power cut may cost the last
messages.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.units import BYTES_PER_MIB

SUFFIX = ".spool.db"
DROPS = "dropped.txt"
_ROW_OVERHEAD_BYTES = 40  # what SQLite spends on a row beside its content
_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counts VALUES ('dropped', 0);
"""
_owned: set[Path] = set()  # record locks do not exclude threads of one process; this does
_owned_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class Message:
    """One message that waits. `id` grows in the order of arrival."""

    id: int
    topic: str
    key: str
    value: bytes


class Spool:
    """One file of waiting messages, owned by this process. Safe for threads, not for forked children.

    Raises BlockingIOError where another owner holds it, sqlite3.Error or OSError where the disk fails.
    """

    def __init__(self, path: Path, max_mib: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._max_bytes = int(max_mib * BYTES_PER_MIB)
        self._lock_file = _take(path)
        self._guard = threading.RLock()
        try:
            path.touch(mode=0o600)  # before SQLite makes it; its other files take the same mode
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            self._bytes = self._count_bytes()
            row = self._db.execute("SELECT value FROM counts WHERE name='dropped'").fetchone()
        except (sqlite3.Error, OSError):
            self._release()
            raise
        self._dropped = int(row[0])
        self._sending_up_to = 0
        self._left: int | None = None  # what waited when it was closed

    @property
    def dropped(self) -> int:
        """Messages that this file has lost to its bound, over all owners it has had."""
        return self._dropped

    def append(self, topic: str, key: str, value: bytes) -> None:
        """Keep one message, at the price of the oldest where the spool is full."""
        size = _size(topic, key, value)
        with self._guard, self._transaction():
            if self._bytes + size > self._max_bytes:
                self._make_room(size)
            if self._bytes + size > self._max_bytes:
                self._count_dropped(1)  # larger than the bound, or all the room is being sent
                return
            self._db.execute("INSERT INTO messages (topic, key, value) VALUES (?, ?, ?)", (topic, key, value))
            self._bytes += size

    def peek(self, limit: int) -> list[Message]:
        """The oldest messages, in order; until `settle` or the next `peek` they are not dropped."""
        with self._guard:
            rows = self._db.execute(
                "SELECT id, topic, key, value FROM messages ORDER BY id LIMIT ?", (limit,)
            ).fetchall()
            self._sending_up_to = rows[-1][0] if rows else 0
        return [Message(*row) for row in rows]

    def settle(self) -> None:
        """Nothing is being sent any more: what was peeked at may be dropped again."""
        with self._guard:
            self._sending_up_to = 0

    def remove(self, messages: Sequence[Message], *, dropped: bool = False) -> None:
        """Forget messages that the broker has; or, with `dropped`, count them as lost."""
        with self._guard, self._transaction():
            self._db.executemany("DELETE FROM messages WHERE id = ?", [(m.id,) for m in messages])
            self._bytes -= sum(_size(m.topic, m.key, m.value) for m in messages)
            if dropped:
                self._count_dropped(len(messages))

    def __len__(self) -> int:
        with self._guard:
            if self._left is not None:
                return self._left
            return int(self._db.execute("SELECT count(*) FROM messages").fetchone()[0])

    def close(self) -> None:
        """Give the file up; delete it where nothing waits. Its drop count is kept beside it."""
        with self._guard:
            if self._left is not None:
                return
            self._left = len(self)
            self._db.close()
            empty = self._left == 0
            if empty:
                if self._dropped:
                    _note_drops(self.path.parent, self._dropped)
                for name in (self.path.name, self.path.name + "-wal", self.path.name + "-shm"):
                    self.path.with_name(name).unlink(missing_ok=True)
            self._release(delete=empty)

    def _release(self, *, delete: bool = False) -> None:
        if delete:
            _lock_path(self.path).unlink(missing_ok=True)
        os.close(self._lock_file)
        with _owned_guard:
            _owned.discard(self.path)

    def _make_room(self, size: int) -> None:
        rows = self._db.execute(
            "SELECT id, topic, key, value FROM messages WHERE id > ? ORDER BY id", (self._sending_up_to,)
        )
        gone: list[tuple[int]] = []
        freed, wanted = 0, self._bytes + size - self._max_bytes
        for row in rows:
            if freed >= wanted:
                break
            gone.append((row[0],))
            freed += _size(*row[1:])
        rows.close()
        self._db.executemany("DELETE FROM messages WHERE id = ?", gone)
        self._bytes -= freed
        self._count_dropped(len(gone))

    def _count_dropped(self, number: int) -> None:
        self._dropped += number
        self._db.execute("UPDATE counts SET value = ? WHERE name = 'dropped'", (self._dropped,))

    def _count_bytes(self) -> int:
        total = "coalesce(sum(length(CAST(topic AS BLOB)) + length(CAST(key AS BLOB)) + length(value)), 0)"
        row = self._db.execute(f"SELECT {total}, count(*) FROM messages").fetchone()  # noqa: S608 - a constant
        return int(row[0]) + _ROW_OVERHEAD_BYTES * int(row[1])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def orphans(folder: Path, max_mib: float) -> Iterator[Spool]:
    """The spools of dead processes, each owned by the caller from here on, oldest first."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob(f"*{SUFFIX}"), key=_modified):
        with contextlib.suppress(BlockingIOError, FileNotFoundError, sqlite3.DatabaseError):
            yield Spool(path, max_mib)


def dropped_total(folder: Path) -> int:
    """Messages lost on this machine by spools that are closed by now."""
    try:
        return sum(int(line) for line in (folder / DROPS).read_text("ascii").split())
    except FileNotFoundError:
        return 0


def _note_drops(folder: Path, number: int) -> None:
    with (folder / DROPS).open("a", encoding="ascii") as file:
        file.write(f"{number}\n")


def _size(topic: str, key: str, value: bytes) -> int:
    return len(topic.encode()) + len(key.encode()) + len(value) + _ROW_OVERHEAD_BYTES


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _take(path: Path) -> int:
    """Own the file: a lock that ends with this process. Raises BlockingIOError where it has an owner."""
    with _owned_guard:
        if path in _owned:
            raise BlockingIOError(f"{path} is owned by this process already")
        handle = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise BlockingIOError(f"{path} is owned by another process") from error
        if not _is_current(handle, _lock_path(path)):  # its last owner deleted it between our open and lock
            os.close(handle)
            raise BlockingIOError(f"{path} was just given up; look again")
        _owned.add(path)
    return handle


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
