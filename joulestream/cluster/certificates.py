"""Certificates for a trial of the overlay `prod`: an authority that is forgotten at once, and what it signed.

Made with the program `openssl`. For more than a trial use cert-manager (k8s/components/cert-manager), which renews
them.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import PipelineError

NAMESPACE = "bigdata-pipeline"
# Secret: name in the certificate (the brokers' is that of Kafka's super user), Service, headless Service.
SERVERS = {
    "kafka-tls": ("kafka", "kafka-svc", "kafka-headless"),
    "mongodb-tls": ("mongodb", "mongodb", "mongodb-headless"),
}


def names_of(service: str, headless: str, namespace: str) -> list[str]:
    """The addresses under which clients, pods of the set and the pod itself reach a server."""
    domain = f"{namespace}.svc"
    return [
        f"DNS:{service}",
        f"DNS:{service}.{domain}",
        f"DNS:{service}.{domain}.cluster.local",
        f"DNS:*.{headless}.{domain}",
        f"DNS:*.{headless}.{domain}.cluster.local",
        "DNS:localhost",
        "IP:127.0.0.1",
    ]


def secrets_of(host: str, days: int, namespace: str = NAMESPACE) -> list[dict[str, object]]:
    """The secrets kafka-tls, mongodb-tls and dashboard-tls, the last for `host`. Raises PipelineError."""
    with tempfile.TemporaryDirectory(prefix="joule-certificates-") as name:
        folder = Path(name)
        _openssl(
            *("req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", str(days)),
            *("-subj", "/CN=joulestream-trial", "-keyout", folder / "ca.key", "-out", folder / "ca.crt"),
        )
        found = [
            _secret(secret, folder, common, names_of(service, headless, namespace), days)
            for secret, (common, service, headless) in SERVERS.items()
        ]
        return [*found, _secret("dashboard-tls", folder, host, [f"DNS:{host}"], days)]


def _secret(secret: str, folder: Path, common: str, names: Sequence[str], days: int) -> dict[str, object]:
    key, request, cert, more = (folder / f"{secret}.{end}" for end in ("key", "csr", "crt", "ext"))
    more.write_text(f"subjectAltName={','.join(names)}\nextendedKeyUsage=serverAuth,clientAuth\n")
    _openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={common}", "-keyout", key, "-out", request
    )
    authority = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial")
    _openssl("x509", "-req", "-in", request, *authority, "-days", str(days), "-extfile", more, "-out", cert)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret,
            "labels": {
                "app.kubernetes.io/name": secret,
                "app.kubernetes.io/component": "certificate",
                "app.kubernetes.io/part-of": "joulestream",
                "app.kubernetes.io/managed-by": "joulestream",
            },
        },
        "type": "kubernetes.io/tls",
        "stringData": {
            "tls.crt": cert.read_text("ascii"),
            "tls.key": key.read_text("ascii"),
            "ca.crt": (folder / "ca.crt").read_text("ascii"),
        },
    }


def _openssl(*arguments: str | Path) -> None:
    try:
        done = subprocess.run(
            ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
        )
    except OSError as error:
        raise PipelineError(f"openssl cannot be run ({error.strerror}); install it") from None
    if done.returncode != 0:
        raise PipelineError(f"openssl {arguments[0]} failed: {done.stderr.strip()[-300:]}")
