"""Why a server does not let us in, in a sentence that names the setting to correct, and never a secret.

Client libraries are known here by the names of their errors only: this module imports none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import RetryableError

RIGHTS = "docs/how-to/secure-connections.md lists what each needs"


class Refused(RetryableError):
    """The server is there and does not let us in: what it or we were told must change first.

    Who starts ends with it; who has worked before waits, since a password or a certificate may be renewed.
    """


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def short(error: BaseException) -> str:
    """An error in one short line, with its class."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def unreadable(section: str, ca: Path | None, cert: Path | None, key: Path | None, error: OSError) -> str:
    """Which certificate file of a section cannot be used, and why."""
    for name, path in (("ca_file", ca), ("cert_file", cert), ("key_file", key)):
        try:
            if path is not None:
                path.read_bytes()
        except OSError as found:
            return f"{section}.{name}: {path} cannot be read: {found.strerror}"
    given = ", ".join(
        f"{section}.{n}" for n, p in (("ca_file", ca), ("cert_file", cert), ("key_file", key)) if p
    )
    return (
        f"{given}: not certificates in PEM, or key and certificate do not belong together ({_reason(error)})"
    )


def tls_words(
    what: str, text: str, ca_file: Path | None, ca_setting: str, ours: tuple[str, Path | None]
) -> str | None:
    """What TLS's own words mean; None for none of the known ones. `ours`: settings and file of our certificate."""
    low = text.lower()
    setting, given = ours
    if "certificate verify failed" in low or "certificate_verify_failed" in low:
        return f"{what}: {_verify_words(low, text, ca_file, ca_setting)}"
    if "certificate required" in low or "certificate_required" in low:
        return f"{what} asks for a certificate of ours; set {setting}"
    if "alert" in low and ("certificate" in low or "unknown ca" in low or "unknown_ca" in low):
        if given is None:
            return f"{what} asks for a certificate of ours; set {setting}"
        why = (
            "it has expired" if "expired" in low else "it has expired, or comes from none of its authorities"
        )
        return f"{what} refuses our certificate {given}: {why}; renew it ({setting})"
    return None


def _verify_words(low: str, text: str, ca_file: Path | None, ca_setting: str) -> str:
    if "has expired" in low:
        return "its certificate has expired; renew it on the server"
    if "not yet valid" in low:
        return "its certificate is not valid yet; compare the clocks of both machines"
    if "mismatch" in low or "not valid for" in low:
        named = re.search(r"certificate is not valid for '([^']*)'", text)
        host = f" {named[1]!r}" if named else " the host that we asked for"
        return f"its certificate is not for{host}; use an address that it names, or have that one added to it"
    known = f"in {ca_file}" if ca_file is not None else "that we know"
    return (
        f"its certificate comes from no authority {known}; set {ca_setting} to the certificates (PEM) that it "
        "must come from"
    )


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)
