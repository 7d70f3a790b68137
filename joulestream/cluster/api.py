"""The Kubernetes API as a pod sees it: its own token, its own namespace, the standard library."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import PipelineError, RetryableError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = "https://kubernetes.default.svc"
TIMEOUT_S = 10.0
CONFLICT = 409


@dataclass(frozen=True)
class Api:
    """The API server, for the service account whose token is mounted at `account`."""

    server: str = SERVER
    account: Path = ACCOUNT

    @property
    def namespace(self) -> str:
        """The namespace of this pod. Raises PipelineError."""
        return self._mounted("namespace")

    def get(self, path: str) -> dict[str, Any]:
        """An object. Raises PipelineError, RetryableError."""
        return self._ask("GET", path, None)

    def create(self, path: str, body: dict[str, Any]) -> bool:
        """Create an object; False where one of that name exists. Raises PipelineError, RetryableError."""
        try:
            self._ask("POST", path, body)
        except _Exists:
            return False
        return True

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the address is the cluster's own
            f"{self.server}{path}",
            data,
            {"Authorization": f"Bearer {self._mounted('token')}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(  # noqa: S310 - as above
                request, timeout=TIMEOUT_S, context=self._trust()
            ) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise _refused(method, path, error) from None
        except OSError as error:
            raise RetryableError(
                f"the Kubernetes API at {self.server} does not answer ({error}); check DNS and the NetworkPolicy "
                "that lets this pod reach it"
            ) from None

    def _trust(self) -> ssl.SSLContext | None:
        authority = self.account / "ca.crt"
        return ssl.create_default_context(cafile=str(authority)) if self.server.startswith("https") else None

    def _mounted(self, name: str) -> str:
        try:
            return (self.account / name).read_text("utf-8").strip()
        except OSError as error:
            raise PipelineError(
                f"{self.account / name} cannot be read ({error.strerror}); this runs in a pod whose service account "
                "token is mounted (automountServiceAccountToken: true)"
            ) from None


class _Exists(PipelineError):
    """An object of that name is there."""


def _refused(method: str, path: str, error: urllib.error.HTTPError) -> PipelineError:
    with error:
        text = error.read().decode("utf-8", "replace")
    try:
        why = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        why = str(error.reason)
    said = f"the Kubernetes API answers {error.code} to {method} {path}: {why}"
    if error.code == CONFLICT:
        return _Exists(said)
    if error.code >= 500 or error.code == 429:
        return RetryableError(said)
    return PipelineError(f"{said}; apply the Role and RoleBinding of this service account")
