"""One simulated account seen from the hub: the real adapter and http client, and what its webhooks say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import InboundRequest, MessageReported
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.sendgrid.adapter import SendGridEmail
from integrations.providers.sendgrid.provider import PROVIDER
from integrations.providers.sendgrid.tests.conftest import ORIGIN, NoTokens, view
from integrations.providers.sendgrid.webhook import SendGridWebhook
from integrations.simulators import DemoAccount, ManualClock, running_simulators
from tests.simulators.support import Received, Receiver, let_pass


@dataclass
class Hub:
    """One account's adapter, the simulator behind it, and a server that takes the webhooks below its path."""

    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    account: DemoAccount

    def __post_init__(self) -> None:
        self.webhook = SendGridWebhook(now=self.clock.now)

    @property
    def path(self) -> str:
        return f"/{self.account.label}/events"

    def listen(self) -> None:
        """Have the account's events posted to `hooks`, as a person sets it in the dashboard."""
        self.control("PUT", f"/accounts/{self.account.label}", {"webhook_url": f"{self.hooks.url}{self.path}"})

    def view(self, **changed: Any) -> ConfigView:
        given = {**self.account.values, **self.account.secrets, **changed}
        return view(Environment.SIMULATOR, f"{self.running.url}/sendgrid", **given)

    def adapter(self, config: ConfigView | None = None, **changed: Any) -> SendGridEmail:
        config = config or self.view(**changed)
        http = HttpClient(
            provider="sendgrid",
            base_url=config.base_url,
            mask=Mask(keys={*PROVIDER.masked_keys, *PROVIDER.config.secret_names}),
            recorder=SilentRecorder(),
            timeout=(2.0, 5.0),
        )
        return SendGridEmail(
            config=config, http=http, tokens=NoTokens(), clock=lambda: datetime.fromtimestamp(self.clock.now(), UTC)
        )

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = requests.request(method, f"{self.running.url}/control/sendgrid{path}", json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Call the fake API with the account's key, around the adapter."""
        given = {"Authorization": f"Bearer {self.account.secrets['api_key']}", **headers}
        return requests.request(method, f"{self.running.url}/sendgrid{path}", json=body, headers=given, timeout=5)

    def messages(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.control("GET", "/messages")["messages"]
        return [row for row in rows if row["account"] == self.account.label]

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.control("POST", "/faults", {"operation": operation, "fault": kind, **more})

    def posts(self, count: int) -> list[Received]:
        """Let time pass until so many batches came to this account's path."""
        return let_pass(self.running, self.clock, 0.5, lambda: self.hooks.at(self.path), count)

    def facts(self, received: Received, config: ConfigView | None = None) -> list[MessageReported]:
        """Return what a batch says, verified first."""
        request = InboundRequest("POST", "events", {}, received.headers, received.body, "127.0.0.1")
        self.webhook.verify(request, config or self.view(), by_token=True)
        found = self.webhook.parse(request, ORIGIN)
        assert all(isinstance(each, MessageReported) for each in found)
        return [each for each in found if isinstance(each, MessageReported)]

    def said(self, count: int) -> list[tuple[str, Any]]:
        """Return (status, state or engagement) of the first facts, in the order in which they were posted."""

        def look() -> list[tuple[str, Any]]:
            facts = [fact for post in self.hooks.at(self.path) for fact in self.facts(post)]
            return [(each.provider_status, each.state or each.engagement) for each in facts]

        return let_pass(self.running, self.clock, 0.5, look, count)
