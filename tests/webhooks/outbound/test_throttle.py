"""Requests a second: a token bucket on the endpoint's health, exact over all workers."""

from __future__ import annotations

import math
import time
from collections import Counter
from threading import Barrier, Thread
from threading import Event as Flag

import pytest
from django.db import connection

from integrations.models import Tenant
from tests.factories import MovableClock
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish, wait_until
from webhooks.outbound.delivery import batches, claims
from webhooks.outbound.delivery.engine import Limits
from webhooks.outbound.delivery.sender import Timeouts
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, EndpointHealth, Event

pytestmark = pytest.mark.django_db(transaction=True)


def publish_many(tenant: Tenant, count: int) -> None:
    for number in range(count):
        publish(tenant, f"k{number}")


def claim_now() -> int:
    """Return how many a claim gets, whatever is in flight: the rate alone is what these tests are about."""
    claimed = claims.claim(100)
    Delivery.unscoped.filter(pk__in=[each.id for each in claimed]).update(
        state=DeliveryState.DELIVERED, lease=None, lease_until=None
    )
    return len(claimed)


@pytest.mark.parametrize(
    ("rate", "first", "steps"),
    [
        (5.0, 5, [(0.0, 0), (0.1, 0), (0.1, 1), (1.0, 5), (60.0, 5)]),  # a long rest saves up one second's worth, not more
        (1.0, 1, [(0.5, 0), (0.5, 1), (3.0, 1)]),
        (0.1, 1, [(9.0, 0), (1.0, 1), (100.0, 1), (9.9, 0), (0.1, 1)]),
        (2.5, 2, [(0.2, 1), (0.4, 1), (1.0, 2)]),
    ],
)
def test_the_bucket(
    school: Tenant,
    make_endpoint: MakeEndpoint,
    clock: MovableClock,
    rate: float,
    first: int,
    steps: list[tuple[float, int]],
) -> None:
    make_endpoint(school, max_in_flight=64, rate_per_second=rate)
    publish_many(school, 30)
    assert claim_now() == first
    for seconds, wanted in steps:
        clock.advance(seconds)
        assert claim_now() == wanted, seconds


