"""Circuits that nobody needs any more: of accounts that were removed, and of hosts that nobody calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from integrations.configs import services
from integrations.contracts.clock import now
from integrations.contracts.errors import ProviderUnavailable
from integrations.models import Alert, BreakerState, Config, Tenant
from integrations.runtime import breaker, retention
from tests.factories import MovableClock
from tests.runtime.breaking import view_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock")]


def opened(view: Any) -> BreakerState:
    for _ in range(breaker.MINIMUM_FAILURES):
        breaker.check(view).record(ProviderUnavailable("answered 503"))
    return BreakerState.objects.get()


def alerts() -> list[tuple[int | None, bool]]:
    rows = Alert.objects.filter(kind="circuit_open").order_by("pk")
    return [(each.tenant_id, each.resolved_at is not None) for each in rows]


def a_circuit(key: str, **fields: Any) -> None:
    BreakerState.objects.create(key=key, provider="x", host="h", window_started_at=now(), **fields)


def left() -> set[str]:
    return set(BreakerState.objects.values_list("key", flat=True))


def test_the_circuit_of_a_removed_account_goes_with_its_alert(tenant: Tenant, config: Config, clock: MovableClock) -> None:
    row = opened(view_of(config.pk, own="https://crm.school.example", tenant_id=tenant.pk))
    kept = {row.key, "x|h", "x|h|", "x|h|7x", "x|h|7|7", f"x|h|{'9' * 30}"}
    for key in kept - {row.key}:
        a_circuit(key)
    a_circuit("x|h|999999", forced="open")
    assert retention.purge()["circuits"] == 1
    assert left() == kept
    assert alerts() == [(tenant.pk, False)]
    assert services.delete_config(config=config)
    assert retention.purge()["circuits"] == 1
    assert left() == kept - {row.key}
    assert alerts() == [(tenant.pk, True)]


def test_a_circuit_that_nobody_uses_goes_unless_a_person_holds_it(clock: MovableClock) -> None:
    held = {"forced": "open", "forced_until": None}
    over = {"forced": "open", "forced_until": clock()}
    circuits: dict[str, dict[str, Any]] = {"idle": {}, "open": {"state": "open"}, "held": held, "over": over, "young": {}}
    for key, fields in circuits.items():
        a_circuit(key, **fields)
    then = clock() - breaker.UNUSED
    BreakerState.objects.exclude(key="young").update(updated=then - timedelta(seconds=1))
    BreakerState.objects.filter(key="young").update(updated=then)
    assert retention.purge()["circuits"] == 3
    assert left() == {"held", "young"}


def test_a_call_makes_a_circuit_anew_that_went(clock: MovableClock) -> None:
    view = view_of()
    row = opened(view)
    BreakerState.objects.update(updated=clock() - breaker.UNUSED - timedelta(seconds=1))
    assert retention.purge()["circuits"] == 1
    assert breaker.check(view).probe is None
    assert left() == {row.key}
