"""The bill of materials: CycloneDX 1.6 as JSON, the same for the same locks.

Packages have the hashes of all their files in the lock, jars the one of the jar. What is not known is absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from joulestream.local.jars import Jar
from joulestream.supply.licences import Licence
from joulestream.supply.lock import ROOT, Package

Doc = dict[str, Any]
SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"


def bill(
    version: str, packages: Sequence[Package], jars: Sequence[Jar], licences: Mapping[str, Licence]
) -> Doc:
    """The bill of these packages and jars. `licences` by package URL."""
    root: Doc = {"type": "application", "bom-ref": ROOT, "name": ROOT, "version": version}
    root["licenses"] = [{"license": {"id": "Apache-2.0"}}]
    components = [_package(p, licences.get(p.ref)) for p in _merged(packages)]
    components += [_jar(jar, sets) for jar, sets in _sets(jars).items()]
    body: Doc = {
        "metadata": {"component": root},
        "components": sorted(components, key=lambda component: str(component["bom-ref"])),
        "dependencies": _dependencies(packages, jars),
    }
    digest = sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE_URL, digest).urn,
        "version": 1,
        **body,
    }


def _merged(packages: Sequence[Package]) -> list[Package]:
    """One of each name and version; a lock names some twice, for different machines."""
    return list({package.ref: package for package in packages}.values())


def _package(package: Package, licence: Licence | None) -> Doc:
    component: Doc = {
        "type": "library",
        "bom-ref": package.ref,
        "name": package.name,
        "version": package.version,
        "purl": package.ref,
        "externalReferences": [
            {
                "type": "distribution",
                "url": package.ref,
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.sha256],
            }
        ],
    }
    if licence is not None and licence.text is not None:
        stated: Doc = {"expression": licence.text} if licence.is_spdx else {"license": {"name": licence.text}}
        component["licenses"] = [stated]
    if package.marker:
        component["properties"] = [{"name": "joulestream:marker", "value": package.marker}]
    return component


def _sets(jars: Sequence[Jar]) -> dict[Jar, list[str]]:
    """Each jar once, with the sets that it is in."""
    found: dict[str, tuple[Jar, list[str]]] = {}
    for jar in jars:
        found.setdefault(jar_ref(jar), (jar, []))[1].append(jar.set)
    return dict(found.values())


def jar_ref(jar: Jar) -> str:
    """A jar's package URL (purl-spec, type maven)."""
    return f"pkg:maven/{jar.group}/{jar.artifact}@{jar.version}"


def _jar(jar: Jar, sets: Sequence[str]) -> Doc:
    return {
        "type": "library",
        "bom-ref": jar_ref(jar),
        "group": jar.group,
        "name": jar.artifact,
        "version": jar.version,
        "purl": f"{jar_ref(jar)}?type=jar",
        "hashes": [{"alg": "SHA-256", "content": jar.sha256}],
        "properties": [{"name": "joulestream:jars", "value": ", ".join(sets)}],
    }


def _dependencies(packages: Sequence[Package], jars: Sequence[Jar]) -> list[Doc]:
    """Who needs what, from the lock's own words; the project itself needs the jars."""
    refs: dict[str, list[str]] = {ROOT: [ROOT]}
    for package in packages:
        refs.setdefault(package.name, []).append(package.ref)
    needs: dict[str, set[str]] = {ref: set() for some in refs.values() for ref in some}
    for package in packages:
        for name in package.needed_by:
            for ref in refs.get(name, ()):
                needs[ref].add(package.ref)
    needs[ROOT] |= {jar_ref(jar) for jar in jars}
    for jar in jars:
        needs[jar_ref(jar)] = set()
    return [{"ref": ref, "dependsOn": sorted(some)} for ref, some in sorted(needs.items())]
