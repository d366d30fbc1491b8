"""One simulated project seen from the hub: the real adapter and http client."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.providers.fcm.adapter import FcmPush
from integrations.providers.fcm.provider import CONFIG, PROVIDER
from integrations.providers.fcm.tests.support import MemoryTokens
from integrations.simulators import DemoAccount, ManualClock, running_simulators


@dataclass
class Hub:
    """One project's adapter and the simulator behind it. `tokens` is what the hub would have stored."""

    running: running_simulators
    clock: ManualClock
    account: DemoAccount
    tokens: MemoryTokens = field(default_factory=MemoryTokens)

    @property
    def url(self) -> str:
        return f"{self.running.url}/fcm"

    def adapter(self, *, timeout: tuple[float, float] = (2.0, 5.0), recorder: Any = None, **changed: Any) -> FcmPush:
        plain, secrets = CONFIG.clean({**self.account.values, **self.account.secrets, **changed})
        config = ConfigView(
            id=1,
            tenant_id=1,
            provider=PROVIDER.slug,
            environment=Environment.SIMULATOR,
            base_url=self.url,
            values={"android_channel": None, **plain},
            secrets=secrets,
        )
        client = HttpClient(
            provider=PROVIDER.slug,
            base_url=self.url,
            mask=Mask(keys=PROVIDER.masked_keys | PROVIDER.config.secret_names, secrets=list(secrets.values())),
            recorder=recorder or SilentRecorder(),
            timeout=timeout,
        )
        return FcmPush(
            config=config, http=client, tokens=self.tokens, clock=lambda: datetime.fromtimestamp(self.clock.now(), UTC)
        )

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        found = requests.request(method, f"{self.running.url}/control/fcm{path}", json=body, timeout=5)
        assert found.status_code == status, found.text
        return found.json()

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        self.control("POST", "/faults", {"operation": operation, "fault": kind, **more})

    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", "/messages")["messages"]
        return found

    def screen(self, token: str) -> list[str]:
        """Return the titles that the device shows."""
        return [each["title"] for each in self.control("GET", f"/screen/{token}")["shown"]]

    def asked(self, operation: str) -> list[int]:
        """Return the statuses of the requests of this kind that the simulator has seen."""
        return [each["status"] for each in self.control("GET", "/requests") if each["operation"] == operation]
