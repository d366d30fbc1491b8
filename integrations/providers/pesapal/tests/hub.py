"""One simulated merchant seen from the hub: the real adapter and http client, and the server that takes its IPNs."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundRequest
from integrations.contracts.payment import PaymentResult
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.pesapal.adapter import PesapalPayments
from integrations.providers.pesapal.provider import CONFIG, PROVIDER
from integrations.providers.pesapal.tests.support import MemoryTokens, order, query, webhook
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import let_pass, wait_for

START = 1_783_664_126.0  # 2026-07-10 09:15:26 in Nairobi


@dataclass
class Hooks:
    """A server for IPNs of either method that acknowledges as the webhook adapter does, or with `answer` while that is set.

    What a request is answered is settled before it is recorded: whoever has seen it may change `answer` for the next one.
    """

    answer: tuple[int, bytes] | None = None
    received: list[InboundRequest] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def serve(self) -> None:
                target = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = InboundRequest(self.command, "ipn", dict(parse_qsl(target.query)), headers, body, "127.0.0.1")
                ack = webhook.ack(request)
                status, answer = hooks.answer or (ack.status, ack.body)
                hooks.received.append(request)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = serve  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Hub:
    """One merchant's adapter, the simulator behind it, and where its IPNs go."""

    running: running_simulators
    clock: ManualClock
    hooks: Hooks
    account: DemoAccount
    tokens: MemoryTokens = field(default_factory=MemoryTokens)

    def adapter(self, **changed: Any) -> PesapalPayments:
        plain, secrets = CONFIG.clean({**self.account.values, **self.account.secrets, **changed})
        view = ConfigView(
            id=7,
            tenant_id=3,
            provider="pesapal",
            environment=Environment.SIMULATOR,
            base_url=f"{self.running.url}/pesapal",
            values={**{each.name: None for each in CONFIG if not each.secret}, **plain},
            secrets=secrets,
        )
        http = HttpClient(
            provider="pesapal",
            base_url=view.base_url,
            mask=Mask(keys=PROVIDER.masked_keys),
            recorder=SilentRecorder(),
            timeout=PROVIDER.timeout,
        )
        return PesapalPayments(
            config=view, http=http, tokens=self.tokens, clock=lambda: datetime.fromtimestamp(self.clock.now(), UTC)
        )

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        found = requests.request(method, f"{self.running.url}/control/pesapal{path}", json=body, timeout=5)
        assert found.status_code == status, found.text
        return found.json()

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.control("POST", "/faults", {"operation": operation, "fault": kind, **more})

    def payer(self, ref: str, action: str, **more: Any) -> Any:
        return self.control("POST", "/payer", {"ref": ref, "action": action, **more})

    def dashboard(self, ref: str, action: str, **more: Any) -> Any:
        return self.control("POST", "/dashboard", {"ref": ref, "action": action, **more})

    def money(self) -> list[Any]:
        found: list[Any] = self.control("GET", "/money")["payments"]
        return found

    def asked(self, operation: str) -> int:
        """Return how many requests of this kind the simulator has seen."""
        return [each["operation"] for each in self.control("GET", "/requests")].count(operation)

    def start(self, **changed: Any) -> str:
        """Create an order; return its tracking id."""
        return self.adapter().authorize(order(**changed)).provider_ref

    def status(self, tracking: str, **changed: Any) -> PaymentResult:
        return self.adapter().payment_status(query(provider_ref=tracking, **changed))

    def ipns(self, count: int) -> list[InboundRequest]:
        """Let time pass until so many IPNs have come; return them."""
        return let_pass(self.running, self.clock, 0.5, lambda: list(self.hooks.received), count)

    def settle(self) -> None:
        """Let time pass until nothing is planned any more."""

        def look() -> bool:
            self.clock.advance(1)
            return not self.running.store.rows("SELECT 1 FROM jobs WHERE state IN ('pending', 'begun', 'held')")

        wait_for(look)


def body_of(request: InboundRequest) -> Any:
    return json.loads(request.body)
