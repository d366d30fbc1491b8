"""Much is owed to an endpoint that comes or goes: moved page by page, none forgotten, whatever is switched meanwhile."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.db import connection
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.errors import Conflict
from integrations.models import AuditEntry, QueueItem, QueueState, Tenant
from tests.factories import MovableClock, make_client, work_off
from tests.webhooks.outbound.conftest import MakeEndpoint, Receiver, deliver, publish
from tests.webhooks.outbound.test_api import URL
from webhooks.outbound.delivery import claims
from webhooks.outbound.delivery.schedule import MAX_AGE, attempts_of
from webhooks.outbound.endpoints import owed, services
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint
from webhooks.outbound.publishing import sweeping

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 11


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owed, "PAGE", 3)


@pytest.fixture
def endpoint(school: Tenant, make_endpoint: MakeEndpoint) -> Endpoint:
    """An endpoint that is owed much, beside one that is owed as much and that nobody touches."""
    made, _ = make_endpoint(school)
    make_endpoint(school, "/other", events=["payment.completed"])
    for number in range(MANY):
        publish(school, f"k{number:02}")
    return made


def switch(endpoint: Endpoint, on: bool, **how: Any) -> None:
    with scope(tenant=endpoint.tenant):
        services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": on}, **how)


def states(endpoint: Endpoint) -> Counter[str]:
    return Counter(Delivery.unscoped.filter(endpoint=endpoint, event__key__startswith="k").values_list("state", flat=True))


def others_untouched(endpoint: Endpoint) -> bool:
    others = Delivery.unscoped.exclude(endpoint=endpoint).filter(event__key__startswith="k")
    return set(others.values_list("state", "attempts_allowed")) == {("pending", attempts_of(endpoint.retry_delays))}


def test_the_first_page_moves_at_once_and_the_queue_does_the_rest(endpoint: Endpoint, clock: MovableClock) -> None:
    switch(endpoint, False)
    assert states(endpoint) == {"held": 3, "pending": MANY - 3}
    work_off()
    assert states(endpoint) == {"held": MANY}
    Delivery.unscoped.filter(endpoint=endpoint).update(attempts=2)
    clock.advance(3600)
    switch(endpoint, True)
    assert states(endpoint) == {"pending": 3, "held": MANY - 3}
    work_off()
    rows = set(Delivery.unscoped.filter(endpoint=endpoint, event__key__startswith="k").values_list(*["state", "due_at"]))
    assert rows == {("pending", clock())}
    allowed = set(Delivery.unscoped.filter(endpoint=endpoint).values_list("attempts_allowed", "expires_at"))
    assert allowed == {(2 + attempts_of(endpoint.retry_delays), clock() + MAX_AGE)}
    assert others_untouched(endpoint)
    assert QueueItem.unscoped.filter(kind=owed.KIND).exclude(state=QueueState.COMPLETED).count() == 0


def test_what_is_owed_in_order_goes_out_in_order_while_pages_move(
    school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school, ordering="all")
    switch(endpoint, False)
    ids = [publish(school, f"k{number:02}") for number in range(MANY)]
    switch(endpoint, True)
    deliver()
    assert [each.headers["webhook-id"] for each in receiver.requests] == ids[:3]
    work_off()
    deliver()
    assert [each.headers["webhook-id"] for each in receiver.requests][:MANY] == ids


def test_deleting_ends_all_of_it(endpoint: Endpoint) -> None:
    with scope(tenant=endpoint.tenant):
        services.delete_endpoint(endpoint_id=endpoint.pk)
    assert states(endpoint) == {"failed": 3, "pending": MANY - 3}
    assert {each.endpoint_id for each in claims.claim(100)} != {endpoint.pk}
    work_off()
    rows = Delivery.unscoped.filter(endpoint=endpoint, event__key__startswith="k")
    assert set(rows.values_list("state", "dead_reason", "last_error")) == {("failed", "deleted", "the endpoint was deleted")}
    assert others_untouched(endpoint)


def test_discarding_all_of_it_is_on_record_once(endpoint: Endpoint) -> None:
    switch(endpoint, False)
    work_off()
    switch(endpoint, True, held="discard")
    assert states(endpoint) == {"failed": 3, "held": MANY - 3}
    sweeping.tick()
    assert states(endpoint) == {"failed": 3, "held": MANY - 3}, "it is not let go of: it is to be discarded"
    publish(endpoint.tenant, "after")
    work_off()
    assert states(endpoint) == {"failed": MANY}
    assert Delivery.unscoped.get(endpoint=endpoint, event__key="after").state == DeliveryState.PENDING
    entry = AuditEntry.unscoped.get(action="endpoint.discarded")
    assert (entry.object_id, entry.changes) == (endpoint.pk, {"count": [None, MANY]})
    assert others_untouched(endpoint)


def test_what_was_discarded_stays_so_when_the_endpoint_is_switched_meanwhile(endpoint: Endpoint) -> None:
    switch(endpoint, False)
    work_off()
    switch(endpoint, True, held="discard")
    switch(endpoint, False)
    publish(endpoint.tenant, "later")
    switch(endpoint, True)
    assert Delivery.unscoped.get(endpoint=endpoint, event__key="later").state == DeliveryState.PENDING
    work_off()
    assert states(endpoint) == {"failed": MANY}
    assert Delivery.unscoped.get(endpoint=endpoint, event__key="later").state == DeliveryState.PENDING


@pytest.mark.parametrize(
    ("switches", "left"),
    [([False, True], "pending"), ([False, True, False], "held"), ([False, True, False, True], "pending")],
)
def test_the_last_switch_has_the_last_word(endpoint: Endpoint, switches: list[bool], left: str) -> None:
    for on in switches:
        switch(endpoint, on)
    work_off()
    assert states(endpoint) == {left: MANY}
    assert not owed.is_moving(endpoint)


def test_what_is_on_its_way_can_not_be_discarded(endpoint: Endpoint, school: Tenant) -> None:
    switch(endpoint, False)
    with pytest.raises(Conflict):
        switch(endpoint, True, held="discard")
    client: APIClient = make_client(school)
    answer = client.patch(f"{URL}/{endpoint.pk}", {"is_active": True, "held": "discard"}, format="json")
    assert answer.status_code == 409
    assert not Endpoint.unscoped.get(pk=endpoint.pk).is_active
    work_off()
    switch(endpoint, True, held="discard")
    work_off()
    assert states(endpoint) == {"failed": MANY}


def test_the_hub_switches_off_what_is_owed_much(endpoint: Endpoint) -> None:
    services.disable_endpoint(endpoint_id=endpoint.pk, tenant_id=endpoint.tenant_id, reason="it answered 410 Gone")
    assert states(endpoint) == {"held": 3, "pending": MANY - 3}
    work_off()
    assert states(endpoint) == {"held": MANY}


def test_where_the_first_page_takes_too_long_the_queue_moves_all(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    real = owed.step

    def slow(*args: Any, **kwargs: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(10)")  # ended by the limit
        return real(*args, **kwargs)

    monkeypatch.setattr(owed, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(owed, "step", slow)
    switch(endpoint, False)
    assert (states(endpoint), Endpoint.unscoped.get(pk=endpoint.pk).is_active) == ({"pending": MANY}, False)
    monkeypatch.setattr(owed, "step", real)
    work_off()
    assert states(endpoint) == {"held": MANY}


def test_the_limit_of_the_first_page_is_its_own(endpoint: Endpoint) -> None:
    from django.db import transaction

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '29s'")
        owed.move(endpoint, owed.Move.HOLD)
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchall() == [("29s",)]


def test_the_tick_lets_go_of_what_is_held_page_by_page(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    Endpoint.unscoped.filter(pk=endpoint.pk).update(updated=sweeping.clock.now())
    Delivery.unscoped.filter(endpoint=endpoint).update(state="held")
    monkeypatch.setattr(sweeping, "MOST_PAGES", 2)
    assert sweeping.tidy()["released"] == 6
    assert sweeping.tidy()["released"] == MANY - 6
    assert states(endpoint) == {"pending": MANY}
