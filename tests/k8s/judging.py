"""Strict judgement of objects by the schemas of Kubernetes and of the foreign resources, without a cluster.

Kubernetes' own schemas are those that the package kubernetes-validate carries; the others lie under `schemas/`. An
unknown field is an error everywhere. Rules in the Common Expression Language (`x-kubernetes-validations`) need an
API server and are not judged here.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.k8s.crds import definitions

KUBERNETES = "1.34.0"
_DEFINITIONS = "_definitions.json"
# Fields of foreign resources that hold a whole pod template, which their own schema leaves open.
_TEMPLATES = {
    ("spark.apache.org/v1", "SparkApplication"): (
        ("spec", "driverSpec", "podTemplateSpec"),
        ("spec", "executorSpec", "podTemplateSpec"),
    ),
    ("sparkoperator.k8s.io/v1beta2", "SparkApplication"): (
        ("spec", "driver", "template"),
        ("spec", "executor", "template"),
    ),
}


def _shipped(name: str) -> Any:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    return json.loads((folder / name).read_text("utf-8"))


@cache
def _registry() -> Registry[Any]:
    shared = Resource.from_contents(_shipped(_DEFINITIONS), default_specification=DRAFT202012)
    known: Registry[Any] = Registry()
    return known.with_resource(_DEFINITIONS, shared)


@cache
def kubernetes_schema(api_version: str, kind: str) -> Draft202012Validator | None:
    """The validator of a kind of Kubernetes itself; None for any other."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    try:
        schema = _shipped(f"{kind.lower()}-{group}.json")
    except FileNotFoundError:
        return None
    return Draft202012Validator(schema, registry=_registry())


@cache
def _part(name: str) -> Draft202012Validator:
    """The validator of a part of objects, such as a pod template."""
    return Draft202012Validator({"$ref": f"{_DEFINITIONS}#/$defs/{name}"}, registry=_registry())


def strict(schema: Any) -> Any:
    """A CustomResourceDefinition's schema as JSON Schema that refuses what it does not name."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: strict(inner) for name, inner in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
        if not key.startswith("x-kubernetes-") and key != "format"
    }
    named = schema.get("type") == "object" and "properties" in schema
    if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.pop("nullable", False):
        made["type"] = [made["type"], "null"]
    return made


@cache
def foreign_schema(api_version: str, kind: str) -> Draft202012Validator | None:
    """The validator of a kind that an operator brings; None for any other."""
    group, _, wanted = api_version.rpartition("/")
    for definition in definitions():
        spec = definition["spec"]
        if (spec["group"], spec["names"]["kind"]) != (group, kind):
            continue
        for version in spec["versions"]:
            if version["name"] == wanted and version["served"]:
                return Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))
    return None


def _inner(thing: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        thing = thing.get(step, {}) if isinstance(thing, dict) else {}
    return thing


def _said(error: ValidationError, start: tuple[str, ...] = ()) -> str:
    place = ".".join(str(step) for step in (*start, *error.absolute_path))
    return f"{place}: {error.message[:300]}"


def errors(thing: dict[str, Any]) -> tuple[str, ...]:
    """What is wrong with one object, each as `field: what`; empty if nothing is. Overlays share most objects."""
    return _errors(json.dumps(thing, sort_keys=True, default=str))


@cache
def _errors(text: str) -> tuple[str, ...]:
    thing = json.loads(text)
    api_version, kind = str(thing.get("apiVersion")), str(thing.get("kind"))
    validator = kubernetes_schema(api_version, kind)
    if validator is not None:
        return tuple(_said(error) for error in validator.iter_errors(thing))
    validator = foreign_schema(api_version, kind)
    if validator is None:
        return (f"no schema is known for {api_version} {kind}",)
    found = [_said(error) for error in validator.iter_errors(thing)]
    meta = _part("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    found += [_said(error, ("metadata",)) for error in meta.iter_errors(thing.get("metadata", {}))]
    for path in _TEMPLATES.get((api_version, kind), ()):
        template = _part("io.k8s.api.core.v1.PodTemplateSpec")
        found += [_said(error, path) for error in template.iter_errors(_inner(thing, path))]
    return tuple(found)
