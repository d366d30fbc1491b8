"""The breaker of an endpoint: when it opens, what it lets through, and that waiting costs nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.models import Tenant
from tests.factories import START, MovableClock
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish
from webhooks.outbound.delivery import claims, settling
from webhooks.outbound.delivery.health import learn
from webhooks.outbound.delivery.sender import Claimed, ErrorClass, Outcome
from webhooks.outbound.models import Breaker, Delivery, DeliveryState, EndpointHealth

pytestmark = pytest.mark.django_db(transaction=True)

CLAIMED = Claimed(
    id="dlv_1",
    tenant_id=1,
    endpoint_id="we_1",
    message_id="evt_1",
    event_type="payment.completed",
    number=1,
    fence=1,
    url="",
    body="",
    secrets=(),
    headers=(),
)


def outcome(status: int | None = None, error_class: ErrorClass | None = None, at: Any = START) -> Outcome:
    if error_class is None and status is not None and status >= 300:
        error_class = ErrorClass.HTTP_STATUS
    return Outcome(
        claimed=CLAIMED, started_at=at, finished_at=at, duration_ms=1, status_code=status, error_class=error_class, error="e"
    )


UNWELL = [
    outcome(500), outcome(599), outcome(429), outcome(None, ErrorClass.TIMEOUT), outcome(None, ErrorClass.CONNECT),
    outcome(None, ErrorClass.DNS), outcome(None, ErrorClass.TLS), outcome(None, ErrorClass.BROKEN), outcome(503), outcome(502),
]  # fmt: skip


def test_ten_in_a_row_that_speak_of_its_state_open_it() -> None:
    health = EndpointHealth()
    for number, each in enumerate(UNWELL, 1):
        learn(health, [each])
        assert health.breaker == (Breaker.OPEN if number == 10 else Breaker.CLOSED)
    assert (health.breaker_until, health.openings, health.failures) == (START + timedelta(seconds=30), 1, 10)


@pytest.mark.parametrize("alive", [outcome(200), outcome(404), outcome(308, ErrorClass.REDIRECT), outcome(408), outcome(401)])
def test_an_answer_ends_the_row(alive: Outcome) -> None:
    health = EndpointHealth()
    learn(health, UNWELL[:9])
    learn(health, [alive])
    learn(health, UNWELL[:9])
    assert health.breaker == Breaker.CLOSED
    learn(health, UNWELL[:1])
    assert health.breaker == Breaker.OPEN


def test_refusals_alone_never_open_it() -> None:
    health = EndpointHealth()
    learn(health, [outcome(404)] * 40)
    assert (health.breaker, health.failures) == (Breaker.CLOSED, 40)


@pytest.mark.parametrize("kind", [ErrorClass.INTERRUPTED, ErrorClass.LOST, ErrorClass.SECRET, ErrorClass.ERASED])
def test_what_our_side_did_is_no_evidence(kind: ErrorClass) -> None:
    health = EndpointHealth()
    learn(health, UNWELL[:9])
    learn(health, [outcome(None, kind)] * 5)
    assert (health.breaker, health.failures) == (Breaker.CLOSED, 9)
    learn(health, UNWELL[:1])
    assert health.breaker == Breaker.OPEN


def test_the_wait_doubles_up_to_a_quarter_of_an_hour() -> None:
    health = EndpointHealth(breaker=Breaker.OPEN, openings=1)
    waits = []
    for _ in range(8):
        health.breaker = Breaker.HALF_OPEN
        learn(health, [outcome(500)])
        assert health.breaker_until is not None
        waits.append((health.breaker_until - START).total_seconds())
    assert waits == [60, 120, 240, 480, 900, 900, 900, 900]


def test_stragglers_do_not_lengthen_it_and_an_answer_closes_it() -> None:
    health = EndpointHealth()
    learn(health, UNWELL)
    learn(health, [outcome(500, at=START + timedelta(seconds=5))] * 20)
    assert (health.breaker_until, health.openings) == (START + timedelta(seconds=30), 1)
    learn(health, [outcome(200)])
    assert (health.breaker, health.breaker_until, health.openings) == (Breaker.CLOSED, None, 0)


def settle(claimed: Claimed, status: int, at: Any) -> None:
    settling.settle(
        [
            Outcome(
                claimed=claimed,
                started_at=at,
                finished_at=at,
                duration_ms=1,
                status_code=status,
                error_class=None if status < 300 else ErrorClass.HTTP_STATUS,
            )
        ]
    )


def test_open_lets_nothing_through_and_half_open_one_at_a_time(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(500)]
    for number in range(20):
        publish(school, f"k{number:02}")
    deliver()
    sent = len(receiver.requests)
    assert 10 <= sent <= 10 + 7  # those that were in flight when it opened
    waiting = Delivery.unscoped.filter(attempts=0)
    assert waiting.count() == 20 - sent
    assert EndpointHealth.unscoped.get(endpoint=endpoint).breaker == Breaker.OPEN
    clock.advance(29.9)
    assert claims.claim(10) == []
    clock.advance(0.1)
    [probe] = claims.claim(10)
    assert claims.claim(10) == []
    assert EndpointHealth.unscoped.get(endpoint=endpoint).breaker == Breaker.HALF_OPEN
    settle(probe, 500, clock())
    assert claims.claim(10) == []
    clock.advance(60)
    [probe] = claims.claim(10)
    clock.advance(1)
    settle(probe, 200, clock())
    health = EndpointHealth.unscoped.get(endpoint=endpoint)
    assert (health.breaker, health.openings, health.failures) == (Breaker.CLOSED, 0, 0)
    receiver.answers["/hook"] = [Answer(200)]
    deliver()
    assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 20
    untouched = 20 - sent - 2
    assert Delivery.unscoped.filter(attempts=1).count() >= untouched  # what waited lost no attempt


def test_a_lost_probe_gives_its_place_to_the_next(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school, "k1")
    publish(school, "k2")
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(breaker=Breaker.OPEN, openings=1, breaker_until=clock())
    [probe] = claims.claim(10)
    assert claims.claim(10) == []
    clock.advance(30)  # its worker died: the lease lapses
    [second] = claims.claim(10)
    assert claims.claim(10) == []
    settle(probe, 200, clock())  # too late, and not its own any more
    if second.id == probe.id:
        assert EndpointHealth.unscoped.get(endpoint=endpoint).breaker == Breaker.HALF_OPEN
    settle(second, 200, clock())
    assert EndpointHealth.unscoped.get(endpoint=endpoint).breaker == Breaker.CLOSED


# --- Failures among much that arrives -------------------------------------------------------------------------------------


def flying(tenant: Tenant, clock: MovableClock, count: int) -> list[Claimed]:
    """Have so many in flight, all claimed while all was well."""
    EndpointHealth.unscoped.update(last_success_at=clock())
    for number in range(count):
        publish(tenant, f"k{number:02}")
    claimed = claims.claim(count)
    assert [each.well for each in claimed] == [True] * count
    return claimed


@pytest.mark.parametrize("batch", [1, 16, 64])
def test_failures_among_much_that_arrives_are_no_row(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, batch: int
) -> None:
    make_endpoint(school, max_in_flight=64)
    outcomes = []
    for number, each in enumerate(flying(school, clock, 64)):
        failed = number % 6 == 0  # eleven of them, with five that arrive between each two
        ended_at = clock() + timedelta(milliseconds=1 + number)
        kind = ErrorClass.HTTP_STATUS if failed else None
        outcomes.append(
            Outcome(
                claimed=each,
                started_at=clock(),
                finished_at=ended_at,
                duration_ms=1,
                status_code=500 if failed else 200,
                error_class=kind,
            )
        )
    for first in range(0, 64, batch):
        settling.settle(outcomes[first : first + batch])
    health = EndpointHealth.unscoped.get()
    assert (health.breaker, health.openings, health.failures) == (Breaker.CLOSED, 0, 0)
    assert Delivery.unscoped.filter(state=DeliveryState.DELIVERED).count() == 53


def test_what_is_sent_after_the_trouble_is_plain_again(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, max_in_flight=64)
    bad, good, *others = flying(school, clock, 6)
    settle(bad, 500, clock())
    settle(good, 200, clock())
    clock.advance(1)
    with CaptureQueriesContext(connection) as queries:
        settle(others[0], 200, clock())
    assert len(queries) <= 1
    with CaptureQueriesContext(connection) as queries:
        settle(others[1], 200, clock() - timedelta(seconds=1))
    assert len(queries) > 1, "sent before the trouble: it is news"
