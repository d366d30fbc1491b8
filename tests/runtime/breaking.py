"""Calls that break a circuit."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.errors import CircuitOpen, ProviderUnavailable
from integrations.models import Tenant
from integrations.runtime import breaker
from integrations.runtime.execute import execute
from integrations.runtime.jobs import Call
from tests.runtime.service import SLUG, Service

SURELY = breaker.FIRST_WAIT.total_seconds() * (1 + breaker.SPREAD)
"""Seconds after which a circuit that opened once lets a probe through."""


def make(tenant: Tenant, operation: str = "ask", **fields: Any) -> Any:
    return execute(Call(Capability.CRM, operation, ("v",), reference=("thing", "t1"), **fields), tenant_id=tenant.pk)


def fail(tenant: Tenant, service: Service, times: int = 1, **fields: Any) -> None:
    service.will_answer(503, times=times)
    for _ in range(times):
        with pytest.raises(ProviderUnavailable, match="answered 503"):
            make(tenant, **fields)


def break_circuit(tenant: Tenant, service: Service, **fields: Any) -> None:
    fail(tenant, service, breaker.MINIMUM_FAILURES, **fields)


def refused(tenant: Tenant, **fields: Any) -> float:
    """Make a call that the circuit refuses; return the seconds that it says to wait."""
    with pytest.raises(CircuitOpen) as caught:
        make(tenant, **fields)
    assert caught.value.retry_after is not None
    return caught.value.retry_after


def view_of(
    config_id: int | None = 1,
    base_url: str = "https://crm.example",
    environment: Environment = Environment.PRODUCTION,
    own: str = "",
    tenant_id: int = 1,
) -> ConfigView:
    """Return a config's view; `own` is the host that it has in place of its provider's."""
    values = {"base_url": own} if own else {}
    return ConfigView(
        id=config_id, tenant_id=tenant_id, provider=SLUG, environment=environment, base_url=base_url, values=values, secrets={}
    )
