"""The manifests as kubectl renders them, once for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.k8s.rendering import HOW, Rendered, Thing, kubectl, rendered


@pytest.fixture(scope="session")
def manifests() -> dict[str, Rendered]:
    """All kustomizations by name. Without kubectl the tests are left out; with JOULE_REQUIRE_KUBECTL they fail."""
    if kubectl() is None:
        if os.environ.get("JOULE_REQUIRE_KUBECTL"):
            pytest.fail(HOW)
        pytest.skip(HOW)
    return rendered()


@pytest.fixture(scope="session")
def things_of(manifests: dict[str, Rendered]) -> Callable[[str], tuple[Thing, ...]]:
    """The objects of a kustomization, with those of `base` where it only adds to them."""

    def of(name: str) -> tuple[Thing, ...]:
        one = manifests[name]
        assert not one.failure, one.failure
        whole = any(thing["kind"] == "Namespace" for thing in one.things)
        return one.things if whole else (*manifests["base"].things, *one.things)

    return of
