"""Who gets a place: first tries before a storm of retries, small endpoints beside one with a deep backlog."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from django.db import connection

from integrations.contracts import clock
from integrations.models import Tenant
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish, wait_until
from webhooks.outbound.delivery import claims
from webhooks.outbound.delivery.engine import Limits
from webhooks.outbound.delivery.sender import Timeouts
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, Event

pytestmark = pytest.mark.django_db(transaction=True)


def backlog(endpoint: Endpoint, count: int, *, attempts: int = 0, order_key: str = "", late: float = 3600.0) -> None:
    """Let the endpoint be owed `count` events that came due one after the other, the first `late` seconds ago."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO webhooks_outbound_event (id, tenant_id, type, type_version, key, channels, payload, object_type,"
            " object_id, created, spread_at) SELECT 'evt_' || %(tag)s || n, %(tenant)s, 'payment.completed', 1,"
            " %(tag)s || n, '[]', '{}', '', '', now(), now() FROM generate_series(1, %(count)s) n",
            {"tag": endpoint.pk[-12:], "tenant": endpoint.tenant_id, "count": count},
        )
        cursor.execute(
            "INSERT INTO webhooks_outbound_delivery (id, tenant_id, event_id, endpoint_id, order_key, state, due_at, attempts,"
            " attempts_allowed, fence, last_error, dead_reason, created) SELECT 'dlv_' || %(tag)s || n, %(tenant)s,"
            " 'evt_' || %(tag)s || n, %(endpoint)s, %(order_key)s, 'pending',"
            " %(now)s - make_interval(secs => %(late)s - n * 0.001), %(attempts)s, 12, 0, '', '', now()"
            " FROM generate_series(1, %(count)s) n",
            {
                "tag": endpoint.pk[-12:],
                "tenant": endpoint.tenant_id,
                "endpoint": endpoint.pk,
                "order_key": order_key,
                "now": clock.now(),
                "late": late,
                "attempts": attempts,
                "count": count,
            },
        )
        cursor.execute("ANALYZE webhooks_outbound_delivery, webhooks_outbound_event, webhooks_outbound_endpoint")


