"""The failure ladder: warned at 50, 70 and 90 per cent, switched off by time and count together, a fresh start afterwards."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Barrier, Thread
from threading import Event as Flag
from typing import Any

import pytest
from django.db import connection, transaction
from django_scopes import scope

from integrations.models import Alert, Tenant
from tests.factories import START, MovableClock
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish
from tests.webhooks.outbound.test_breaker import CLAIMED, outcome
from webhooks.outbound.delivery import notices, settling
from webhooks.outbound.delivery.health import Verdict, learn
from webhooks.outbound.delivery.sender import Claimed, ErrorClass, Outcome
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, EndpointHealth

pytestmark = pytest.mark.django_db(transaction=True)

Told = list[tuple[Any, ...]]


def failed(at: datetime = START, **fields: Any) -> Outcome:
    return outcome(fields.pop("status", 500), at=at, **fields)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the tenant is told, in order."""
    seen: Told = []
    for name in ("failing", "recovered", "disabled", "died"):
        monkeypatch.setattr(notices, name, lambda endpoint, *args, name=name: seen.append((name, *args)))
    return seen


# --- The rules alone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "hours", "warn"),
    [
        (10, 60, 50),
        (9, 120, 0),  # too few
        (19, 59, 0),  # too soon
        (14, 84, 70),
        (18, 108, 90),
        (19, 500, 90),
        (200, 119, 90),
        (200, 84, 70),
    ],
)
def test_time_and_count_must_both_have_passed(failures: int, hours: int, warn: int) -> None:
    health = EndpointHealth(failures=failures - 1, failing_since=START)
    assert learn(health, [failed(START + timedelta(hours=hours))]) == Verdict(warn=warn)
    assert (health.failures, health.warned, health.failing_since) == (failures, warn, START)


def test_five_days_and_twenty_failures_switch_it_off() -> None:
    health = EndpointHealth(failures=19, failing_since=START, warned=90)
    verdict = learn(health, [failed(START + timedelta(days=5))])
    assert verdict == Verdict(disable="it failed 20 times in a row since 2026-11-20 09:00 UTC")


@pytest.mark.parametrize(("failures", "after"), [(18, timedelta(days=9)), (400, timedelta(days=5, seconds=-1))])
def test_one_of_the_two_does_not(failures: int, after: timedelta) -> None:
    health = EndpointHealth(failures=failures, failing_since=START, warned=90)
    assert learn(health, [failed(START + after)]) == Verdict()


def test_each_rung_is_told_once_and_only_the_highest() -> None:
    health = EndpointHealth()
    told = [learn(health, [failed(START + timedelta(hours=6 * number))]).warn for number in range(20)]
    assert [(number, warn) for number, warn in enumerate(told, 1) if warn] == [(11, 50), (15, 70), (19, 90)]
    health = EndpointHealth(failures=17, failing_since=START)
    batch = [failed(START + timedelta(hours=hours)) for hours in (60, 84, 108)]
    assert learn(health, batch) == Verdict(warn=90)


def test_a_success_sets_it_back_and_tells_only_whom_was_warned() -> None:
    health = EndpointHealth(failures=12, failing_since=START, warned=50, openings=3)
    done = outcome(200, at=START + timedelta(days=3))
    assert learn(health, [done]) == Verdict(recovered=True)
    assert (health.failures, health.failing_since, health.warned, health.openings) == (0, None, 0, 0)
    assert health.last_success_at == START + timedelta(days=3)
    assert learn(health, [done]) == Verdict()


def test_a_batch_is_taken_in_the_order_in_which_its_attempts_ended() -> None:
    health = EndpointHealth(failures=30, failing_since=START, warned=90)
    late, early = failed(START + timedelta(days=6)), outcome(200, at=START + timedelta(days=5, hours=1))
    assert learn(health, [late, early]) == Verdict(recovered=True)
    assert (health.failures, health.failing_since) == (1, START + timedelta(days=6))


@pytest.mark.parametrize("kind", [ErrorClass.INTERRUPTED, ErrorClass.LOST, ErrorClass.SECRET, ErrorClass.ERASED])
def test_our_own_troubles_do_not_count(kind: ErrorClass) -> None:
    health = EndpointHealth(failures=5, failing_since=START)
    learn(health, [outcome(None, kind)])
    assert (health.failures, health.last_failure_at) == (5, None)


# --- Through the database -------------------------------------------------------------------------------------------------


def lease(endpoint: Endpoint, key: str, event_type: str = "payment.completed") -> Claimed:
    """Publish an event and lease its delivery by hand: breakers and schedules are not what these tests are about."""
    publish(endpoint.tenant, key, type=event_type)
    row = Delivery.unscoped.get(event__key=key, endpoint=endpoint)
    until = row.due_at + timedelta(hours=1)
    Delivery.unscoped.filter(pk=row.pk).update(
        attempts=1, fence=1, lease="00000000-0000-4000-8000-000000000000", lease_until=until
    )
    fields = {"id": row.pk, "tenant_id": row.tenant_id, "endpoint_id": endpoint.pk, "event_type": event_type}
    return Claimed(**{**{name: getattr(CLAIMED, name) for name in Claimed.__slots__}, **fields})


def settle(*claimed: Claimed, status: int, at: datetime) -> None:
    failure = ErrorClass.GONE if status == 410 else ErrorClass.HTTP_STATUS
    kind = None if status < 300 else failure
    settling.settle(
        [
            Outcome(claimed=one, started_at=at, finished_at=at, duration_ms=1, status_code=status, error_class=kind, error="no")
            for one in claimed
        ]
    )


