"""What people see of a circuit and do to it: alerts, holding, letting go, closing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from integrations.contracts.adapter import ConfigView
from integrations.contracts.errors import CircuitOpen, InvalidRequest, ProviderUnavailable
from integrations.models import Alert, AuditEntry, BreakerState, Config, ProviderGrant, Tenant
from integrations.runtime import breaker
from integrations.runtime.breaker import telling
from integrations.tenancy.audit import Actor, acting
from tests.factories import MovableClock
from tests.runtime.breaking import SURELY, break_circuit, fail, make, refused, view_of
from tests.runtime.conftest import config_for
from tests.runtime.service import SLUG, Service
from tests.runtime.support import SECRET

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("standing_clock")]
AWAY = ProviderUnavailable("answered 503")


def opened(view: ConfigView) -> BreakerState:
    for _ in range(breaker.MINIMUM_FAILURES):
        breaker.check(view).record(AWAY)
    return BreakerState.objects.get()


def alerts() -> list[tuple[int | None, str, int, bool]]:
    rows = Alert.objects.filter(kind="circuit_open").order_by("pk")
    return [(each.tenant_id, each.level, each.count, each.resolved_at is not None) for each in rows]


def audited() -> list[tuple[int, str, str]]:
    return list(AuditEntry.unscoped.order_by("tenant_id", "pk").values_list("tenant_id", "actor", "action"))


# --- alerts


def test_a_shared_circuit_tells_the_operator_once_and_that_it_is_over(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    fail(tenant, service, breaker.MINIMUM_FAILURES - 1)
    assert alerts() == []
    fail(tenant, service)
    assert alerts() == [(None, "critical", 1, False)]
    for _ in range(3):
        clock.advance(refused(tenant))
        fail(tenant, service)
    assert alerts() == [(None, "critical", 4, False)]
    text = Alert.objects.get().message
    assert "4 times in a row" in text
    assert text.endswith("ProviderUnavailable: answered 503")
    clock.advance(refused(tenant))
    assert make(tenant) == "v"
    assert alerts() == [(None, "critical", 4, True)]


def test_the_circuit_of_a_tenants_own_host_tells_the_tenant(tenant: Tenant) -> None:
    opened(view_of(7, own="https://moodle.school.example", tenant_id=tenant.pk))
    assert alerts() == [(tenant.pk, "warning", 1, False)]


def test_one_that_flaps_is_one_story(tenant: Tenant, config: Config, service: Service, clock: MovableClock) -> None:
    for _ in range(3):
        break_circuit(tenant, service)
        clock.advance(SURELY)
        assert make(tenant) == "v"
    assert alerts() == [(None, "critical", 3, True)]
    clock.advance(telling.CALM.total_seconds())
    break_circuit(tenant, service)
    assert alerts() == [(None, "critical", 3, True), (None, "critical", 1, False)]


def test_the_last_error_shows_no_secret(tenant: Tenant, config: Config, service: Service) -> None:
    service.will_answer(200, SECRET.encode(), times=breaker.MINIMUM_FAILURES)
    for _ in range(breaker.MINIMUM_FAILURES):
        with pytest.raises(ProviderUnavailable):
            make(tenant)
    row = BreakerState.objects.get()
    assert row.last_error
    assert "geheim" not in row.last_error + Alert.objects.get().message


# --- by hand


def test_held_open_nobody_calls_and_there_is_no_probe(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    fail(tenant, service)
    key = BreakerState.objects.get().key
    breaker.hold(key=key, state="open", until=clock() + timedelta(hours=2))
    assert refused(tenant) == 300.0, "they look again from time to time: somebody may let go"
    clock.advance(hours=1, minutes=58)
    assert refused(tenant) == 120.0
    assert len(service.received) == 1
    clock.advance(120)
    assert make(tenant) == "v"


def test_held_closed_everybody_calls_whatever_comes_of_it(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    fail(tenant, service)
    key = BreakerState.objects.get().key
    breaker.hold(key=key, state="closed", until=clock() + timedelta(minutes=1))
    fail(tenant, service, 20)
    row = BreakerState.objects.get()
    assert (row.state, row.failures, alerts()) == ("closed", 21, [])
    clock.advance(61)
    fail(tenant, service, breaker.MINIMUM_FAILURES)
    refused(tenant)
    row = BreakerState.objects.get()
    assert (row.state, row.forced, row.forced_by, row.forced_until) == ("open", "", "", None)


def test_an_open_one_held_closed_closes_with_the_first_success(
    tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    break_circuit(tenant, service)
    breaker.hold(key=BreakerState.objects.get().key, state="closed", until=None)
    fail(tenant, service)
    assert BreakerState.objects.get().state == "open"
    clock.advance(1)
    assert make(tenant) == "v"
    assert BreakerState.objects.get().state == "closed"
    assert alerts() == [(None, "critical", 1, True)]


@pytest.mark.parametrize("state", ["open", "closed"])
def test_let_go_it_stands_as_it_would_without_the_hand(state: str, clock: MovableClock) -> None:
    view = view_of()
    row = opened(view)
    breaker.hold(key=row.key, state=state, until=None)
    breaker.let_go(key=row.key)
    with pytest.raises(CircuitOpen, match="failed too often"):
        breaker.check(view)
    clock.advance(SURELY)
    assert breaker.check(view).probe is not None


def test_closed_by_hand_it_forgets(clock: MovableClock) -> None:
    view = view_of()
    row = opened(view)
    breaker.reset(key=row.key)
    assert breaker.check(view).probe is None
    row.refresh_from_db()
    assert (row.state, row.failures, row.openings, row.retry_at, row.opened_at) == ("closed", 0, 0, None, None)
    assert alerts() == [(None, "critical", 1, True)]
    breaker.check(view).record(AWAY)
    assert BreakerState.objects.get().state == "closed"


@pytest.mark.parametrize(
    ("given", "attr"),
    [({"state": "ajar", "until": None}, "state"), ({"state": "open", "until": timedelta(0)}, "until")],
)
def test_what_makes_no_sense_changes_nothing(given: dict[str, Any], attr: str, clock: MovableClock) -> None:
    row = opened(view_of())
    if given["until"] is not None:
        given = {**given, "until": clock() + given["until"]}
    with pytest.raises(InvalidRequest) as caught:
        breaker.hold(key=row.key, **given)
    assert caught.value.attr == attr
    row.refresh_from_db()
    assert (row.forced, audited()) == ("", [])


def test_who_did_it_stands_with_each_tenant_that_it_concerns(
    tenant: Tenant, other_tenant: Tenant, config: Config, service: Service, clock: MovableClock
) -> None:
    fail(tenant, service)
    key = BreakerState.objects.get().key
    with acting(Actor("olive", "203.0.113.9")):
        breaker.hold(key=key, state="open", until=clock() + timedelta(hours=1))
    assert audited() == [(tenant.pk, "olive", "circuit.held_open")]
    entry = AuditEntry.unscoped.get()
    assert entry.changes["forced"] == ["", "open"]
    assert entry.changes["forced_until"] == [None, "2026-11-20T10:00:00+00:00"]
    assert (entry.ip, entry.object_type, entry.object_name) == ("203.0.113.9", "circuit", key)
    assert BreakerState.objects.get().forced_by == "olive"

    ProviderGrant.unscoped.create(tenant=other_tenant, provider_id=SLUG)
    breaker.let_go(key=key)
    breaker.reset(key=key)
    rest = [(who, what) for who, _actor, what in audited()[0:]]
    assert rest == [
        (tenant.pk, "circuit.held_open"),
        (tenant.pk, "circuit.let_go"),
        (tenant.pk, "circuit.reset"),
        (other_tenant.pk, "circuit.let_go"),
        (other_tenant.pk, "circuit.reset"),
    ]


def test_of_a_tenants_own_host_nobody_else_is_told(tenant: Tenant, other_tenant: Tenant, config: Config) -> None:
    config_for(other_tenant)
    opened(view_of(config.pk, own="https://crm.school.example", tenant_id=tenant.pk))
    breaker.reset(key=BreakerState.objects.get().key)
    assert [tenant_id for tenant_id, _actor, _action in audited()] == [tenant.pk]


def test_a_hand_without_its_audit_does_nothing(
    tenant: Tenant, config: Config, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(tenant, service)
    row = BreakerState.objects.get()

    def broken(**_given: Any) -> None:
        raise DatabaseError("no space")

    monkeypatch.setattr("integrations.tenancy.audit.record", broken)
    with pytest.raises(DatabaseError):
        breaker.hold(key=row.key, state="open", until=None)
    row.refresh_from_db()
    assert row.forced == ""


def test_how_circuits_stand_is_counted(clock: MovableClock) -> None:
    now = clock()
    stands: list[dict[str, Any]] = [
        {},
        {"state": "open"},
        {"state": "open", "forced": "closed"},
        {"state": "closed", "forced": "open", "forced_until": now + timedelta(seconds=1)},
        {"state": "half_open", "forced": "open", "forced_until": now},
    ]
    for number, fields in enumerate(stands):
        BreakerState.objects.create(key=f"x|{number}", provider="x", host="h", window_started_at=now, **fields)
    assert breaker.by_provider() == {
        ("x", "closed"): 1,
        ("x", "open"): 1,
        ("x", "held_closed"): 1,
        ("x", "held_open"): 1,
        ("x", "half_open"): 1,
    }
