"""How images are built, and how digests are looked up; no tool and no network is needed for it."""

from __future__ import annotations

import base64
import hashlib
import io
import urllib.error
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from joulestream.images import building, digests, staging
from joulestream.images.building import Build, find_tool
from joulestream.images.catalogue import BASE, image
from joulestream.images.locked import Pin
from schemas.errors import PipelineError, RetryableError

DIGEST = "sha256:" + "ab" * 32


def test_a_machine_without_a_tool_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        PipelineError, match=r"found none of docker, podman, buildah.*apt-get install buildah"
    ):
        find_tool("auto")


def test_the_named_tool_is_taken_and_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("podman", "docker"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_tool("auto") == "docker"
    assert find_tool("podman") == "podman"
    with pytest.raises(PipelineError, match="buildah"):
        find_tool("buildah")


@pytest.mark.parametrize(
    ("tool", "verb", "offline"),
    [
        ("docker", "build", "--pull=false"),
        ("podman", "build", "--pull-never"),
        ("buildah", "bud", "--pull-never"),
    ],
)
def test_each_tool_gets_its_own_words(tool: str, verb: str, offline: str, tmp_path: Path) -> None:
    command = Build(tool, tag="9", pull=False, global_arguments=["--root=/x"]).command(
        image("stream"), tmp_path
    )
    assert command[:3] == [tool, "--root=/x", verb]
    assert offline in command
    assert ("--format" in command) == (tool != "docker")  # else they leave the health check out
    assert f"BASE={BASE}" in command
    assert command[-3:] == ["--tag", "docker.io/joulestream/stream:9", str(tmp_path)]


def test_a_build_that_fails_names_the_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(building, "stage", lambda *_: tmp_path)
    with pytest.raises(PipelineError, match="could not build kafka"):
        building.build([image("kafka")], Build("false"), tmp_path, lambda _: None)


def test_wheels_are_chosen_for_the_base_image_and_not_for_this_machine() -> None:
    command = staging.pip_command(Path("/t"), Path("/r"), "aarch64")
    assert {"--require-hashes", "--no-deps"} <= set(command)
    assert command[command.index("--python-version") + 1] == "3.11"
    tags = [command[i + 1] for i, part in enumerate(command) if part == "--platform"]
    assert tags[0] == "manylinux_2_36_aarch64"
    assert "manylinux2014_aarch64" in tags
    assert not any("x86_64" in tag for tag in tags)


class Installed(Distribution):
    """One installed package of one file."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder, self.digest = folder, digest

    def read_text(self, filename: str) -> str | None:
        if filename == "RECORD":
            return f"tool/a.py,sha256={self.digest},3\n../../bin/tool,,\ntool/__pycache__/a.pyc,,\n"
        return "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        return self.folder / path


def installed(monkeypatch: pytest.MonkeyPatch, folder: Path, content: bytes, recorded: bytes) -> None:
    (folder / "tool").mkdir(parents=True)
    (folder / "tool" / "a.py").write_bytes(content)
    digest = base64.urlsafe_b64encode(hashlib.sha256(recorded).digest()).decode().rstrip("=")
    monkeypatch.setattr(staging, "distribution", lambda _: Installed(folder, digest))
    monkeypatch.setattr(staging, "PYTHON", ".".join(map(str, __import__("sys").version_info[:2])))


def test_an_installed_package_is_copied_without_scripts_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(monkeypatch, tmp_path / "from", b"a=1", b"a=1")
    staging.copy_installed(Pin("tool", "1.0", None), tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").rglob("*") if path.is_file()] == ["a.py"]


@pytest.mark.parametrize(
    ("content", "version", "words"),
    [
        (b"a=2", "1.0", "not as it was installed"),
        (b"a=1", "2.0", "found tool 1.0 here, and the lock says 2.0"),
    ],
)
def test_an_installed_package_that_is_not_the_locked_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, version: str, words: str
) -> None:
    installed(monkeypatch, tmp_path / "from", content, b"a=1")
    with pytest.raises(PipelineError, match=words):
        staging.copy_installed(Pin("tool", version, None), tmp_path / "to")


class Registry:
    """Answers as a registry of the distribution API does."""

    def __init__(self, digest: str | None = DIGEST, code: int | None = None, away: bool = False) -> None:
        self.digest, self.code, self.away, self.asked = digest, code, away, list[str]()

    def __call__(self, request: Any, timeout: float) -> Any:
        url = request if isinstance(request, str) else request.full_url
        self.asked.append(url)
        if self.away:
            raise urllib.error.URLError("Name or service not known")
        if url.startswith("https://auth.example/"):
            return Answer(b'{"token": "t"}', {})
        if self.code:
            raise _http(url, self.code)
        if not request.has_header("Authorization"):
            raise _http(
                url, 401, 'Bearer realm="https://auth.example/token",service="s",scope="repository:x:pull"'
            )
        return Answer(b"", {"Docker-Content-Digest": self.digest} if self.digest else {})


class Answer(io.BytesIO):
    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(body)
        self.headers = headers


def _http(url: str, code: int, challenge: str = "") -> urllib.error.HTTPError:
    headers = Message()
    headers["WWW-Authenticate"] = challenge
    return urllib.error.HTTPError(url, code, "said so", headers, None)


def asked(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> Registry:
    monkeypatch.setattr("urllib.request.urlopen", registry)
    return registry


def test_a_digest_is_the_registrys_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = asked(monkeypatch, Registry())
    assert digests.digest_of("docker.io/library/python:3.11") == DIGEST
    assert registry.asked[0] == "https://registry-1.docker.io/v2/library/python/manifests/3.11"


@pytest.mark.parametrize(
    ("registry", "kind", "words"),
    [
        (Registry(away=True), RetryableError, "cannot be reached"),
        (Registry(code=404), PipelineError, "answers 404"),
        (Registry(digest=None), PipelineError, "says no digest"),
        (Registry(digest="sha256:short"), PipelineError, "says no digest"),
    ],
    ids=["no network", "not published", "no digest", "no real digest"],
)
def test_no_digest_is_made_up(
    monkeypatch: pytest.MonkeyPatch, registry: Registry, kind: type[PipelineError], words: str
) -> None:
    asked(monkeypatch, registry)
    with pytest.raises(kind, match=words):
        digests.digest_of("docker.io/a/b:1")
    found, problems = digests.look_up(["docker.io/a/b:1"])
    assert (found, len(problems)) == ({}, 1)


def test_what_was_found_goes_into_the_lock_and_into_a_kustomize_component(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(digests, "LOCK", tmp_path / "digests.lock")
    monkeypatch.setattr(digests, "COMPONENT", tmp_path / "c" / "kustomization.yaml")
    digests.write({BASE: DIGEST, "docker.io/joulestream/stream:1": DIGEST})
    assert f"{BASE} {DIGEST}\n" in digests.LOCK.read_text()
    component = digests.COMPONENT.read_text()
    assert f"  - name: docker.io/joulestream/stream\n    digest: {DIGEST}\n" in component
    assert "library/python" not in component  # the base is in no manifest


def test_a_release_pins_our_images_their_base_and_those_of_the_manifests() -> None:
    names = digests.references("9")
    assert {"docker.io/joulestream/stream:9", BASE, "docker.io/apache/kafka:4.0.0"} <= set(names)
    assert not any("joulestream/store" in name or "joulestream/kafka" in name for name in names)
