"""One simulated account seen from the hub: the real adapter and http client, and what its webhooks say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundEvent, InboundRequest
from integrations.contracts.payment import PaymentResult
from integrations.http.client import HttpClient
from integrations.http.masking import Mask
from integrations.providers.stripe.adapter import StripePayments
from integrations.providers.stripe.provider import PROVIDER
from integrations.providers.stripe.tests import support
from integrations.providers.stripe.webhook import StripeWebhook
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Received, Receiver, let_pass

START = support.NOW.timestamp()


class Recorded:
    """Keeps every exchange as the hub would log it."""

    def __init__(self) -> None:
        self.exchanges: list[Any] = []

    def started(self, exchange: Any) -> None:
        self.exchanges.append(exchange)

    def finished(self, exchange: Any) -> None:
        return None


@dataclass
class Hub:
    """One account's adapter, the simulator behind it, and a server that takes the webhooks."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    account: DemoAccount
    recorder: Recorded = field(default_factory=Recorded)

    def __post_init__(self) -> None:
        self.webhook = StripeWebhook(now=self.clock.now)
        self.control("PUT", f"/accounts/{self.account.label}", {"webhook_url": f"{self.hooks.url}/{self.account.label}"})

    def view(self, **changed: Any) -> ConfigView:
        base = f"{self.running.url}/stripe"
        return support.view(Environment.SIMULATOR, base_url=base, **{**self.account.values, **self.account.secrets, **changed})

    def adapter(self, **changed: Any) -> StripePayments:
        config = self.view(**changed)
        http = HttpClient(
            provider="stripe",
            base_url=config.base_url,
            mask=Mask(
                keys={*PROVIDER.masked_keys, "secret_key"}, secrets=[str(each) for each in config.secrets.values() if each]
            ),
            recorder=self.recorder,
            timeout=(2.0, 5.0),
        )
        return StripePayments(
            config=config,
            http=http,
            tokens=support.NoTokens(),
            clock=lambda: datetime.fromtimestamp(self.clock.now(), UTC),
        )

    def held(self, **changed: Any) -> PaymentResult:
        return self.adapter().authorize(support.payment(capture=False, **changed))

    def paid(self, **changed: Any) -> PaymentResult:
        return self.adapter().authorize(support.payment(**changed))

    def status(self, ref: str, **changed: Any) -> PaymentResult:
        return self.adapter().payment_status(support.query(ref, **changed))

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.running.url}/control/stripe{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def payer(self, ref: str, action: str, **more: Any) -> Any:
        return self.control("POST", "/payer", {"ref": ref, "action": action, **more})

    def dashboard(self, ref: str, action: str, **more: Any) -> Any:
        return self.control("POST", "/dashboard", {"ref": ref, "action": action, **more})

    def money(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.control("GET", "/money")["payments"]
        return rows

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.control("POST", "/faults", {"operation": operation, "fault": kind, **more})

    def asked(self, operation: str) -> int:
        return [each["operation"] for each in self.control("GET", "/requests")].count(operation)

    def received(self, kind: str, count: int = 1) -> list[Received]:
        """Let time pass until so many events of this kind came to this account's URL."""

        def look() -> list[Received]:
            return [each for each in self.hooks.at(f"/{self.account.label}") if each.json()["type"] == kind]

        return let_pass(self.running, self.clock, 0.5, look, count)

    def facts(self, received: Received) -> list[InboundEvent]:
        """Return what a webhook says, verified first, the moment it was sent."""
        request = InboundRequest("POST", "events", {}, received.headers, received.body, "127.0.0.1")
        self.webhook.verify(request, self.view(), by_token=True)
        return list(self.webhook.parse(request, support.origin()))
