"""One account of an installed gateway at its running simulator: the real adapter, what the simulator saw, what it told us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import requests

from integrations import registry
from integrations.contracts.adapter import ConfigView, FetchedToken
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.inbound import InboundEvent, InboundRequest, Origin
from integrations.contracts.payment_adapter import PaymentAdapter
from integrations.contracts.payment_features import PaymentFeatures
from integrations.contracts.provider import Provider
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.masking import Mask
from integrations.simulators import ManualClock, running_simulators
from tests.simulators.support import Receiver, wait_for

if TYPE_CHECKING:
    from tests.contracts.payments.drivers import Account, Driver

T = TypeVar("T")
Json = dict[str, Any]


class MemoryTokens:
    """A `TokenPort` that holds one token."""

    def __init__(self) -> None:
        self._held = ""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        if not self._held or self._held == rejected:
            self._held = fetch().access_token
        return self._held


@dataclass
class Bench:
    """`hooks` takes the callbacks of gateways that tell by callback."""

    account: Account
    running: running_simulators
    clock: ManualClock
    hooks: Receiver
    tokens: MemoryTokens = field(default_factory=MemoryTokens)

    @property
    def driver(self) -> Driver:
        return self.account.driver

    @property
    def provider(self) -> Provider:
        return registry.get_provider(self.driver.slug)

    @property
    def features(self) -> PaymentFeatures:
        """The capability matrix of this account."""
        found = self.provider.adapter_class(Capability.PAYMENT)
        assert issubclass(found, PaymentAdapter)
        return found.features_for(self.view())

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now(), UTC)

    def view(self) -> ConfigView:
        """Return the demo account as a stored config: cleaned by the schema, every field there."""
        provider = self.provider
        accounts = {each.label: each for each in self.running.simulator(provider.slug).accounts}
        demo = accounts[self.account.demo or self.driver.account]
        plain, secrets = provider.config.clean({**demo.values, **demo.secrets, **self.driver.config, **self.account.config})
        return ConfigView(
            id=7,
            tenant_id=3,
            provider=provider.slug,
            environment=Environment.SIMULATOR,
            base_url=f"{self.running.url}/{provider.slug}",
            values={**{each.name: None for each in provider.config if not each.secret}, **plain},
            secrets={**dict.fromkeys(provider.config.secret_names), **secrets},
        )

    def adapter(self) -> PaymentAdapter:
        """Return a fresh adapter over a real socket, as each call of the hub gets one."""
        view = self.view()
        http = HttpClient(
            provider=view.provider,
            base_url=view.base_url,
            mask=Mask(keys=self.provider.masked_keys),
            recorder=SilentRecorder(),
            timeout=(10.0, 30.0),
        )
        made = registry.build_adapter(view, Capability.PAYMENT, http=http, tokens=self.tokens, clock=self.now)
        assert isinstance(made, PaymentAdapter)
        return made

    # --- the simulator

    def control(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Use the simulator's controls; `path` below `/control/`."""
        answer = requests.request(method, f"{self.running.url}/control/{path}", json=body, timeout=30)
        assert answer.status_code == status, answer.text
        return answer.json()

    def own(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Use this gateway's own controls."""
        return self.control(method, f"{self.driver.slug}/{path}", body, status=status)

    def fault(self, operation: str, kind: str) -> None:
        self.own("POST", "faults", {"operation": operation, "fault": kind})

    def requests(self) -> list[Json]:
        """Return what the fake API received, oldest first."""
        found: list[Json] = self.own("GET", "requests")
        return found

    def mark(self) -> int:
        """Return where the list of requests stands now, for `since`."""
        return max((each["id"] for each in self.requests()), default=0)

    def since(self, mark: int) -> list[Json]:
        return [each for each in self.requests() if each["id"] > mark]

    def wait(self, look: Callable[[], T | None]) -> T:
        """Let the simulator's time pass until `look` gives something true."""

        def moved() -> T | None:
            self.clock.advance(0.5)
            return look()

        return wait_for(moved)

    # --- what the gateway told us

    def events(self, token: str) -> list[InboundEvent]:
        """Return what came to `/hooks/<token>/...` so far, each verified first, as facts."""
        webhook = self.provider.webhook_adapter()
        assert webhook is not None
        found: list[InboundEvent] = []
        for received in list(self.hooks.received):
            base, _, purpose = received.path.rpartition("/")
            if base != f"/hooks/{token}":
                continue
            request = InboundRequest("POST", purpose, {}, received.headers, received.body, "127.0.0.1")
            trust = webhook.verify(request, self.view(), by_token=True).trust
            found += webhook.parse(request, Origin(tenant_id=3, config_id=7, trust=trust, receipt_id=11))
        return found
