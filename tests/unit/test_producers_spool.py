"""The spool: in order, bounded, outlives a kill, never owned twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from producers.spool import SUFFIX, Spool, dropped_total, orphans

MAX_MIB = 1.0


def path_of(folder: Path, name: str = "p1") -> Path:
    return folder / f"{name}{SUFFIX}"


def values(spool: Spool, limit: int = 10_000) -> list[bytes]:
    return [message.value for message in spool.peek(limit)]


def test_messages_come_out_in_order_byte_for_byte(tmp_path: Path) -> None:
    spool = Spool(path_of(tmp_path), MAX_MIB)
    sent = [bytes([n % 256, 0, 255]) for n in range(300)]
    for value in sent:
        spool.append("t", "schlüssel", value)
    assert values(spool) == sent
    first = spool.peek(1)[0]
    assert (first.topic, first.key) == ("t", "schlüssel")
    spool.close()


def test_nobody_else_can_read_what_waits(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        spool = Spool(path_of(tmp_path), MAX_MIB)
        spool.append("t", "k", b"secret")
        modes = {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        spool.close()
    finally:
        os.umask(before)
    assert modes == {0o600}


def test_removed_messages_do_not_come_back(tmp_path: Path) -> None:
    spool = Spool(path_of(tmp_path), MAX_MIB)
    for n in range(5):
        spool.append("t", "k", b"%d" % n)
    spool.remove(spool.peek(3))
    spool.close()
    again = Spool(path_of(tmp_path), MAX_MIB)
    assert values(again) == [b"3", b"4"]
    again.close()


def test_empty_spool_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool(path_of(tmp_path), MAX_MIB)
    spool.append("t", "k", b"v")
    spool.remove(spool.peek(1))
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_full_spool_drops_the_oldest_and_counts_over_restarts(tmp_path: Path) -> None:
    spool = Spool(path_of(tmp_path), 0.01)
    for n in range(100):
        spool.append("t", "k", b"%03d" % n + b"x" * 500)
    kept = values(spool)
    assert kept[-1][:3] == b"099"
    assert [value[:3] for value in kept] == [b"%03d" % n for n in range(100 - len(kept), 100)]
    assert spool.dropped == 100 - len(kept) > 0
    assert sum(len(value) for value in kept) <= 0.01 * 2**20
    dropped = spool.dropped
    spool.close()
    again = Spool(path_of(tmp_path), 0.01)
    assert again.dropped == dropped
    again.remove(again.peek(1000))
    again.close()
    assert dropped_total(tmp_path) == dropped


def test_messages_being_sent_are_not_dropped_until_settled(tmp_path: Path) -> None:
    spool = Spool(path_of(tmp_path), 0.002)
    for n in range(3):
        spool.append("t", "k", b"%d" % n * 500)
    sending = spool.peek(3)
    spool.append("t", "k", b"n" * 500)
    spool.append("t", "k", b"m" * 500)
    assert spool.dropped == 2
    assert [message.id for message in spool.peek(10)][:3] == [message.id for message in sending]
    spool.settle()
    spool.append("t", "k", b"q" * 500)
    assert values(spool)[-1] == b"q" * 500
    assert values(spool)[0] != sending[0].value
    spool.close()


def test_message_larger_than_the_spool_is_dropped_alone_or_not_at_all(tmp_path: Path) -> None:
    spool = Spool(path_of(tmp_path), 0.01)
    spool.append("t", "k", b"x" * 20_000)
    assert (len(spool), spool.dropped) == (0, 1)
    spool.close()


def test_one_owner_at_a_time_within_and_across_processes(tmp_path: Path) -> None:
    spool = Spool(path_of(tmp_path), MAX_MIB)
    spool.append("t", "k", b"v")
    with pytest.raises(BlockingIOError, match="this process"):
        Spool(path_of(tmp_path), MAX_MIB)
    code = (
        "from producers.spool import orphans; from pathlib import Path\n"
        f"print(len(list(orphans(Path({str(tmp_path)!r}), 1))))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "0"
    spool.close()
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "1"


def test_what_a_killed_process_left_is_adopted_whole(tmp_path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from producers.spool import Spool\n"
        f"spool = Spool(Path({str(path_of(tmp_path, 'dead'))!r}), 1)\n"
        "for n in range(50): spool.append('t', 'k', b'%d' % n)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    dead = subprocess.run([sys.executable, "-c", code], check=False)
    assert dead.returncode == -signal.SIGKILL
    own = Spool(path_of(tmp_path, "own"), MAX_MIB)
    found = list(orphans(tmp_path, MAX_MIB))
    assert [values(spool) for spool in found] == [[b"%d" % n for n in range(50)]]
    for spool in (*found, own):
        spool.close()


def test_lock_of_a_dead_parent_does_not_live_on_in_its_children(tmp_path: Path) -> None:
    code = (
        "import os, signal, subprocess, sys, time; from pathlib import Path; from producers.spool import Spool\n"
        f"spool = Spool(Path({str(path_of(tmp_path, 'dead'))!r}), 1); spool.append('t', 'k', b'v')\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(30); os._exit(0)\n"
        "print(child, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            parent.wait(10)
            found = list(orphans(tmp_path, MAX_MIB))
            assert [values(spool) for spool in found] == [[b"v"]]
            for spool in found:
                spool.close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path_of(tmp_path, "garbage").write_bytes(b"not a database at all" * 100)
    assert list(orphans(tmp_path, MAX_MIB)) == []
    assert path_of(tmp_path, "garbage").exists()
