"""An installed provider's demo account at its running simulator, and the real adapter for it over a real socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from integrations.contracts import clock
from integrations.contracts.adapter import Adapter, ConfigView, FetchedToken
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.provider import Provider
from integrations.http.client import HttpClient, SilentRecorder
from integrations.http.http2 import Http2Client
from integrations.http.masking import Mask
from integrations.simulators import DemoAccount, running_simulators


class OneCallTokens:
    """A `TokenPort` that holds one token."""

    def __init__(self) -> None:
        self.held = ""

    def access_token(self, fetch: Callable[[], FetchedToken], *, rejected: str | None = None) -> str:
        if not self.held or self.held == rejected:
            self.held = fetch().access_token
        return self.held


def accounts(provider: Provider, running: running_simulators) -> list[DemoAccount]:
    return list(running.simulator(provider.slug).accounts)


def connect(
    provider: Provider,
    capability: Capability,
    running: running_simulators,
    secrets: Mapping[str, Any] | None = None,
    base_url: str = "",
    recorder: Any = None,
) -> Adapter:
    """Return an adapter for the first demo account, as each call of the hub gets one; `secrets` replace the account's."""
    account = accounts(provider, running)[0]
    values, sealed = provider.config.clean({**account.values, **account.secrets, **(secrets or {})})
    view = ConfigView(
        id=1,
        tenant_id=1,
        provider=provider.slug,
        environment=Environment.SIMULATOR,
        base_url=base_url or f"{running.url}/{provider.slug}",
        values={**{field.name: None for field in provider.config if not field.secret}, **values},
        secrets={**dict.fromkeys(provider.config.secret_names), **sealed},
    )
    http = (Http2Client if provider.http2 else HttpClient)(
        provider=provider.slug,
        base_url=view.base_url,
        mask=Mask(keys={*provider.masked_keys, *provider.config.secret_names}, secrets=[str(v) for v in sealed.values()]),
        recorder=recorder or SilentRecorder(),
        timeout=(10.0, 30.0),
    )
    return provider.adapter_class(capability)(config=view, http=http, tokens=OneCallTokens(), clock=clock.now)
