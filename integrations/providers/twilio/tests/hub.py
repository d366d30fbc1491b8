"""One simulated account seen from the hub: the real adapters and http client, and what its webhooks say."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundEvent, InboundRequest, Trust
from integrations.contracts.messaging import Target
from integrations.contracts.sms import SmsMessage
from integrations.contracts.whatsapp import WhatsAppMessage
from integrations.http.client import HttpClient
from integrations.http.masking import Mask
from integrations.providers.twilio.adapter import TwilioSms
from integrations.providers.twilio.provider import PROVIDER
from integrations.providers.twilio.tests import support
from integrations.providers.twilio.webhook import TwilioWebhook
from integrations.providers.twilio.whatsapp import TwilioWhatsApp
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Received, Receiver, wait_for

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
    """One account's adapters, the simulator behind them, and a server that takes the webhooks."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    account: DemoAccount
    recorder: Recorded = field(default_factory=Recorded)

    def __post_init__(self) -> None:
        self.webhook = TwilioWebhook()
        self.control("PUT", f"/accounts/{self.account.label}", {"webhook_url": f"{self.callback_url}/inbound"})

    @property
    def callback_url(self) -> str:
        return f"{self.hooks.url}/hooks/{self.account.label}"

    def view(self, **changed: Any) -> ConfigView:
        plain, secrets = PROVIDER.config.clean({**self.account.values, **self.account.secrets, **changed})
        return ConfigView(
            id=1,
            tenant_id=1,
            provider="twilio",
            environment=Environment.SIMULATOR,
            base_url=f"{self.running.url}/twilio",
            values=plain,
            secrets=secrets,
        )

    def sms(self, **changed: Any) -> TwilioSms:
        return TwilioSms(**self._parts(**changed))

    def whatsapp(self, **changed: Any) -> TwilioWhatsApp:
        return TwilioWhatsApp(**self._parts(**changed))

    def text(self, to: str, **changed: Any) -> SmsMessage:
        given = {"message_id": "msg_1", "recipients": (Target(to, "ref_1"),), "text": "Fees received."}
        return SmsMessage(**{**given, "callback_url": self.callback_url, **changed})

    def chat(self, to: str, **changed: Any) -> WhatsAppMessage:
        given = {"message_id": "msg_1", "target": Target(to, "ref_1"), "callback_url": self.callback_url}
        return WhatsAppMessage(**{**given, **changed})

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.running.url}/control/twilio{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def messages(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.control("GET", "/messages")["messages"]
        return [row for row in rows if row["account"] == self.account.label]

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.control("POST", "/faults", {"operation": operation, "fault": kind, **more})

    def received(self, count: int, purpose: str = "status") -> list[Received]:
        """Let time pass until so many calls came to this account's path."""

        def look() -> list[Received]:
            # What is due goes first: time that runs ahead of the simulator's threads would mix up the order.
            if not self._is_busy():
                self.clock.advance(0.5)
            found = self.hooks.at(f"/hooks/{self.account.label}/{purpose}")
            return found if len(found) >= count and not self._is_busy() else []

        return wait_for(look)

    def _is_busy(self) -> bool:
        now, jobs = self.clock.now(), self.running.scheduler.jobs("twilio")
        return any(job["state"] == "begun" or (job["state"] == "pending" and job["due"] <= now) for job in jobs)

    def request(self, received: Received) -> InboundRequest:
        """Return a call as the hub's view would hand it on."""
        query = dict(parse_qsl(urlsplit(received.path).query))
        return InboundRequest(
            "POST", "status", query, received.headers, received.body, "127.0.0.1", f"{self.hooks.url}{received.path}"
        )

    def fact(self, received: Received, **changed: Any) -> InboundEvent:
        """Return what a webhook says, verified first."""
        request = self.request(received)
        assert self.webhook.verify(request, self.view(**changed), by_token=True).trust is Trust.SIGNED
        (event,) = self.webhook.parse(request, support.ORIGIN)
        return event

    def _parts(self, **changed: Any) -> dict[str, Any]:
        config = self.view(**changed)
        client = HttpClient(
            provider="twilio",
            base_url=config.base_url,
            mask=Mask(keys=PROVIDER.masked_keys, secrets=[str(each) for each in config.secrets.values() if each]),
            recorder=self.recorder,
            timeout=(2.0, 5.0),
        )
        now = lambda: datetime.fromtimestamp(self.clock.now(), UTC)  # noqa: E731 - the contract wants a callable
        return {"config": config, "http": client, "tokens": support.NoTokens(), "clock": now}
