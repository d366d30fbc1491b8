"""What a person does to a circuit: hold it open or closed for a time, let go of it, close it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from integrations import registry
from integrations.contracts import clock
from integrations.contracts.capabilities import Environment
from integrations.contracts.errors import InvalidRequest, UnsupportedOperation
from integrations.models import BreakerState, Config, ProviderGrant
from integrations.runtime.breaker import circuit, rows, telling
from integrations.runtime.breaker.circuit import HELD_CLOSED, HELD_OPEN, State
from integrations.runtime.breaker.memory import MEMORY
from integrations.tenancy import audit


def hold(*, key: str, state: str, until: datetime | None) -> BreakerState:
    """Hold the circuit `open` (nobody calls) or `closed` (everybody does, whatever the calls say) until this time, or until
    somebody lets go (None). Other processes obey within a second.

    Raises `InvalidRequest` for another state or a time that has passed, `BreakerState.DoesNotExist`.
    """
    if state not in (HELD_OPEN, HELD_CLOSED):
        raise InvalidRequest("A circuit is held open or closed.", attr="state")
    if until is not None and until <= clock.now():
        raise InvalidRequest("This time has passed.", attr="until")
    return _change(key, f"held_{state}", {"forced": state, "forced_by": _who(), "forced_until": until})


def let_go(*, key: str) -> BreakerState:
    """Let the calls decide again; the circuit stands as it would without the hand."""
    return _change(key, "let_go", {"forced": "", "forced_by": "", "forced_until": None})


def reset(*, key: str) -> BreakerState:
    """Close the circuit and forget what was counted; a hand that holds it stays."""
    return _change(key, "reset", {"state": State.CLOSED.value})


def _change(key: str, what: str, values: Mapping[str, Any]) -> BreakerState:
    with transaction.atomic():
        row, now = rows.lock(key)
        before = {name: getattr(row, name) for name in values}
        if "state" in values:
            circuit.close(row, now)
            telling.closed(row, now=now)
        else:
            for name, value in values.items():
                setattr(row, name, value)
        row.save()
        changes = audit.differences(_plain(before), _plain(values))
        for tenant_id in concerned(row):
            audit.record(
                tenant_id=tenant_id,
                action=f"circuit.{what}",
                object_type="circuit",
                object_id=str(row.pk),
                object_name=row.key,
                changes=changes,
            )
    MEMORY.forget(key)
    return row


def concerned(row: BreakerState) -> list[int]:
    """Return the ids of the tenants whose calls go through this circuit."""
    _provider, _, rest = row.key.partition("|")
    _host, _, config_id = rest.partition("|")
    if config_id.isdigit():
        return list(Config.unscoped.filter(pk=int(config_id)).values_list("tenant_id", flat=True))
    configs = Config.unscoped.filter(provider_id=row.provider, is_active=True, environment__in=_environments(row))
    granted = ProviderGrant.unscoped.filter(provider_id=row.provider)
    return sorted({*configs.values_list("tenant_id", flat=True), *granted.values_list("tenant_id", flat=True)})


def _environments(row: BreakerState) -> list[str]:
    """Return the environments of the provider that are at this host."""
    found = []
    for environment in (Environment.PRODUCTION, Environment.SANDBOX):
        try:
            address = registry.base_url(registry.get_provider(row.provider), environment)
        except (registry.UnknownProvider, UnsupportedOperation):
            continue
        if urlsplit(address).netloc == row.host:
            found.append(environment.value)
    return found


def _who() -> str:
    return audit.current_actor().name[:150]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
