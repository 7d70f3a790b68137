"""Passwords for a new installation: random ones, where there are none. What exists is neither read nor changed.

`python -m joulestream.cluster.credentials [SECRET…]` in a pod that may create secrets (all that are known, or those
that are named); `joule k8s secrets [SECRET…]` prints the same for `kubectl create`.
"""

from __future__ import annotations

import base64
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from joulestream.cluster.api import Api
from schemas.errors import PipelineError

PASSWORD_BYTES = 24
KEYFILE_BYTES = 567  # 756 characters of base64; MongoDB takes 6 to 1,024


def _password() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def _keyfile() -> str:
    return base64.b64encode(secrets.token_bytes(KEYFILE_BYTES)).decode()


KEYS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "mongodb-credentials": {
        "root-password": _password,
        "writer-password": _password,
        "reader-password": _password,
        "keyfile": _keyfile,
    },
    "kafka-credentials": {
        "admin-password": _password,
        "stream-password": _password,
        "producer-password": _password,
    },
    "exporter-token": {"token": _password},
    "spark-auth": {"secret": _password},
    # Of the overlays `monitoring` and `monitoring-plain`: Grafana's user `admin`.
    "grafana-login": {"password": _password},
}


def secret(name: str) -> dict[str, object]:
    """A new secret of that name, as an object of the Kubernetes API."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/name": name,
                "app.kubernetes.io/component": "secret",
                "app.kubernetes.io/part-of": "joulestream",
                "app.kubernetes.io/managed-by": "joulestream",
            },
        },
        "type": "Opaque",
        "stringData": {key: make() for key, make in KEYS[name].items()},
    }


def known(names: Iterable[str]) -> None:
    """Raise PipelineError where one of these is no secret of ours."""
    unknown = [name for name in names if name not in KEYS]
    if unknown:
        raise PipelineError(f"there is no secret {', '.join(unknown)}: expected some of {', '.join(KEYS)}")


def ensure(api: Api, names: Iterable[str] = tuple(KEYS)) -> list[str]:
    """Create the secrets that are not there; one line about each. Raises PipelineError, RetryableError."""
    path = f"/api/v1/namespaces/{api.namespace}/secrets"
    return [
        f"secret {name}: {'created' if api.create(path, secret(name)) else 'exists, left as it is'}"
        for name in names
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all are there, 1 where the API refuses or is away (the Job tries again), 2 for a name not known."""
    names = list(sys.argv[1:] if argv is None else argv) or list(KEYS)
    try:
        known(names)
    except PipelineError as error:
        sys.stderr.write(f"credentials: {error}\n")
        return 2
    try:
        for line in ensure(Api(), names):
            sys.stdout.write(f"{line}\n")
    except PipelineError as error:
        sys.stderr.write(f"credentials: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
