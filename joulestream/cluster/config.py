"""The cluster's ConfigMaps, from `conf/`: settings as variables, and the files that Spark reads.

`joule k8s render` writes them to k8s/base/configmap.yaml, since kustomize cannot read above its own root.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from conf.logs import JVM_FILE
from conf.settings import env_name, load_settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "k8s" / "base" / "configmap.yaml"
NAMESPACE = "bigdata-pipeline"

# What is different from a laptop; every other setting has its default (docs/reference/settings.md).
SETTINGS: Mapping[str, str] = {
    "kafka.bootstrap": "kafka-svc:9092",
    "mongodb.uri": "mongodb://mongodb:27017/?replicaSet=joule",
    "stream.jars_dir": "/opt/joulestream/jars",
    "logs.format": "json",
}
DATA_DIR = "/var/lib/joulestream"

SPARK: Mapping[str, str] = {
    "spark.driver.port": "7078",
    "spark.driver.blockManager.port": "7079",
    "spark.blockManager.port": "7079",
    "spark.driver.memory": "768m",
    "spark.executor.instances": "1",
    # Tasks mostly wait for the store: one per Kafka partition, whatever the processors.
    "spark.executor.cores": "3",
    "spark.executor.memory": "768m",
    "spark.kubernetes.authenticate.executor.serviceAccountName": "stream-executor",
    "spark.kubernetes.container.image.pullPolicy": "IfNotPresent",
    # ms. The first call also loads the classes of the client: a busy node can need longer than the 10 s of Spark.
    "spark.kubernetes.driver.connectionTimeout": "60000",
    "spark.kubernetes.driver.requestTimeout": "60000",
    # A driver ends at the third executor that failed: within an hour, not in all its life.
    "spark.executor.failuresValidityInterval": "1h",
    # Executors mount the ConfigMap themselves, and make no Service and no volume: the driver needs no right to.
    "spark.kubernetes.executor.disableConfigMap": "true",
    "spark.kubernetes.driver.service.deleteOnTermination": "false",
    "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
    "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
    "spark.kubernetes.driver.waitToReusePersistentVolumeClaim": "false",
}

# Of the JVM: lines of text, and objects (the setting logs.format).
LOGGING = ("log4j2.properties", JVM_FILE.name)

_HEAD = """\
# Written by `joule k8s render` from conf/ and joulestream/cluster/config.py; a test compares. Do not edit: overlays
# change single variables.
"""


def environment() -> dict[str, str]:
    """The settings of all components as environment variables. Raises ConfigError where one is wrong."""
    load_settings({"data_dir": DATA_DIR, **SETTINGS})
    return {"JOULE_DATA_DIR": DATA_DIR, **{env_name(path): value for path, value in SETTINGS.items()}}


def files() -> dict[str, str]:
    """Spark's own files: those of `conf/`, and what a Kubernetes master needs besides."""
    conf = resources.files("conf")
    more = "".join(f"{key:<60} {value}\n" for key, value in SPARK.items())
    defaults = (conf / "spark-defaults.conf").read_text("utf-8")
    return {
        **{name: (conf / name).read_text("utf-8") for name in LOGGING},
        "spark-defaults.conf": f"{defaults}# On Kubernetes.\n{more}",
    }


def rendered() -> str:
    """The two ConfigMaps as YAML."""
    variables = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in sorted(environment().items()))
    texts = "".join(f"  {name}: |\n{_indented(text)}" for name, text in sorted(files().items()))
    return f"{_HEAD}{_map('joulestream-config')}{variables}---\n{_map('joulestream-files')}{texts}"


def _map(name: str) -> str:
    return (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n"
        f"  name: {name}\n  namespace: {NAMESPACE}\n  labels:\n"
        "    app.kubernetes.io/name: joulestream\n"
        "    app.kubernetes.io/component: settings\n"
        "    app.kubernetes.io/part-of: joulestream\n"
        "    app.kubernetes.io/managed-by: kustomize\n"
        "data:\n"
    )


def _indented(text: str) -> str:
    return "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())
