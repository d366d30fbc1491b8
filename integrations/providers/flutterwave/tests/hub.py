"""One simulated merchant seen from the hub: the real adapter and http client, and what its webhooks say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundRequest, PaymentTouched
from integrations.contracts.payment import PaymentResult
from integrations.contracts.payment_features import MethodType
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.flutterwave.adapter import FlutterwavePayments
from integrations.providers.flutterwave.provider import CONFIG, PROVIDER
from integrations.providers.flutterwave.tests import support
from integrations.providers.flutterwave.tests.support import NoTokens, origin
from integrations.providers.flutterwave.webhook import FlutterwaveWebhook
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Received, Receiver, let_pass, wait_for

START = support.NOW.timestamp()
webhook = FlutterwaveWebhook()


@dataclass
class Hub:
    """One merchant's adapter, the simulator behind it, and a server that takes the webhooks."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    account: DemoAccount

    def __post_init__(self) -> None:
        self.hooks.answer = (200, b"{}")
        self.control(
            "PUT", f"/flutterwave/accounts/{self.account.label}", {"webhook_url": f"{self.hooks.url}/{self.account.label}"}
        )

    def view(self, **changed: Any) -> ConfigView:
        """Return the demo account as a stored config: cleaned by the schema, every field there."""
        plain, secrets = CONFIG.clean({**self.account.values, **self.account.secrets, **changed})
        names = {each.name: each.secret for each in CONFIG}
        return ConfigView(
            id=7,
            tenant_id=3,
            provider="flutterwave",
            environment=Environment.SIMULATOR,
            base_url=f"{self.running.url}/flutterwave",
            values={**{name: None for name, secret in names.items() if not secret}, **plain},
            secrets={**{name: None for name, secret in names.items() if secret}, **secrets},
        )

    def adapter(self, **changed: Any) -> FlutterwavePayments:
        view = self.view(**changed)
        http = HttpClient(
            provider="flutterwave",
            base_url=view.base_url,
            mask=Mask(keys=PROVIDER.masked_keys),
            recorder=SilentRecorder(),
            timeout=PROVIDER.timeout,
        )
        return FlutterwavePayments(config=view, http=http, tokens=NoTokens(), clock=self.now)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def control(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.running.url}/control{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def payer(self, action: str, ref: str = support.PAYMENT, **more: Any) -> Any:
        return self.control("POST", "/flutterwave/payer", {"ref": ref, "action": action, **more})

    def dashboard(self, action: str, ref: str = support.PAYMENT, status: int = 200, **more: Any) -> Any:
        return self.control("POST", "/flutterwave/dashboard", {"ref": ref, "action": action, **more}, status)

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.control("POST", "/flutterwave/faults", {"operation": operation, "fault": kind, **more})

    def money(self) -> list[tuple[str, int, int, int]]:
        """Return (tx_ref, asked, captured, refunded) of every row, oldest first."""
        rows = self.control("GET", "/flutterwave/money")["payments"]
        return [(each["ref"], each["asked"], each["captured"], each["refunded"]) for each in reversed(rows)]

    def asked(self, operation: str) -> int:
        """Return how many requests of this kind the simulator has seen."""
        return [each["operation"] for each in self.control("GET", "/flutterwave/requests")].count(operation)

    # --- payments

    def page(self, **changed: Any) -> str:
        """Open a hosted page; return its link."""
        result = self.adapter().authorize(support.request(MethodType.REDIRECT, **changed))
        assert result.next_action is not None
        return str(result.next_action["url"])

    def prompt(self, phone: str = "254712345678", **changed: Any) -> PaymentResult:
        return self.adapter().authorize(support.request(phone=phone, **changed))

    def status(self, method: MethodType = MethodType.REDIRECT, **changed: Any) -> PaymentResult:
        return self.adapter().payment_status(support.query(method, **changed))

    def settled(self, method: MethodType = MethodType.MOBILE_MONEY, **changed: Any) -> PaymentResult:
        """Let time pass until the payment is not running any more."""

        def look() -> PaymentResult | None:
            self.clock.advance(0.5)
            found = self.status(method, **changed)
            return None if found.state.value in ("processing", "requires_action") else found

        return wait_for(look)

    # --- webhooks

    def received(self, count: int) -> list[Received]:
        """Let time pass until so many webhooks have come."""
        return let_pass(self.running, self.clock, 0.5, lambda: self.hooks.at(f"/{self.account.label}"), count)

    def answered(self, count: int) -> None:
        """Wait until so many webhooks are done with: their answer is known, and what follows from it is planned."""

        def look() -> bool:
            jobs = self.running.scheduler.jobs("flutterwave")
            return [each["state"] for each in jobs if each["kind"] == "callback"].count("done") >= count

        wait_for(look)

    def requests(self, count: int) -> list[InboundRequest]:
        return [InboundRequest("POST", "events", {}, each.headers, each.body) for each in self.received(count)]

    def touched(self, count: int = 1) -> list[PaymentTouched]:
        """Return what the webhooks say, each verified first."""
        found = []
        for request in self.requests(count):
            trust = webhook.verify(request, self.view(), by_token=False).trust
            (event,) = webhook.parse(request, origin(trust=trust))
            assert isinstance(event, PaymentTouched)
            found.append(event)
        return found
