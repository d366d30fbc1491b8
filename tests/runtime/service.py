"""A provider that exists for these tests alone: a real HTTP service on loopback, its declaration and its adapter."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from integrations.contracts.adapter import Adapter, Reply, TestResult
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderUnavailable,
    RateLimited,
    Undecided,
)
from integrations.contracts.provider import Provider, RateLimit
from integrations.contracts.schema import ConfigSchema, Secret, Text

SLUG = "sample-crm"
GATE_SECONDS = 30.0


@dataclass
class Service:
    """Answers what `answers` holds, one after the other, then 200 `{"ok": true}`; `gate` holds every answer back."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    received: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    gate: threading.Event | None = None
    url: str = ""

    def __enter__(self) -> Self:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.received.append((self.command, self.path, dict(self.headers.items()), body))
                if service.gate is not None:
                    service.gate.wait(GATE_SECONDS)
                status, headers, answer = service.answers.pop(0) if service.answers else (200, {}, b'{"ok": true}')
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815 http.server's name

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.gate is not None:
            self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def will_answer(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None, times: int = 1) -> None:
        content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        self.answers += [(status, dict(headers or {}), content)] * times

    @property
    def paths(self) -> list[str]:
        return [path for _method, path, _headers, _body in self.received]


class SampleAdapter(Adapter):
    """`act` has an effect, `act_with_key` one that the service deduplicates, `ask` has none."""

    def test_connection(self) -> TestResult:
        self.ask("ping")
        return TestResult(ok=True, status="ok", detail="there")

    def act(self, value: str) -> str:
        reply = self.http.request(
            "POST",
            "/act",
            operation="act",
            json={"value": value, "api_key": self.config.api_key, "note": f"key {self.config.api_key}"},
            query={"token": self.config.api_key},
            headers={"Authorization": f"Bearer {self.config.api_key}", "X-Note": f"for {self.config.api_key}"},
        )
        self._judge(reply, effect=True)
        reply.json()["ok"]
        return value

    def act_with_key(self, value: str) -> str:
        try:
            reply = self.http.request("POST", "/act", operation="act", json={"value": value, "key": "k1"})
            self._judge(reply, effect=True)
        except OutcomeUnknown as error:
            raise Undecided(error.message) from error
        return value

    def act_form(self, value: str) -> str:
        self._judge(self.http.request("POST", "/form", operation="act", form={"value": value}), effect=True)
        return value

    def ask(self, value: str) -> str:
        reply = self.http.request("GET", "/ask", operation="ask", query={"value": value})
        self._judge(reply, effect=False)
        reply.json()["ok"]
        return value

    def act_with_token(self, value: str) -> str:
        token = self.tokens.access_token(self._fetch)
        headers = {"Authorization": f"Bearer {token}"}
        self._judge(self.http.request("POST", "/act", operation="act", json={"value": value}, headers=headers), effect=True)
        return token

    def _fetch(self) -> Any:
        from integrations.contracts.adapter import FetchedToken

        reply = self.http.request("POST", "/token", operation="token", safe=True)
        self._judge(reply, effect=False)
        return FetchedToken(reply.json()["access_token"].text(), 3600)

    def crash(self, value: str) -> str:
        raise RuntimeError(f"bug with {value}")

    def act_and_crash(self, value: str) -> str:
        self.act(value)
        raise RuntimeError("bug after the answer")

    def _judge(self, reply: Reply, *, effect: bool) -> None:
        if reply.status == 401:
            raise AuthenticationFailed(f"refused {self.config.api_key}")
        if reply.status == 422:
            raise InvalidRequest("wrong value", attr="value")
        if reply.status == 429:
            raise RateLimited("slow down", retry_after=float(reply.headers.get("retry-after", "0")) or None)
        if reply.status >= 500:
            raise (OutcomeUnknown if effect and reply.status == 500 else ProviderUnavailable)(f"answered {reply.status}")


def sample_provider(url: str, **changes: Any) -> Provider:
    """Return the declaration with its production API at `url`."""
    values: dict[str, Any] = {
        "slug": SLUG,
        "name": "Sample CRM",
        "docs_url": "https://crm.example/docs",
        "package": "tests.runtime",
        "config": ConfigSchema(Text(name="account"), Secret(name="api_key")),
        "adapters": {Capability.CRM: "service:SampleAdapter"},
        "base_urls": {Environment.PRODUCTION: url},
        "is_global": True,
        "rate_limit": RateLimit(rate=1000, burst=10_000),
        "timeout": (5.0, 20.0),
        **changes,
    }
    return Provider(**values)
