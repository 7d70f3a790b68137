"""The digests of what is published, asked of the registries (OCI distribution API); none is ever made up."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping

from joulestream.images.catalogue import BASE, IMAGES, REGISTRY
from joulestream.local.process import ROOT
from schemas.errors import PipelineError, RetryableError

LOCK = ROOT / "images" / "digests.lock"
COMPONENT = ROOT / "k8s" / "components" / "digests" / "kustomization.yaml"
WAIT_S = 20.0
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KINDS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_IMAGE = re.compile(r"^\s*(?:-\s*)?image:\s*[\"']?([a-z0-9.]+/[^\s\"'@]+:[^\s\"'@]+)[\"']?\s*$", re.MULTILINE)
_NAME = re.compile(r"(?P<registry>[^/]+)/(?P<path>[^:@]+):(?P<tag>[^:@]+)")


def references(tag: str) -> list[str]:
    """What a release pins: our published images, their base, and the public ones that the manifests name."""
    ours = [image.tagged(tag) for image in IMAGES if image.published]
    named = {
        name
        for file in sorted((ROOT / "k8s").rglob("*.yaml"))
        for name in _IMAGE.findall(file.read_text("utf-8"))
        if not name.startswith(f"{REGISTRY}/")
    }
    return [*ours, BASE, *sorted(named - {BASE})]


def look_up(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The digest of each image by its name, and a line for each that is not known."""
    found, problems = {}, []
    for name in names:
        try:
            found[name] = digest_of(name)
        except PipelineError as error:
            problems.append(str(error))
    return found, problems


def digest_of(name: str) -> str:
    """The digest of `registry/path:tag`. Raises RetryableError (no network), PipelineError (no such image)."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise PipelineError(f"{name} is not an image's full name: expected registry/path:tag")
    host = "registry-1.docker.io" if parts["registry"] == "docker.io" else parts["registry"]
    url = f"https://{host}/v2/{parts['path']}/manifests/{parts['tag']}"
    try:
        answer = _head(url, None)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise PipelineError(f"{name}: {host} answers {error.code} {error.reason}") from None
        answer = _with_token(name, url, error.headers.get("WWW-Authenticate", ""))
    except (urllib.error.URLError, OSError) as error:
        raise _away(name, error) from None
    digest = answer.get("docker-content-digest", "")
    if not DIGEST.fullmatch(digest):
        raise PipelineError(f"{name}: {host} says no digest (found {digest!r})")
    return digest


def _with_token(name: str, url: str, challenge: str) -> dict[str, str]:
    """Ask again with the token that the registry gives to anybody."""
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not asked.get("realm", "").startswith("https://"):
        raise PipelineError(
            f"{name}: the registry wants a login that this verb does not know ({challenge[:60]!r})"
        )
    query = urllib.parse.urlencode({key: asked[key] for key in ("service", "scope") if key in asked})
    try:
        with urllib.request.urlopen(f"{asked['realm']}?{query}", timeout=WAIT_S) as reply:  # noqa: S310 - https only
            token = json.load(reply)
        return _head(url, token.get("token") or token["access_token"])
    except urllib.error.HTTPError as error:
        raise PipelineError(
            f"{name} is not published, or not for everybody ({error.code} {error.reason})"
        ) from None
    except (urllib.error.URLError, OSError) as error:
        raise _away(name, error) from None
    except (ValueError, KeyError):
        raise PipelineError(f"{name}: the registry gives no token") from None


def _head(url: str, token: str | None) -> dict[str, str]:
    headers = {"Accept": ", ".join(_KINDS), **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, method="HEAD", headers=headers)  # noqa: S310 - https only
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310
        return {key.lower(): value for key, value in answer.headers.items()}


def _away(name: str, error: Exception) -> RetryableError:
    reason = getattr(error, "reason", None) or error
    return RetryableError(f"{name}: its registry cannot be reached ({reason}); this verb needs a network")


def write(found: Mapping[str, str]) -> None:
    """Write the lock file, and the kustomize component that puts digests in the place of tags."""
    lines = "".join(f"{name} {digest}\n" for name, digest in found.items())
    LOCK.write_text(
        f"# Digests of published images, asked of their registries by `joule images digests`.\n{lines}"
    )
    COMPONENT.parent.mkdir(parents=True, exist_ok=True)
    entries = "".join(
        f"  - name: {name.rpartition(':')[0]}\n    digest: {digest}\n"
        for name, digest in found.items()
        if name != BASE
    )
    COMPONENT.write_text(
        "# Written by `joule images digests`: images by digest, for an overlay's `components`.\n"
        f"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages:\n{entries}"
    )
