"""A small OpenID Connect provider on 127.0.0.1: code flow with PKCE, RS256, and people who need no password."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "joulestream", "a client's secret"
Claims = Mapping[str, Any]


class Provider:
    """Its address, its key, and the codes that it has given out."""

    def __init__(self, people: Mapping[str, Claims]) -> None:
        self.people = people
        self.key = RSAKey.generate_key(2048, parameters={"kid": "k1", "alg": "RS256", "use": "sig"})
        self.codes: dict[str, dict[str, str]] = {}
        self.url = ""

    def secrets_toml(self, dashboard: str) -> str:
        """What Streamlit needs to know of it."""
        auth = {
            "redirect_uri": f"{dashboard}/oauth2callback",
            "cookie_secret": secrets.token_hex(32),
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "server_metadata_url": f"{self.url}/.well-known/openid-configuration",
        }
        return "[auth]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in auth.items())

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/end",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def choice(self, query: str) -> str:
        """The page on which a person says who they are."""
        links = (
            f'<p><a id="{html.escape(name)}" href="/approve?{html.escape(query)}&amp;person={html.escape(name)}">'
            f"{html.escape(name)}</a></p>"
            for name in self.people
        )
        return f"<h1>Who are you?</h1>{''.join(links)}"

    def approve(self, asked: dict[str, str]) -> str:
        """Where a person is sent with a code."""
        assert asked["client_id"] == CLIENT_ID
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str]) -> dict[str, Any]:
        """The tokens of a code; each is good once, and only for who asked for it (RFC 7636)."""
        asked = self.codes.pop(form["code"])
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims |= self.people[asked["person"]]
        id_token = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, self.key)
        return {"access_token": "opaque", "token_type": "Bearer", "expires_in": 300, "id_token": id_token}


@contextmanager
def provider(people: Mapping[str, Claims]) -> Iterator[Provider]:
    """A provider that serves while the block runs."""
    made = Provider(people)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(made: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, urlsplit(self.path).query
            if path == "/.well-known/openid-configuration":
                self._json(made.metadata())
            elif path == "/jwks":
                self._json({"keys": [made.key.as_dict(private=False)]})
            elif path == "/authorize":
                self._send(200, made.choice(query).encode(), "text/html")
            elif path == "/approve":
                self._redirect(made.approve(dict(parse_qsl(query))))
            elif path == "/end":
                self._redirect(parse_qs(query)["post_logout_redirect_uri"][0].removesuffix("/oauth2callback"))
            else:
                self._send(204 if path == "/favicon.ico" else 404, b"", "text/plain")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            wanted = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
            if self.path == "/token" and self.headers["Authorization"] == f"Basic {wanted}":
                self._json(made.token(dict(parse_qsl(body))))
            else:
                self._send(401, b"{}", "application/json")

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), "application/json")

        def _redirect(self, to: str) -> None:
            self.send_response(302)
            self.send_header("Location", to)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nothing is logged."""

    return Handler
