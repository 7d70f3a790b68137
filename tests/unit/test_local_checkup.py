"""What `joule doctor` says of the spools of this machine."""

from __future__ import annotations

from pathlib import Path

from joulestream.local.checkup import spool_finding
from producers.spool import DROPS, SUFFIX, Spool


def test_events_that_ended_producers_lost_are_told_with_a_remedy(tmp_path: Path) -> None:
    spool = Spool(tmp_path / f"p{SUFFIX}", 0.002)
    for number in range(9):
        spool.append("t", "k", b"%d" % number * 500)
    lost = spool.dropped
    assert lost > 0
    assert spool_finding(tmp_path).state == "ok"
    spool.remove(spool.peek(9))
    spool.close()
    finding = spool_finding(tmp_path)
    assert (finding.state, finding.found.split()[0]) == ("note", str(lost))
    assert "tracker.spool_max_mib" in finding.remedy
    (tmp_path / DROPS).unlink()
    assert spool_finding(tmp_path).state == "ok"


def test_a_machine_that_never_measured_has_nothing_to_tell(tmp_path: Path) -> None:
    assert spool_finding(tmp_path / "absent").found.startswith("0 file(s)")
