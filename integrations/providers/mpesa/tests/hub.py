"""One simulated organisation seen from the hub: the real adapter and http client, and what its callbacks say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.ids import new_token
from integrations.contracts.inbound import (
    InboundEvent,
    InboundRequest,
    PaymentReported,
)
from integrations.contracts.payment import PaymentState
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.mpesa.adapter import MpesaPayments
from integrations.providers.mpesa.provider import CONFIG, PROVIDER
from integrations.providers.mpesa.tests.support import MemoryTokens, origin, push, webhook
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Received, Receiver, let_pass

START = 1_783_664_126.0  # 2026-07-10 09:15:26 in Nairobi


@dataclass
class Hub:
    """One organisation's adapter, the simulator behind it, and a server that takes the callbacks."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    account: DemoAccount
    tokens: MemoryTokens = field(default_factory=MemoryTokens)
    base: str = ""

    def __post_init__(self) -> None:
        self.base = f"{self.hooks.url}/hooks/{new_token()}"

    def view(self, **changed: Any) -> ConfigView:
        """Return the demo account as a stored config: cleaned by the schema, every field there."""
        plain, secrets = CONFIG.clean({**self.account.values, **self.account.secrets, **changed})
        names = {each.name: each.secret for each in CONFIG}
        return ConfigView(
            id=7,
            tenant_id=3,
            provider="mpesa",
            environment=Environment.SIMULATOR,
            base_url=f"{self.running.url}/mpesa",
            values={**{name: None for name, secret in names.items() if not secret}, **plain},
            secrets={**{name: None for name, secret in names.items() if secret}, **secrets},
        )

    def adapter(self, **changed: Any) -> MpesaPayments:
        view = self.view(**changed)
        http = HttpClient(
            provider="mpesa",
            base_url=view.base_url,
            mask=Mask(keys=PROVIDER.masked_keys),
            recorder=SilentRecorder(),
            timeout=PROVIDER.timeout,
        )
        return MpesaPayments(
            config=view, http=http, tokens=self.tokens, clock=lambda: datetime.fromtimestamp(self.clock.now(), UTC)
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.running.url}/control{path}", json=body, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def fault(self, operation: str, kind: str) -> None:
        self.control("POST", "/mpesa/faults", {"operation": operation, "fault": kind})

    def asked(self, operation: str) -> int:
        """Return how many requests of this kind the simulator has seen."""
        return [each["operation"] for each in self.control("GET", "/mpesa/requests")].count(operation)

    def push(self, phone: str, **changed: Any) -> str:
        return self.adapter().authorize(push(phone=phone, callback_url=self.base, **changed)).provider_ref

    def events(self, purpose: str, token_object: str = "", *, count: int = 1) -> list[InboundEvent]:
        """Let time pass and return what the callbacks to this purpose's path say, each verified first."""
        path = f"{self.base.removeprefix(self.hooks.url)}/{purpose}"
        found = []
        for received in self.received(path, count):
            request = InboundRequest("POST", purpose, {}, received.headers, received.body, "127.0.0.1")
            webhook.verify(request, self.view(callback_ip_check="enforce"), by_token=True)
            found += webhook.parse(request, origin(token_object))
        return found

    def received(self, path: str, count: int) -> list[Received]:
        """Let time pass until so many callbacks have come to this path, and the simulator has booked our answers."""
        return let_pass(self.running, self.clock, 0.5, lambda: self.hooks.at(path), count)

    def paid(self, phone: str = "254712345001") -> PaymentReported:
        self.push(phone)
        (event,) = self.events("c", "payment:pay_1")
        assert isinstance(event, PaymentReported)
        assert event.state is PaymentState.SUCCEEDED
        return event
