"""A purge ends in time, lets everybody have a turn, and is followed by the next one while anything is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_q.models import Schedule

from integrations.models import CallLog, QueueItem, Tenant
from integrations.runtime import retention, schedules
from integrations.runtime.retention import Span, in_turns, tenants_in_turns
from payments.models import Operation, OperationKind, Payment, Status
from tests.factories import MovableClock, make_item, make_log, make_payment, make_setup
from webhooks.inbound import retention as receipts
from webhooks.outbound import retention as events
from webhooks.outbound.models import Event

pytestmark = pytest.mark.django_db


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two, and no time for a second one."""
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "LONGEST", 0.0)


@pytest.fixture
def scheduled(db: None) -> None:
    """Every schedule there is, due in half an hour."""
    schedules.ensure()
    Schedule.objects.update(next_run=timezone.now() + timedelta(minutes=30))


def due() -> set[str]:
    return set(Schedule.objects.filter(next_run__lte=timezone.now()).values_list("func", flat=True))


def old_log(tenant: Tenant, clock: MovableClock) -> None:
    CallLog.unscoped.filter(pk=make_log(tenant).pk).update(created=clock.moment - timedelta(days=100))


def old_item(tenant: Tenant, clock: MovableClock, **fields: Any) -> int:
    return make_item(tenant, state="completed", finished_at=clock.moment - timedelta(days=100), **fields).pk


def test_no_kind_of_rows_and_no_tenant_keeps_another_from_its_turn(
    tenant: Tenant, other_tenant: Tenant, clock: MovableClock, no_time: None
) -> None:
    for _ in range(9):
        old_log(tenant, clock)
        old_item(other_tenant, clock)
    reached: list[tuple[int, int]] = []
    for _ in range(20):
        counts = retention.purge()
        reached.append((counts["call_logs"], counts["queue_items"]))
        clock.advance(minutes=1)
        if not CallLog.unscoped.exists() and not QueueItem.unscoped.exists():
            break
    assert not CallLog.unscoped.exists()
    assert not QueueItem.unscoped.exists()
    assert any(logs for logs, _ in reached[:3])
    assert any(items for _, items in reached[:3]), "not only once the log is done"


def test_who_has_more_gets_the_time_that_others_do_not_need() -> None:
    todo = {"much": 5, "little": 1, "nothing": 0}
    order: list[str] = []

    def work(name: str, part: Span) -> int:
        order.append(name)
        if todo[name] > 1:
            part.leave_off()
        todo[name] = max(0, todo[name] - 1)
        return 1

    span = Span(60)
    assert in_turns(list(todo), work, span) == {"much": 5, "little": 1, "nothing": 1}
    assert order == ["much", "little", "nothing", "much", "much", "much", "much"]
    assert not span.unfinished


def test_of_many_tenants_nobody_waits_for_long(clock: MovableClock) -> None:
    first: list[int] = []

    def work(tenant_id: int, part: Span) -> int:
        first.append(tenant_id)
        part.leave_off()
        return 1

    for _ in range(40):
        span = Span(0)
        assert tenants_in_turns(range(10), work, span) == 1
        assert span.unfinished
        clock.advance(minutes=1)
    assert set(first[:20]) == set(range(10))
    assert tenants_in_turns([], work, Span(0)) == 0


@pytest.mark.parametrize(
    ("purge", "path"),
    [(retention.purge, "integrations.runtime.retention.purge"), (events.go_on, "webhooks.outbound.retention.go_on")],
)
def test_what_is_left_is_gone_on_with_at_once(
    tenant: Tenant, clock: MovableClock, scheduled: None, no_time: None, purge: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BATCH", 2)
    for number in range(3):
        old_log(tenant, clock)
        created = clock.moment - timedelta(days=400)
        Event.unscoped.create(tenant=tenant, type="a.b", key=str(number), payload="", created=created, spread_at=created)
    purge()
    assert due() == {path}
    Schedule.objects.update(next_run=timezone.now() + timedelta(minutes=30))
    purge()
    assert due() == set(), "nothing is left"


def test_the_daily_run_leaves_the_rest_to_the_hourly_one(
    tenant: Tenant, clock: MovableClock, scheduled: None, no_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BATCH", 1)
    for number in range(2):
        created = clock.moment - timedelta(days=400)
        Event.unscoped.create(tenant=tenant, type="a.b", key=str(number), payload="", created=created, spread_at=created)
    assert events.purge()["events"] == 1
    assert due() == set(), "else there would be one more that goes on each day"


def test_every_purge_that_goes_on_names_a_schedule_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from integrations.messaging.safety import retention as messages

    named: list[str | None] = []

    def run(_name: str, chores: dict[str, Any], *, schedule: str | None, span: Any = None) -> dict[str, int]:
        named.append(schedule)
        return dict.fromkeys(chores, 0)

    for module in (retention, messages, receipts, events):
        monkeypatch.setattr(module, "run", run)
    for purge in (retention.purge, messages.purge, receipts.purge, events.go_on):
        purge()
        assert named[-1] == f"{purge.__module__}.{purge.__name__}"
    assert set(named) <= {tick.function for tick in schedules.TICKS}


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.UNKNOWN, Status.AUTHORIZED, Status.NEEDS_REVIEW])
def test_what_was_done_for_a_payment_that_goes_on_is_kept(tenant: Tenant, clock: MovableClock, status: str) -> None:
    """The gateway is asked for the ids of all tries that there may have been."""
    going_on, done = make_payment(tenant, status=status), make_payment(tenant, provider_ref="ref-2")
    kept = old_item(tenant, clock, kind="payment.authorize", reference_type="payment", reference_id=going_on.pk)
    old_item(tenant, clock, kind="payment.authorize", reference_type="payment", reference_id=done.pk)
    old_item(tenant, clock)
    assert retention.purge()["queue_items"] == 2
    assert QueueItem.unscoped.get().pk == kept
    Payment.unscoped.update(status=Status.SUCCEEDED)
    assert retention.purge()["queue_items"] == 1


def test_so_is_what_was_done_for_a_refund_or_a_setup(tenant: Tenant, other_tenant: Tenant, clock: MovableClock) -> None:
    payment = make_payment(tenant)
    values = {"tenant": tenant, "payment": payment, "kind": OperationKind.REFUND, "amount": 1, "created": clock.moment,
              "updated": clock.moment}  # fmt: skip
    for number, status in enumerate(("unknown", "succeeded")):
        Operation.unscoped.create(
            id=f"re_{number}", idempotency_key=f"k{number}", hook_token=f"h{number}", status=status, **values
        )
    kept = {
        old_item(tenant, clock, reference_type="refund", reference_id="re_0"),
        old_item(tenant, clock, reference_type="payment", reference_id=payment.pk),
    }
    old_item(tenant, clock, reference_type="refund", reference_id="re_1")
    old_item(other_tenant, clock, reference_type="refund", reference_id="re_0")
    assert retention.purge()["queue_items"] == 2
    assert set(QueueItem.unscoped.values_list("pk", flat=True)) == kept


def test_a_setup_that_goes_on_keeps_its_work(tenant: Tenant, clock: MovableClock, config: Any) -> None:
    setup = make_setup(config)
    old_item(config.tenant, clock, reference_type="setup", reference_id=setup.pk)
    assert retention.purge()["queue_items"] == 0
    type(setup).unscoped.update(status="expired")
    assert retention.purge()["queue_items"] == 1