def test_retries_get_no_more_than_they_may_have(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    storm, _ = make_endpoint(school, "/storm", max_in_flight=64)
    fresh, _ = make_endpoint(school, "/fresh", max_in_flight=64)
    backlog(storm, 50, attempts=1)
    backlog(fresh, 50, late=1.0)
    claimed = claims.claim(40, retries=5)
    assert Counter(each.number > 1 for each in claimed) == {True: 5, False: 35}
    assert claims.claim(40, retries=0) != []  # 15 first tries are left
    assert claims.claim(40, retries=0) == []
    assert len(claims.claim(60)) == 45


def test_a_first_try_is_found_behind_the_retries_of_its_own_endpoint(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    backlog(endpoint, 500, attempts=1)
    publish(school)
    [claimed] = claims.claim(10, retries=0)
    assert claimed.number == 1
    Delivery.unscoped.filter(pk=claimed.id).update(lease=None, lease_until=None, attempts=0, due_at=clock.now())
    both = claims.claim(10, retries=2)
    assert sorted(each.number for each in both) == [1, 2, 2]


def test_a_storm_of_retries_does_not_starve_a_first_try(
    school: Tenant, studio: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    hold = Flag()
    for number in range(4):
        storm, _ = make_endpoint(school, f"/storm{number}")
        receiver.answers[f"/storm{number}"] = [Answer(hold=hold)]
        backlog(storm, 20, attempts=1)
    make_endpoint(studio, "/fresh")
    limits = Limits(in_flight=8, tenant=math.inf, poll=0.05, stop_check=0.02, timeouts=Timeouts(total=60))
    runner = Thread(target=deliver, args=(limits,), kwargs={"stop": hold.is_set})
    runner.start()
    try:
        wait_until(lambda: len(receiver.requests) == 6)  # three quarters of the places, and every one of them hangs
        for number in range(10):
            publish(studio, f"k{number}")
        wait_until(lambda: len(receiver.at("/fresh")) == 10)
        assert sum(receiver.in_flight[f"/storm{number}"] for number in range(4) if f"/storm{number}" in receiver.in_flight) == 6
    finally:
        hold.set()
        runner.join(60)
    assert Delivery.unscoped.filter(tenant=studio, state=DeliveryState.DELIVERED).count() == 10


def test_places_are_dealt_out_in_turns(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    made = [make_endpoint(school, f"/{number}")[0] for number in range(5)]
    for endpoint in made:
        backlog(endpoint, 10)
    assert Counter(each.endpoint_id for each in claims.claim(10)) == {endpoint.pk: 2 for endpoint in made}
    assert Counter(each.endpoint_id for each in claims.claim(100)) == {endpoint.pk: 6 for endpoint in made}  # eight in flight


def test_an_endpoint_that_somebody_else_holds_is_passed_over(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    held, _ = make_endpoint(school, "/held")
    free, _ = make_endpoint(school, "/free")
    publish(school)
    ready, done = Flag(), Flag()

    def holder() -> None:
        from django.db import transaction

        try:
            with transaction.atomic(), connection.cursor() as cursor:
                query = "SELECT 1 FROM webhooks_outbound_endpointhealth WHERE endpoint_id = %s FOR UPDATE"
                cursor.execute(query, [held.pk])
                ready.set()
                done.wait(20)
        finally:
            connection.close()

    thread = Thread(target=holder)
    thread.start()
    try:
        assert ready.wait(10)
        assert [each.endpoint_id for each in claims.claim(10)] == [free.pk]
    finally:
        done.set()
        thread.join(20)
    assert [each.endpoint_id for each in claims.claim(10)] == [held.pk]


def test_a_tenant_that_was_switched_off_is_sent_nothing(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    make_endpoint(school)
    publish(school)
    Tenant.objects.update(is_active=False)
    assert claims.claim(10) == []
    Tenant.objects.update(is_active=True)
    assert len(claims.claim(10)) == 1


# --- A deep backlog costs nobody ------------------------------------------------------------------------------------------


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], list[str]]:
    """`plans(work)`: the plan of each statement on deliveries that `work` runs."""

    def explained(work: Callable[[], Any]) -> list[str]:
        seen: list[str] = []

        def spy(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if "webhooks_outbound_delivery" in sql and not many:
                with context["cursor"].connection.cursor() as other:
                    other.execute("EXPLAIN " + sql, params)
                    seen.append("\n".join(row[0] for row in other.fetchall()))
            return execute(sql, params, many, context)

        monkeypatch.setattr(claims, "prepared", connection.cursor)  # a cursor that tells the wrapper
        with connection.execute_wrapper(spy):
            work()
        return seen

    return explained


@pytest.mark.slow
@pytest.mark.parametrize("ordering", ["none", "all"])
def test_no_statement_of_a_claim_walks_the_table(
    school: Tenant, make_endpoint: MakeEndpoint, plans: Callable[[Callable[[], Any]], list[str]], ordering: str
) -> None:
    deep, _ = make_endpoint(school, "/deep", ordering=ordering)
    backlog(deep, 20_000, attempts=1, order_key="*" if ordering == "all" else "")
    others = [make_endpoint(school, f"/{number}")[0] for number in range(5)]
    for endpoint in others:
        backlog(endpoint, 3, late=0.5)
    found: list[Any] = []
    seen = plans(lambda: found.extend(claims.claim(20, retries=10)))
    assert Counter(each.endpoint_id for each in found if each.endpoint_id != deep.pk) == {each.pk: 3 for each in others}
    assert Counter(each.endpoint_id for each in found)[deep.pk] == (5 if ordering == "none" else 1)
    assert len(seen) >= 4
    assert [plan for plan in seen if "Seq Scan on webhooks_outbound_delivery" in plan] == []
    seen = plans(lambda: found.extend(claims.claim(20, retries=0)))
    assert [plan for plan in seen if "Seq Scan on webhooks_outbound_delivery" in plan] == []


def test_a_deep_backlog_does_not_delay_others(
    school: Tenant, studio: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    deep, _ = make_endpoint(school, "/deep")
    backlog(deep, 5_000)
    make_endpoint(studio, "/fresh")
    for number in range(20):
        publish(studio, f"k{number}")
    deliver(stop=lambda: len(receiver.at("/fresh")) == 20)
    assert len(receiver.at("/deep")) < 500  # they went out side by side, not one backlog after the other
    assert Event.unscoped.count() == 5_020
