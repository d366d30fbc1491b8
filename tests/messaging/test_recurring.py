"""Recurring messages: when each is due, each moment once, and what an attachment's address may be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, time
from typing import Any

import pytest
from django.db import connection
from django_scopes import scope

from integrations.contracts.errors import InvalidRequest
from integrations.messaging.models import Message, RecurringMessage
from integrations.messaging.rules import recurring
from integrations.models import Alert, QueueItem, Tenant
from integrations.runtime.queue import retry_item
from integrations.runtime.worker import claim, run
from tests.factories import MovableClock, make_config, make_tenant

pytestmark = pytest.mark.django_db
REQUEST = {"to": ["+254711000001"], "message": "Fees are due on Friday."}


def make(tenant: Tenant, **fields: Any) -> RecurringMessage:
    values = {"name": "Fees", "channel": "sms", "request": REQUEST, "frequency": "daily", "at": time(7, 30), **fields}
    return recurring.save_recurring(recurring=RecurringMessage(tenant=tenant), values=values, actor="user bursar")


def unsaved(zone: str = "Africa/Nairobi", **fields: Any) -> RecurringMessage:
    return RecurringMessage(tenant=Tenant(name="T", time_zone=zone), **{"frequency": "daily", "at": time(7, 30), **fields})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ({}, "2026-11-20T04:29:59", "2026-11-20T04:30:00"),
        ({}, "2026-11-20T04:30:00", "2026-11-21T04:30:00"),
        ({"frequency": "weekly", "weekday": 0}, "2026-11-20T09:00:00", "2026-11-23T04:30:00"),
        ({"frequency": "weekly", "weekday": 4}, "2026-11-20T09:00:00", "2026-11-27T04:30:00"),
        ({"frequency": "monthly", "day": 15}, "2026-11-20T09:00:00", "2026-12-15T04:30:00"),
        ({"frequency": "monthly", "day": 31}, "2026-01-31T09:00:00", "2026-02-28T04:30:00"),
        ({"frequency": "monthly", "day": 31}, "2028-02-01T09:00:00", "2028-02-29T04:30:00"),
        ({"frequency": "monthly", "day": 31}, "2026-04-29T22:00:00", "2026-04-30T04:30:00"),
        # In UTC it is still yesterday there, or tomorrow already.
        ({"at": time(1, 0)}, "2026-11-20T21:30:00", "2026-11-20T22:00:00"),
        ({"zone": "America/Los_Angeles", "at": time(20, 0)}, "2026-11-20T03:00:00", "2026-11-20T04:00:00"),
        # Summer time begins: the wall clock counts, and 02:30 is not there on that day.
        ({"zone": "Europe/Berlin"}, "2026-03-28T08:00:00", "2026-03-29T05:30:00"),
        ({"zone": "Europe/Berlin", "at": time(2, 30)}, "2026-03-28T08:00:00", "2026-03-29T01:30:00"),
        ({"zone": "Europe/Berlin", "at": time(2, 30)}, "2026-03-29T01:30:00", "2026-03-30T00:30:00"),
        # It ends: 02:30 is there twice, and the message is not.
        ({"zone": "Europe/Berlin", "at": time(2, 30)}, "2026-10-24T08:00:00", "2026-10-25T00:30:00"),
        ({"zone": "Europe/Berlin", "at": time(2, 30)}, "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
    ],
)
def test_the_next_moment_is_a_time_on_the_wall_clock(fields: dict[str, Any], after: str, expected: str) -> None:
    assert recurring.following(unsaved(**fields), at(after)) == at(expected)


@pytest.fixture
def school(tenant: Tenant, clock: MovableClock) -> Iterator[Tenant]:
    """The clock stands at noon (Nairobi) on Friday, 2026-11-20."""
    make_config(tenant, "africastalking")
    with scope(tenant=tenant):
        yield tenant


def items() -> list[QueueItem]:
    return list(QueueItem.unscoped.filter(kind=recurring.KIND).order_by("pk"))


def test_a_new_one_is_due_at_its_next_moment(school: Tenant) -> None:
    row = make(school)
    assert (row.next_at, row.created_by) == (at("2026-11-21T04:30:00"), "user bursar")
    assert recurring.enqueue_due() == 0


def test_each_moment_is_queued_once(school: Tenant, clock: MovableClock) -> None:
    row = make(school)
    clock.moment = at("2026-11-21T04:30:10")
    assert [recurring.enqueue_due(), recurring.enqueue_due()] == [1, 0]
    (item,) = items()
    assert (item.payload["recurring"], item.key) == (row.pk, f"recurring:{row.pk}:20261121T043000Z")
    row.refresh_from_db()
    assert row.next_at == at("2026-11-22T04:30:00")
    clock.moment = at("2026-11-22T04:30:00")
    assert recurring.enqueue_due() == 1


def test_of_missed_moments_the_latest_is_sent(school: Tenant, clock: MovableClock) -> None:
    row = make(school)
    clock.moment = at("2026-11-28T12:00:00")
    assert recurring.enqueue_due() == 1
    assert items()[0].payload["moment"] == "2026-11-28T04:30:00+00:00"
    row.refresh_from_db()
    assert row.next_at == at("2026-11-29T04:30:00")
    assert items()[0].not_after == row.next_at


@pytest.mark.parametrize(
    ("ends_at", "moments"),
    [("2026-11-21T04:29:59", 0), ("2026-11-21T04:30:00", 1), ("2026-11-22T10:00:00", 2)],
)
def test_it_ends(school: Tenant, clock: MovableClock, ends_at: str, moments: int) -> None:
    row = make(school, ends_at=at(ends_at))
    for day in (21, 22, 23, 24):
        clock.moment = at(f"2026-11-{day}T05:00:00")
        recurring.enqueue_due()
    assert len(items()) == moments
    row.refresh_from_db()
    assert row.next_at is None


def test_one_that_is_off_or_whose_tenant_is_off_is_not_due(school: Tenant, clock: MovableClock) -> None:
    off = make(school, is_active=False)
    assert off.next_at is None
    make(school)
    school.is_active = False
    school.save()
    clock.advance(days=3)
    assert recurring.enqueue_due() == 0
    school.is_active = True
    school.save()
    assert recurring.enqueue_due() == 1


def test_one_that_is_switched_on_again_sends_nothing_of_the_past(school: Tenant, clock: MovableClock) -> None:
    row = make(school, is_active=False)
    clock.advance(days=30)
    recurring.save_recurring(recurring=row, values={"is_active": True})
    assert recurring.enqueue_due() == 0
    assert row.next_at == at("2026-12-21T04:30:00")


@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"frequency": "weekly"}, "weekday"),
        ({"frequency": "monthly"}, "day"),
        ({"frequency": "hourly"}, "frequency"),
        ({"weekday": 7}, "weekday"),
        ({"day": 32}, "day"),
        ({"channel": "fax"}, "channel"),
        ({"request": []}, "request"),
        ({"request": {"message": "x"}}, "request"),
        ({"request": {**REQUEST, "surprise": 1}}, "request"),
        ({"request": {**REQUEST, "send_at": "2026-12-01T00:00:00Z"}}, "request"),
        ({"request": {**REQUEST, "message": "a\0b"}}, "request"),
        ({"request": {**REQUEST, "message": "x" * 300_000}}, "request"),
        ({"attachment_url": "https://reports.example/fees.pdf"}, "attachment_url"),
        ({"attachment_url": "http://169.254.169.254/latest/meta-data/"}, "attachment_url"),
        ({"attachment_url": "file:///etc/passwd"}, "attachment_url"),
    ],
)
def test_a_bad_one_is_refused_by_field(school: Tenant, fields: dict[str, Any], attr: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        make(school, **fields)
    assert refused.value.attr == attr
    assert RecurringMessage.objects.count() == 0


def test_what_the_frequency_does_not_use_is_dropped(school: Tenant) -> None:
    row = make(school, frequency="weekly", weekday=1, day=3)
    assert (row.weekday, row.day) == (1, None)


# --- sending -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_school(transactional_db: None, tenant: Tenant, clock: MovableClock) -> Tenant:
    """Its SMS account's simulator is not there: messages are accepted, and stay queued."""
    make_config(tenant, "africastalking")
    return tenant


