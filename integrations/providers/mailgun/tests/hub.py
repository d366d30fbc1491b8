"""One simulated account seen from the hub: the real adapter and http client, and what its webhooks say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.email import Envelope
from integrations.contracts.inbound import InboundRequest, MessageReported
from integrations.contracts.messaging import SendResult
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.mailgun.adapter import MailgunEmail
from integrations.providers.mailgun.provider import PROVIDER
from integrations.providers.mailgun.tests import support
from integrations.providers.mailgun.webhook import MailgunWebhook
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Received, Receiver, let_pass, wait_for

START = support.NOW.timestamp()


@dataclass
class Hub:
    """One account's adapter, the simulator behind it, and a server that takes the webhooks."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    account: DemoAccount

    def __post_init__(self) -> None:
        self.webhook = MailgunWebhook(now=self.clock.now)
        self.url = f"{self.hooks.url}/hooks/0123/events"
        self.control("PUT", f"/accounts/{self.account.label}", {"webhook_url": self.url})

    @property
    def domain(self) -> str:
        return str(self.account.values["domain"])

    def view(self, **changed: Any) -> ConfigView:
        base = f"{self.running.url}/mailgun"
        given = {**self.account.values, **self.account.secrets, **changed}
        return support.view(Environment.SIMULATOR, base_url=base, **given)

    def adapter(self, *, base_url: str = "", **changed: Any) -> MailgunEmail:
        config = support.view(
            Environment.SIMULATOR,
            base_url=base_url or f"{self.running.url}/mailgun",
            **{**self.account.values, **self.account.secrets, **changed},
        )
        http = HttpClient(
            provider="mailgun",
            base_url=config.base_url,
            mask=Mask(keys=PROVIDER.masked_keys, secrets=[str(each) for each in config.secrets.values() if each]),
            recorder=SilentRecorder(),
            timeout=(2.0, 5.0),
        )
        return MailgunEmail(
            config=config,
            http=http,
            tokens=support.NoTokens(),
            clock=lambda: datetime.fromtimestamp(self.clock.now(), UTC),
        )

    def send(self, *envelopes: Envelope, **given: Any) -> SendResult:
        return self.adapter().send(support.email(*envelopes, **given))

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.running.url}/control/mailgun{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.control("POST", "/faults", {"operation": operation, "fault": kind, **more})

    def messages(self) -> list[dict[str, Any]]:
        """Return what was accepted, oldest first."""
        rows: list[dict[str, Any]] = self.control("GET", "/messages")["messages"]
        return rows[::-1]

    def report(self, address: str, status: str) -> None:
        row = next(each for each in self.messages() if each["to"] == address)
        self.control("POST", "/report", {"id": row["id"], "status": status})

    def received(self, count: int, path: str = "/hooks/0123") -> list[Received]:
        """Let time pass until so many webhooks came."""
        return let_pass(self.running, self.clock, 0.1, lambda: self.hooks.at(path), count)

    def quiet(self) -> None:
        """Let time pass until nothing more is planned."""

        def look() -> bool:
            self.clock.advance(30)
            jobs = self.running.scheduler.jobs("mailgun")
            return all(job["state"] not in ("pending", "begun", "held") for job in jobs)

        wait_for(look)

    def request(self, received: Received) -> InboundRequest:
        return InboundRequest("POST", "events", {}, received.headers, received.body, "127.0.0.1")

    def facts(self, received: Received) -> MessageReported:
        """Return what a webhook says, verified first."""
        request = self.request(received)
        self.webhook.verify(request, self.view(), by_token=True)
        (event,) = self.webhook.parse(request, support.ORIGIN)
        assert isinstance(event, MessageReported)
        return event