def test_no_rate_is_no_limit(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    make_endpoint(school, max_in_flight=64)
    publish_many(school, 30)
    assert claim_now() == 30


def test_a_clock_that_lags_behind_adds_nothing(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    make_endpoint(school, rate_per_second=1.0)
    publish_many(school, 5)
    start = clock()
    Delivery.unscoped.update(due_at=clock.advance(-60))
    clock.moment = start
    assert claim_now() == 1
    clock.advance(-30)  # another machine, half a minute behind
    assert claim_now() == 0
    clock.advance(30)
    assert claim_now() == 0
    clock.advance(1)
    assert claim_now() == 1


def test_a_lower_rate_holds_at_once(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    endpoint, _ = make_endpoint(school, rate_per_second=50.0, max_in_flight=64)
    publish_many(school, 100)
    assert claims.claim(10) != []
    Endpoint.unscoped.filter(pk=endpoint.pk).update(rate_per_second=2.0)
    Delivery.unscoped.filter(lease__isnull=False).update(state=DeliveryState.DELIVERED, lease=None, lease_until=None)
    clock.advance(10)
    assert claim_now() == 2


def test_what_a_throttle_keeps_back_loses_no_attempt_and_shows_its_lag(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, rate_per_second=1.0)
    publish_many(school, 3)
    for number in range(1, 4):
        deliver(stop=lambda wanted=number: Delivery.unscoped.filter(state="delivered").count() == wanted)
        assert len(receiver.requests) == number
        clock.advance(2)
    done = Delivery.unscoped.order_by("finished_at")
    assert [delivery.attempts for delivery in done] == [1, 1, 1]
    assert [delivery.tries.model.unscoped.get(delivery=delivery).lag_ms for delivery in done] == [0, 2000, 4000]


def test_two_claimers_at_once_spend_each_token_once(school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock) -> None:
    endpoint, _ = make_endpoint(school, max_in_flight=64, rate_per_second=20.0)
    publish_many(school, 60)
    barrier = Barrier(2)
    taken: list[str] = []

    def claimer() -> None:
        try:
            barrier.wait(10)
            until = time.monotonic() + 60
            while len(taken) < 20 and time.monotonic() < until:
                taken.extend(each.id for each in claims.claim(3))
            for _ in range(5):  # there is no more, however often they ask
                taken.extend(each.id for each in claims.claim(3))
        finally:
            connection.close()

    threads = [Thread(target=claimer) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert len(taken) == len(set(taken)) == 20
    assert EndpointHealth.unscoped.get(endpoint=endpoint).tokens == pytest.approx(0.0, abs=1e-6)


def test_two_claimers_at_once_never_exceed_what_may_be_in_flight(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    make_endpoint(school, max_in_flight=7)
    publish_many(school, 40)
    barrier = Barrier(3)
    taken: list[str] = []

    def claimer() -> None:
        try:
            barrier.wait(10)
            for _ in range(30):
                taken.extend(each.id for each in claims.claim(2))
        finally:
            connection.close()

    threads = [Thread(target=claimer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(taken) == len(set(taken)) == 7


# --- What one claim takes -------------------------------------------------------------------------------------------------


def test_a_tenant_gets_no_more_than_its_share(
    school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock
) -> None:
    for number in range(3):
        make_endpoint(school, f"/{number}", max_in_flight=8)
    make_endpoint(studio, max_in_flight=8)
    publish_many(school, 8)
    places = claims.Places(free=16, held=Counter({school.pk: 4}))
    assert len(claims.claim(100, places=places)) == 6
    assert (places.free, places.held) == (10, {school.pk: 10}), "as many held as free"
    publish_many(studio, 3)
    assert {each.tenant_id for each in claims.claim(100, places=places)} == {studio.pk}
    assert (places.free, places.held) == (7, {school.pk: 10, studio.pk: 3})
    assert claims.claim(100, places=claims.Places(free=8, held=Counter({school.pk: 8}))) == []
    assert len(claims.claim(100, retries=0, places=claims.Places(free=9, held=Counter({school.pk: 8})))) == 1
    assert len(claims.claim(3, places=claims.Places(free=3, share=math.inf, held=Counter({school.pk: 99})))) == 3


def test_a_newcomer_finds_room_beside_tenants_who_took_all_they_could() -> None:
    places = claims.Places(free=400)
    for tenant in range(1, 6):
        while not places.none_for(tenant):
            places.take(tenant)
    assert [places.held[tenant] for tenant in range(1, 6)] == [200, 100, 50, 25, 13]
    assert places.free == 12


def test_an_engine_keeps_places_for_other_tenants(
    school: Tenant, studio: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    hold = Flag()
    receiver.answers["/slow"] = [Answer(hold=hold)]
    make_endpoint(school, "/slow", max_in_flight=8)
    make_endpoint(studio, "/quick")
    publish_many(school, 8)
    limits = Limits(in_flight=8, poll=0.05, stop_check=0.02, timeouts=Timeouts(total=60))
    runner = Thread(target=deliver, args=(limits,))
    runner.start()
    try:
        wait_until(lambda: len(receiver.at("/slow")) == 6)
        publish_many(studio, 8)
        wait_until(lambda: len(receiver.at("/quick")) == 8)
        assert len(receiver.at("/slow")) == 6
    finally:
        hold.set()
        runner.join(60)
    assert receiver.most_in_flight["/slow"] == 6
    assert not Delivery.unscoped.exclude(state=DeliveryState.DELIVERED).exists()


def test_a_claim_takes_no_more_bytes_than_it_may(
    school: Tenant, make_endpoint: MakeEndpoint, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(Event.unscoped.get(pk=publish(school, "k000", number=100)).payload)
    monkeypatch.setattr(claims, "MAX_CLAIM_BYTES", size * 5)
    make_endpoint(school, "/single", max_in_flight=64)
    make_endpoint(school, "/batch", max_in_flight=64, batch_size=4)
    for number in range(8):
        publish(school, f"k{number:03}", number=100 + number)
    publish(school, "huge", text="x" * size * 6)
    batches.form()
    sent = []
    while claimed := claims.claim(100):
        assert len(claimed) == 1 or sum(len(each.body) for each in claimed) < size * 6  # with what a batch is wrapped in
        sent += claimed
    assert Counter(each.event_type for each in sent)["batch"] == 2
    assert len({each.id for each in sent}) == len(sent) == 10