def test_the_whole_way_to_being_switched_off(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, told: Told
) -> None:
    endpoint, _ = make_endpoint(school, retry_delays=[86400] * 10)
    for number in range(21):
        settle(lease(endpoint, f"k{number}"), status=500, at=clock())
        clock.advance(hours=6)
    assert told == [
        ("failing", 50),
        ("failing", 70),
        ("failing", 90),
        ("disabled", "it failed 21 times in a row since 2026-11-20 09:00 UTC"),
    ]
    endpoint.refresh_from_db()
    assert (endpoint.is_active, endpoint.disabled_reason) == (
        False,
        "it failed 21 times in a row since 2026-11-20 09:00 UTC",
    )
    assert set(Delivery.unscoped.values_list("state", flat=True)) == {DeliveryState.HELD}

    with scope(tenant=school):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": True})
    settle(lease(endpoint, "after"), status=500, at=clock())
    health = EndpointHealth.unscoped.get(endpoint=endpoint)
    assert (health.failures, health.failing_since, health.warned) == (1, clock(), 0)
    assert Endpoint.unscoped.get(pk=endpoint.pk).is_active is True
    assert len(told) == 4


def test_recovery_is_told_after_a_warning(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, told: Told) -> None:
    endpoint, _ = make_endpoint(school)
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(failures=9, failing_since=clock() - timedelta(days=4))
    settle(lease(endpoint, "k1"), status=500, at=clock())
    settle(lease(endpoint, "k2"), status=200, at=clock())
    settle(lease(endpoint, "k3"), status=200, at=clock())
    assert told == [("failing", 50), ("recovered",)]


def test_a_test_event_is_no_evidence(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, told: Told) -> None:
    endpoint, _ = make_endpoint(school)
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(failures=30, failing_since=clock() - timedelta(days=6), warned=90)
    settle(lease(endpoint, "k1", event_type="webhook.test"), status=200, at=clock())
    settle(lease(endpoint, "k2", event_type="webhook.test"), status=404, at=clock())
    health = EndpointHealth.unscoped.get(endpoint=endpoint)
    assert (health.failures, health.last_success_at, health.warned, told) == (30, None, 90, [])


def test_two_batches_of_one_endpoint_at_once_count_each_failure(
    school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    """Opposite orders of rows and endpoints: who waits for whom must not matter."""
    one, _ = make_endpoint(school, "/one")
    two, _ = make_endpoint(studio, "/two")
    claimed = [lease(endpoint, f"{endpoint.pk}{number}") for number in range(20) for endpoint in (one, two)]
    barrier = Barrier(2)

    def worker(mine: list[Claimed]) -> None:
        try:
            barrier.wait(10)
            for start in range(0, len(mine), 4):
                settle(*mine[start : start + 4], status=500, at=clock())
        finally:
            connection.close()

    threads = [Thread(target=worker, args=(each,)) for each in (claimed[:20], claimed[20:][::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert list(EndpointHealth.unscoped.values_list("failures", flat=True)) == [20, 20]
    assert Delivery.unscoped.filter(lease__isnull=False).count() == 0


def test_alerts_follow(school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    endpoint, _ = make_endpoint(school)
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(failures=12, failing_since=clock() - timedelta(days=4))
    receiver.answers["/hook"] = [Answer(500), Answer(200)]
    publish(school)
    deliver()
    alert = Alert.objects.get(kind=notices.FAILING_ALERT)
    assert (alert.subject, alert.resolved_at) == (endpoint.pk, None)
    clock.advance(6)
    deliver()
    assert Alert.objects.get(kind=notices.FAILING_ALERT).resolved_at is not None
    assert EndpointHealth.unscoped.get(endpoint=endpoint).warned == 0


@pytest.mark.parametrize(("troubles", "active"), [(1, False), (2, True)])
def test_trouble_while_switching_off_undoes_nothing_and_is_tried_once_more(
    school: Tenant,
    make_endpoint: MakeEndpoint,
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
    troubles: int,
    active: bool,
) -> None:
    from django.db import OperationalError

    endpoint, _ = make_endpoint(school)
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(failures=30, failing_since=clock() - timedelta(days=6), warned=90)
    real, left = services.disable_endpoint, [OperationalError("deadlock detected")] * troubles

    def troubled(**fields: Any) -> bool:
        if left:
            raise left.pop()
        return real(**fields)

    monkeypatch.setattr(services, "disable_endpoint", troubled)
    settle(lease(endpoint, "k1"), status=500, at=clock())
    assert Endpoint.unscoped.get(pk=endpoint.pk).is_active is active
    assert Delivery.unscoped.get(event__key="k1").lease is None  # settled all the same
    if active:
        settle(lease(endpoint, "k2"), status=500, at=clock())
    assert Endpoint.unscoped.get(pk=endpoint.pk).is_active is False  # the next failure does it


def test_an_endpoint_that_somebody_holds_is_switched_off_by_the_next_failure(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school)
    first, second = lease(endpoint, "k1"), lease(endpoint, "k2")
    ready, done = Flag(), Flag()

    def holder() -> None:
        try:
            with transaction.atomic():
                # As a settling of the same endpoint elsewhere: it is in nobody's way but of who changes the row.
                Endpoint.unscoped.raw("SELECT * FROM webhooks_outbound_endpoint FOR SHARE")[0]
                ready.set()
                done.wait(20)
        finally:
            connection.close()

    thread = Thread(target=holder)
    thread.start()
    try:
        assert ready.wait(10)
        settle(first, status=410, at=clock())
    finally:
        done.set()
        thread.join(20)
    assert Delivery.unscoped.get(pk=first.id).state == DeliveryState.FAILED
    assert Endpoint.unscoped.get().is_active
    settle(second, status=410, at=clock())
    assert not Endpoint.unscoped.get().is_active
