"""The ticks exist once each; what is kept for a time only goes after it, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django_q.models import Schedule

from integrations.models import ApiKeyUsage, AuditEntry, CallLog, Heartbeat, IdempotencyRecord, RateBucket, Tenant
from integrations.runtime import retention, schedules
from integrations.tenancy.authentication import create_api_key
from tests.factories import MovableClock, make_log

pytestmark = pytest.mark.django_db


def test_every_tick_names_a_function_that_takes_no_argument() -> None:
    for tick in schedules.TICKS:
        module, _, name = tick.function.rpartition(".")
        assert callable(getattr(import_module(module), name)), tick.function


def test_ensure_creates_what_is_missing_and_repairs_what_is_wrong() -> None:
    Schedule.objects.all().delete()
    assert schedules.ensure() == [tick.name for tick in schedules.TICKS]
    rows = list(Schedule.objects.order_by("name").values())
    assert schedules.ensure() == []
    assert list(Schedule.objects.order_by("name").values()) == rows
    name = schedules.TICKS[0].name
    Schedule.objects.filter(name=name).update(func="old.path", minutes=7)
    Schedule.objects.create(name=name, func="old.path", schedule_type=Schedule.MINUTES, minutes=1)
    assert schedules.ensure() == []
    row = Schedule.objects.get(name=name)
    assert (row.func, row.minutes, row.repeats) == (schedules.TICKS[0].function, 1, -1)


def test_purge_keeps_what_is_young(tenant: Tenant, clock: MovableClock, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    settings.LOG_RETENTION_DAYS = 30
    now = clock.moment
    old, young = [make_log(tenant).pk for _ in range(5)], make_log(tenant).pk
    CallLog.unscoped.filter(pk__in=old).update(created=now - timedelta(days=31))
    CallLog.unscoped.filter(pk=young).update(created=now - timedelta(days=29))
    for name, age in (("old", 25), ("young", 23)):
        row = IdempotencyRecord.unscoped.create(
            tenant=tenant, key=name, route="/x", fingerprint="f", lease=None, lease_until=now, status_code=200
        )
        IdempotencyRecord.unscoped.filter(pk=row.pk).update(created=now - timedelta(hours=age))
        beaten = now - timedelta(hours=age)
        Heartbeat.objects.create(name=name, kind="shift:queue", host="one", pid=1, started_at=beaten, beat_at=beaten)
    RateBucket.objects.create(key="old", tokens=0, updated_at=now - timedelta(days=7, seconds=1))
    RateBucket.objects.create(key="young", tokens=0, updated_at=now - timedelta(days=6))
    key, _value = create_api_key(tenant=tenant, name="sis")
    for name, days in (("old", 401), ("young", 400)):
        ApiKeyUsage.unscoped.create(tenant=tenant, key=key, day=(now - timedelta(days=days)).date(), route=name, count=3)
    for name, days in (("old", 731), ("young", 729)):
        AuditEntry.unscoped.create(tenant=tenant, actor=name, action="x", created=now - timedelta(days=days))
    gone = {
        "call_logs": 5,
        "api_key_usage": 1,
        "audit_entries": 1,
        "idempotency_records": 1,
        "heartbeats": 1,
        "rate_buckets": 1,
        "rate_slots": 0,
        "circuits": 0,
        "queue_items": 0,
    }
    assert retention.purge() == gone
    assert ApiKeyUsage.unscoped.get().route == "young"
    assert AuditEntry.unscoped.get().actor == "young"
    assert RateBucket.objects.get().key == "young"
    assert list(CallLog.unscoped.values_list("pk", flat=True)) == [young]
    assert IdempotencyRecord.unscoped.get().key == "young"
    assert Heartbeat.objects.get().name == "young"
    assert set(retention.purge().values()) == {0}
