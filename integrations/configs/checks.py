"""What can be tried with a stored config: does it connect, does the provider take our URLs. Both call the provider."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from integrations.configs import registrations
from integrations.configs.features import offering
from integrations.configs.routing import callback_urls
from integrations.contracts import clock
from integrations.contracts.adapter import Registration, TestResult
from integrations.contracts.capabilities import Capability
from integrations.contracts.errors import AuthenticationFailed, CircuitOpen, Conflict, NotConfigured, ProviderError, Throttled
from integrations.models import Config, ConfigStatus
from integrations.registry import UnknownProvider, get_provider
from integrations.runtime.alerts import resolve_alert
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `status` is short and stable, `detail` for a person; neither holds a secret."""

    ok: bool
    status: str
    detail: str
    duration_ms: int


def test_config(*, config: Config) -> Outcome:
    """Call the provider with the config's credentials, and store what came of it as the config's status.

    Called outside of any transaction. A provider that refuses or is away is an outcome, not an exception. Raises `Conflict`
    for a config that is switched off.
    """
    _require_active(config)
    begun = time.monotonic()
    try:
        result: TestResult = _call(config, "test_connection")
        outcome = Outcome(result.ok, result.status, result.detail, _since(begun))
        status = ConfigStatus.OK if result.ok else ConfigStatus.FAILING
    except ProviderError as error:
        outcome = Outcome(False, error.code, error.message, _since(begun))
        if isinstance(error, CircuitOpen | Throttled):
            return outcome  # we held back ourselves: nothing was learned about the config
        status = ConfigStatus.NEEDS_ATTENTION if isinstance(error, AuthenticationFailed) else ConfigStatus.FAILING
    _store(config, status, outcome.detail, clock.now())
    return outcome


test_config.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


def register_webhooks(*, config: Config) -> Outcome:
    """Tell the provider our callback URLs through its API, and store in the config what it answers; `detail` says what was
    done.

    Called outside of any transaction. Raises `ProviderError`: `UnsupportedOperation` where it is done by hand, `Conflict`
    for a config that is switched off, is being registered right now, or was moved to another environment or removed meanwhile.
    """
    _require_active(config)
    begun = time.monotonic()
    with registrations.one_at_a_time(config):
        urls = {each.purpose: each.url for each in callback_urls(config)}
        registration: Registration = _call(config, "register_webhooks", urls)
        registrations.store(config, registration)
    return Outcome(True, "registered", registration.detail, _since(begun))


def _require_active(config: Config) -> None:
    if not config.is_active:
        raise Conflict("This config is switched off: switch it on first.")


def _call(config: Config, operation: str, *arguments: Any) -> Any:
    call = Call(_capability(config, operation), operation, arguments, config_id=config.pk, reference=("config", str(config.pk)))
    return execute(call, tenant_id=config.tenant_id)


def _capability(config: Config, operation: str) -> Capability:
    """Return a capability whose adapter does `operation` itself, else any: the credentials are the same for all of them."""
    try:
        provider = get_provider(config.provider_id)
        return offering(provider, operation) or next(iter(provider.adapters))
    except (UnknownProvider, StopIteration) as error:
        raise NotConfigured("The provider of this config is not installed any more.", provider=config.provider_id) from error


def _since(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)


def _store(config: Config, status: ConfigStatus, detail: str, at: datetime) -> None:
    # Only onto the row that was tested: an edit made meanwhile is untested.
    tested = Config.unscoped.filter(pk=config.pk, updated=config.updated)
    tested.update(status=status, status_detail=detail, tested_at=at)
    if status == ConfigStatus.OK:
        # The subject that the worker gives the alert when credentials are refused.
        resolve_alert(tenant_id=config.tenant_id, kind="config_needs_attention", subject=f"{config.provider_id} {config.pk}")
