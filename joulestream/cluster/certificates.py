"""Certificates for a trial of `prod` or `exporter-tls`: an authority that is forgotten at once, and what it signed.

Made with the program `openssl`. For more than a trial use cert-manager (k8s/components/cert-manager), which renews
them.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.errors import PipelineError

NAMESPACE = "bigdata-pipeline"
# Secret: name in the certificate (the brokers' is that of Kafka's super user), Service, headless Service if any.
SERVERS = {
    "kafka-tls": ("kafka", "kafka-svc", "kafka-headless"),
    "mongodb-tls": ("mongodb", "mongodb", "mongodb-headless"),
    "exporter-tls": ("stream-exporter", "stream-exporter", None),
}
DASHBOARD = "dashboard-tls"
SECRETS = (*SERVERS, DASHBOARD)


def names_of(service: str, headless: str | None, namespace: str) -> list[str]:
    """The addresses under which clients, pods of the set and the pod itself reach a server."""
    domain = f"{namespace}.svc"
    pods = [f"DNS:*.{headless}.{domain}", f"DNS:*.{headless}.{domain}.cluster.local"] if headless else []
    return [
        f"DNS:{service}",
        f"DNS:{service}.{domain}",
        f"DNS:{service}.{domain}.cluster.local",
        *pods,
        "DNS:localhost",
        "IP:127.0.0.1",
    ]


def known(names: Iterable[str]) -> None:
    """Raise PipelineError where one of these is no secret that we make certificates for."""
    unknown = [name for name in names if name not in SECRETS]
    if unknown:
        raise PipelineError(
            f"there is no certificate {', '.join(unknown)}: expected some of {', '.join(SECRETS)}"
        )


def secrets_of(
    host: str, days: int, names: Sequence[str] = SECRETS, namespace: str = NAMESPACE
) -> list[dict[str, object]]:
    """These secrets, all of one new authority; the dashboard's is for `host`. Raises PipelineError."""
    known(names)
    with tempfile.TemporaryDirectory(prefix="joule-certificates-") as name:
        folder = Path(name)
        _openssl(
            *("req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", str(days)),
            *("-subj", "/CN=joulestream-trial", "-keyout", folder / "ca.key", "-out", folder / "ca.crt"),
        )
        found = []
        for secret in dict.fromkeys(names):
            if secret == DASHBOARD:
                common, addresses = host, [f"DNS:{host}"]
            else:
                common, service, headless = SERVERS[secret]
                addresses = names_of(service, headless, namespace)
            found.append(_secret(secret, folder, common, addresses, days))
        return found


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
