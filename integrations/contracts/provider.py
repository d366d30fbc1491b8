"""How a provider declares itself: one `PROVIDER = Provider(...)` in its folder's provider.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from integrations.contracts.adapter import Adapter
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.inbound import WebhookAdapter
from integrations.contracts.schema import ConfigSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What one config may be asked for: `rate` calls of an operation per second with at most `burst` saved up; `concurrency`
    calls at once and `daily` calls in a day (UTC), over all its operations (None: no limit)."""

    rate: float
    burst: int
    concurrency: int | None = None
    daily: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A third-party service. Class references are "module:Class" relative to the provider's own package `package`,
    so that declaring costs no import.

    `routing_fields` are plain values under which the provider names the account in its webhooks (a shortcode): they find
    the tenant on fixed paths. `is_global`: one installation-wide config from the environment may serve many tenants.
    `http2`: its API speaks HTTP/2 only.
    `masked_keys`: names of members, form fields and headers whose values never reach a log, beside the declared secrets.
    """

    slug: str
    name: str
    docs_url: str
    package: str
    config: ConfigSchema
    adapters: Mapping[Capability, str]
    base_urls: Mapping[Environment, str]
    description: str = ""
    webhook: str = ""
    simulator: str = ""
    is_global: bool = False
    http2: bool = False
    routing_fields: tuple[str, ...] = ()
    masked_keys: frozenset[str] = frozenset()
    rate_limit: RateLimit = field(default_factory=lambda: RateLimit(rate=20, burst=40))
    timeout: tuple[float, float] = (5.0, 30.0)
    check_environment: Callable[[Mapping[str, Any], Environment], dict[str, str]] | None = None
    """`check_environment(values, environment)` with plain and secret values together: {field: problem}. For live keys in a
    sandbox config, and the reverse."""
    pause: Callable[[int, Mapping[str, str], str], float | None] | None = None
    """`pause(status, headers, body)` of an answer, header names in lower case: for how many seconds the account is to stay
    away from this operation; 0: not at all; None: what the usual headers and status say. For providers that say it elsewhere,
    or mean one recipient by a 429."""
    requirements: tuple[str, ...] = ()
    """What a person must have at hand before setting it up, one sentence each."""

    @property
    def categories(self) -> list[str]:
        return sorted(capability.value for capability in self.adapters)

    def _load(self, reference: str) -> Any:
        module, _, name = reference.partition(":")
        return getattr(import_module(f"{self.package}.{module}"), name)

    def adapter_class(self, capability: Capability) -> type[Adapter]:
        """Return the adapter class; raise KeyError where the provider has no such capability."""
        loaded: type[Adapter] = self._load(self.adapters[capability])
        return loaded

    def webhook_adapter(self) -> WebhookAdapter | None:
        if not self.webhook:
            return None
        make: Callable[[], WebhookAdapter] = self._load(self.webhook)
        return make()

    def simulator_class(self) -> type[Any] | None:
        return self._load(self.simulator) if self.simulator else None