@pytest.mark.django_db(transaction=True)
def test_a_moment_is_sent_once_and_a_retry_sends_it_no_second_time(quiet_school: Tenant, clock: MovableClock) -> None:
    row = make(quiet_school)
    clock.moment = at("2026-11-21T04:30:10")
    recurring.enqueue_due()
    run_recurring()
    (message,) = Message.unscoped.all()
    assert (message.body, message.created_by) == (REQUEST["message"], "recurring Fees")
    assert message.key == f"recurring:{row.pk}:20261121T043000Z"
    (item,) = items()
    QueueItem.unscoped.filter(pk=item.pk).update(state="failed")
    with scope(tenant=quiet_school):
        retry_item(item.pk, tenant_id=quiet_school.pk, by="user bursar")
    run_recurring()
    assert Message.unscoped.count() == 1
    row.refresh_from_db()
    assert (row.last_at, row.last_problem) == (clock.moment, "")


@pytest.mark.django_db(transaction=True)
def test_two_ticks_at_once_queue_a_moment_once(quiet_school: Tenant, clock: MovableClock) -> None:
    for number in range(5):
        make(quiet_school, name=f"Fees {number}")
    clock.moment = at("2026-11-21T04:30:10")
    start, counted = threading.Barrier(3), []

    def tick() -> None:
        start.wait(10)
        counted.append(recurring.enqueue_due())
        connection.close()

    threads = [threading.Thread(target=tick) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(counted) == 5
    assert len({item.key for item in items()}) == len(items()) == 5


@pytest.mark.django_db(transaction=True)
def test_sent_by_hand_it_is_sent_beside_its_moments(quiet_school: Tenant) -> None:
    row = make(quiet_school, is_active=False)
    first = recurring.send_now(recurring=row)
    assert recurring.send_now(recurring=row).pk == first.pk, "impatience is not a second message"
    run_recurring()
    recurring.send_now(recurring=row)
    run_recurring()
    assert Message.unscoped.count() == 2
    row.refresh_from_db()
    assert row.next_at is None


@pytest.mark.django_db(transaction=True)
def test_switched_off_meanwhile_it_is_not_sent(quiet_school: Tenant, clock: MovableClock) -> None:
    row = make(quiet_school)
    clock.moment = at("2026-11-21T04:30:10")
    recurring.enqueue_due()
    recurring.save_recurring(recurring=row, values={"is_active": False})
    run_recurring()
    assert Message.unscoped.count() == 0
    assert items()[0].state == "completed"


@pytest.mark.django_db(transaction=True)
def test_what_can_not_be_sent_is_an_alert_until_it_can(registered: None, transactional_db: None, clock: MovableClock) -> None:
    tenant = make_tenant("bare")
    row = make(tenant)
    recurring.send_now(recurring=row)
    run_recurring()
    row.refresh_from_db()
    assert row.last_problem
    alert = Alert.objects.get(tenant=tenant, kind=recurring.ALERT)
    assert "“Fees” was not sent" in alert.message
    make_config(tenant, "africastalking")
    recurring.send_now(recurring=row)
    run_recurring()
    row.refresh_from_db()
    alert.refresh_from_db()
    assert (row.last_problem, alert.resolved_at is not None, Message.unscoped.count()) == ("", True, 1)


def run_recurring() -> None:
    for item in claim(20, kinds=[recurring.KIND]):
        run(item)
