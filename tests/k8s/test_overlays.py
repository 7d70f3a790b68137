"""What the overlays say in the words of an operator is what base and the code say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from conf.sections import Kafka
from joulestream.cluster.config import SPARK
from joulestream.cluster.kafka_users import GROUPS, RIGHTS
from joulestream.local.topics import topic_options
from schemas import topics
from tests.k8s.object_policies import of_kind
from tests.k8s.rendering import K8S, Thing, render

ThingsOf = Callable[[str], tuple[Thing, ...]]
OPERATORS = ("kubeflow", "apache")
# Spark's options that a SparkApplication says in fields of its own, and where.
KUBEFLOW_FIELDS = {
    "spark.driver.memory": "driver.memory",
    "spark.executor.instances": "executor.instances",
    "spark.executor.cores": "executor.cores",
    "spark.executor.memory": "executor.memory",
    "spark.kubernetes.authenticate.executor.serviceAccountName": "executor.serviceAccount",
    "spark.kubernetes.container.image.pullPolicy": "imagePullPolicy",
}


def named(things: tuple[Thing, ...], kind: str, name: str) -> Thing:
    return deepcopy(next(one for one in of_kind(things, kind) if one["metadata"]["name"] == name))


def topic_of(things: tuple[Thing, ...], name: str) -> Thing:
    spec: Thing = named(things, "KafkaTopic", name)["spec"]
    return spec


def test_strimzi_makes_the_topics_that_the_code_would_make(things_of: ThingsOf) -> None:
    things = things_of("overlays/strimzi")
    settings = named(things, "ConfigMap", "joulestream-config")["data"]
    kafka = Kafka(
        replication_factor=int(settings["JOULE_KAFKA_REPLICATION_FACTOR"]),
        partitions=int(settings["JOULE_KAFKA_PARTITIONS"]),
    )
    assert {one["metadata"]["name"] for one in of_kind(things, "KafkaTopic")} == set(topics.ALL)
    for name in topics.ALL:
        wanted, spec = topic_options(name, kafka), topic_of(things, name)
        assert spec["partitions"] == wanted["num_partitions"]
        assert spec["replicas"] == wanted["replication_factor"]
        assert {key: str(value) for key, value in spec["config"].items()} == wanted["configs"]


def test_strimzi_gives_users_the_rights_that_the_code_would_give(things_of: ThingsOf) -> None:
    things = things_of("overlays/strimzi")
    assert {one["metadata"]["name"] for one in of_kind(things, "KafkaUser")} == {"admin", *RIGHTS}
    for user, rights in RIGHTS.items():
        acls = named(things, "KafkaUser", user)["spec"]["authorization"]["acls"]
        on = {kind: [acl for acl in acls if acl["resource"]["type"] == kind] for kind in ("topic", "group")}
        assert sum(map(len, on.values())) == len(acls)
        assert {
            acl["resource"]["name"]: {operation.upper() for operation in acl["operations"]}
            for acl in on["topic"]
        } == {
            topic: {operation.name.replace("_", "") for operation in operations}
            for topic, operations in rights.items()
        }
        assert all(acl["resource"]["patternType"] == "literal" for acl in on["topic"])
        wanted = [{"type": "group", "name": GROUPS[user], "patternType": "prefix"}] if user in GROUPS else []
        assert [acl["resource"] for acl in on["group"]] == wanted


def test_strimzis_users_have_the_passwords_of_the_secret(things_of: ThingsOf) -> None:
    for user in of_kind(things_of("overlays/strimzi"), "KafkaUser"):
        reference = user["spec"]["authentication"]["password"]["valueFrom"]["secretKeyRef"]
        assert reference == {"name": "kafka-credentials", "key": f"{user['metadata']['name']}-password"}


def test_strimzis_brokers_are_as_careful_as_ours(things_of: ThingsOf) -> None:
    config = named(things_of("overlays/strimzi"), "Kafka", "joulestream")["spec"]["kafka"]["config"]
    text = named(things_of("overlays/prod"), "ConfigMap", "kafka-config")["data"]["server.properties"]
    ours = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    said = {key: str(value).lower() for key, value in config.items()}
    assert {key: ours.get(key) for key in said} == said
    for key in ("min.insync.replicas", "default.replication.factor", "auto.create.topics.enable"):
        assert key in said


def test_strimzis_clients_trust_its_authority(things_of: ThingsOf) -> None:
    text = str(things_of("overlays/strimzi"))
    assert "'secretName': 'kafka-tls'" not in text
    assert "'secretName': 'joulestream-cluster-ca-cert'" in text


def application(things_of: ThingsOf, operator: str) -> Thing:
    things = things_of(f"overlays/spark-operator/{operator}")
    spec: Thing = named(things, "SparkApplication", "energy-streaming-job")["spec"]
    return spec


def template(things_of: ThingsOf, operator: str, role: str) -> Thing:
    spec = application(things_of, operator)
    found: Thing = (
        spec[role]["template"] if operator == "kubeflow" else spec[f"{role}Spec"]["podTemplateSpec"]
    )
    return found


def comparable(pod: Thing, without: set[str]) -> dict[str, Any]:
    """What must be the same whoever makes the pod; `without`: environment and volumes that only one way needs."""
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    keys = ("image", "envFrom", "securityContext")
    whole = (
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "affinity",
        "securityContext",
        "enableServiceLinks",
    )
    labels = {
        key: value for key, value in pod["metadata"]["labels"].items() if not key.endswith("managed-by")
    }
    return {
        "labels": labels,
        **{key: container.get(key) for key in keys},
        "livenessProbe": container.get("livenessProbe", {}).get("exec"),
        **{f"pod.{key}": spec.get(key) for key in whole},
        "env": [one for one in container.get("env", ()) if one["name"] not in without],
        "mounts": [one for one in container["volumeMounts"] if one["name"] not in without],
        "volumes": [one for one in spec["volumes"] if one["name"] not in {*without, "tmp"}],
    }


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("role", ["driver", "executor"])
def test_an_operators_pods_are_those_of_base(things_of: ThingsOf, operator: str, role: str) -> None:
    base = things_of("base")
    if role == "driver":
        ours = named(base, "Deployment", "energy-streaming-job")["spec"]["template"]
    else:
        ours = named(base, "PodTemplate", "stream-executor")["template"]
    # In cluster mode Spark brings its own configuration folder, its master, and the driver's name.
    only_one = {"SPARK_CONF_DIR", "JOULE_STREAM_MASTER", "POD_NAME", "spark-conf", "spark-local-dir-1"}
    assert comparable(template(things_of, operator, role), only_one) == comparable(ours, only_one)


@pytest.mark.parametrize("operator", OPERATORS)
def test_executors_find_the_driver_before_they_work(things_of: ThingsOf, operator: str) -> None:
    """Our own Service leads to a pod that is not ready; the one that Spark makes does not."""
    assert named(things_of("base"), "Service", "stream-driver")["spec"]["publishNotReadyAddresses"] is True
    (container,) = template(things_of, operator, "driver")["spec"]["containers"]
    assert {"startupProbe", "readinessProbe"} & container.keys() == set()


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_is_told_sparks_options(things_of: ThingsOf, operator: str) -> None:
    spec = application(things_of, operator)
    said = dict(spec["sparkConf"])
    if operator == "kubeflow":
        for option, path in KUBEFLOW_FIELDS.items():
            value: Any = spec
            for step in path.split("."):
                value = value[step]
            said[option] = str(value)
    assert {option: said.get(option) for option in SPARK} == dict(SPARK)
    text = named(things_of("base"), "ConfigMap", "joulestream-files")["data"]["spark-defaults.conf"]
    lines = [line.split(None, 1) for line in text.splitlines() if line.startswith("spark.")]
    for option, value in lines:
        assert said.get(option, "").startswith(value.strip()), option


@pytest.mark.parametrize("name", ["base", *(f"overlays/spark-operator/{operator}" for operator in OPERATORS)])
def test_images_reach_every_pod(things_of: ThingsOf, tmp_path: Path, name: str) -> None:
    assert "docker.io/joulestream/stream:0.1.0" in str(things_of(name))
    shutil.copytree(K8S, tmp_path / "k8s")
    page = tmp_path / "k8s" / name / "kustomization.yaml"
    image = {"name": "docker.io/joulestream/stream", "newName": "registry.example.org/stream", "newTag": "9"}
    page.write_text(page.read_text("utf-8") + yaml.safe_dump({"images": [image]}), "utf-8")
    one = render(name, tmp_path / "k8s")
    assert one.failure == ""
    assert "docker.io/joulestream/stream" not in str(one.things)
    assert "registry.example.org/stream:9" in str(one.things)


def test_a_scrape_carries_the_exporters_token(things_of: ThingsOf) -> None:
    monitor = named(things_of("overlays/monitoring"), "ServiceMonitor", "stream-exporter")["spec"]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "exporter-token", "key": "token"}
    service = named(things_of("base"), "Service", "stream-exporter")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_grafanas_password_comes_from_its_file(things_of: ThingsOf) -> None:
    things = things_of("overlays/monitoring")
    text = named(things, "ConfigMap", "grafana-config")["data"]["grafana.ini"]
    (password,) = re.findall(r"^admin_password = \$__file\{(.*)\}$", text, re.MULTILINE)
    spec = named(things, "Deployment", "grafana")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    volume = next(one for one in spec["volumes"] if one["name"] == mounts[str(Path(password).parent)])
    assert volume["secret"]["secretName"] == "grafana-login"
