"""What `joule images package` writes for `spark-submit` in cluster mode makes the pods that the operators make."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from joulestream.cluster.check.kubectl import Kubectl
from joulestream.cluster.cluster_mode import OPTIONS, PODS, write_cluster_mode
from tests.k8s.judging import errors
from tests.k8s.rendering import Thing

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "spark-submit.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written = write_cluster_mode(tmp_path / "dist" / "kubernetes")
    assert {file.name for file in written} == {OPTIONS, *PODS}
    return tmp_path / "dist" / "kubernetes"


@pytest.fixture
def spec(things_of: Callable[[str], tuple[Thing, ...]]) -> Thing:
    (found,) = (
        one["spec"]
        for one in things_of("overlays/spark-operator/apache")
        if one["kind"] == "SparkApplication"
    )
    return dict(found)


def options(folder: Path) -> dict[str, str]:
    lines = (folder / OPTIONS).read_text("utf-8").splitlines()
    pairs = [line.split(None, 1) for line in lines]
    return {pair[0]: pair[1] for pair in pairs}


def test_options_are_those_that_an_operator_is_given(folder: Path, spec: Thing) -> None:
    said = options(folder)
    assert {key: said.get(key) for key in spec["sparkConf"]} == spec["sparkConf"]
    assert said.keys() - spec["sparkConf"].keys() == {
        "spark.kubernetes.namespace",
        "spark.kubernetes.submission.waitAppCompletion",
    }


@pytest.mark.parametrize("name", PODS)
def test_pods_are_those_that_an_operator_makes(folder: Path, spec: Thing, name: str) -> None:
    (pod,) = Kubectl.rendered_file(folder / name)
    assert errors(pod) == ()
    template = spec[PODS[name]]["podTemplateSpec"]
    assert (pod["metadata"], pod["spec"]) == (template["metadata"], template["spec"])
    role = name.removesuffix(".yaml")
    named = options(folder)[f"spark.kubernetes.{role}.podTemplateContainerName"]
    assert [container["name"] for container in pod["spec"]["containers"]] == [named]


def test_the_page_gives_these_files_and_the_job(folder: Path, spec: Thing) -> None:
    (command,) = re.findall(
        r"^spark-submit --master k8s://.*?^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert set(re.findall(r"dist/kubernetes/(\S+)", command)) == {OPTIONS, *PODS}
    assert spec["pyFiles"] in command.split()
