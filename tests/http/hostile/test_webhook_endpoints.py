"""A tenant's URL that leads where it must not: refused when it is written down, and never dialled when that shows too late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts import clock
from integrations.models import Tenant
from tests.factories import make_client
from tests.http.hostile.spy import Spy
from tests.http.hostile.targets import ADDRESSES, EVERY_ADDRESS, GOOD, NAMES, TEXT, literal
from tests.webhooks.outbound.conftest import Answer, Receiver, deliver
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import DeadReason, Delivery, DeliveryAttempt, DeliveryState, Endpoint
from webhooks.outbound.publishing.publish import publish

pytestmark = pytest.mark.django_db(transaction=True)
Open = Callable[[], tuple[str, int]]


def test_there_are_enough_of_them() -> None:
    """What the suite promises: more than sixty targets of each sort, all different."""
    assert len(set(EVERY_ADDRESS)) == len(EVERY_ADDRESS) >= 60
    assert len(set(TEXT)) == len(TEXT) >= 110
    assert len(NAMES) >= 75
    assert len(ADDRESSES) >= 20


@pytest.mark.parametrize("path", ["/api/webhooks", "/api/v1/webhooks"])
def test_what_the_text_shows_is_refused_when_it_is_written(school: Tenant, spy: Spy, path: str) -> None:
    api = make_client(school)
    wrong = []
    for url in TEXT:
        answer = api.post(path, {"url": url, "events": ["*"]}, format="json")
        if answer.status_code != 400 or {each["attr"] for each in answer.json()["errors"]} != {"url"}:
            wrong.append((url, answer.status_code, answer.content))
    assert wrong == []
    assert Endpoint.unscoped.count() == 0
    assert (spy.dialled, spy.looked_up) == ([], [])


def test_an_endpoint_can_t_be_led_astray_later(school: Tenant, spy: Spy) -> None:
    api = make_client(school)
    made = api.post("/api/webhooks", {"url": "https://good.example/hook", "events": ["*"]}, format="json").json()
    changes = [api.patch(f"/api/webhooks/{made['id']}", {"url": url}, format="json").status_code for url in TEXT]
    assert set(changes) == {400}
    assert Endpoint.unscoped.get().url == "https://good.example/hook"
    assert spy.dialled == []


def test_plain_http_is_refused_where_https_is_asked_for(school: Tenant, spy: Spy, settings: Any) -> None:
    settings.OUTBOUND_HTTPS_ONLY = True
    api = make_client(school)
    for url, status in (("http://good.example/hook", 400), ("https://good.example/hook", 201), ("HTTP://good.example/", 400)):
        assert api.post("/api/webhooks", {"url": url, "events": ["*"]}, format="json").status_code == status, url


def owed(school: Tenant, urls: Sequence[str]) -> None:
    """Let each URL be an endpoint, past the check of its text, and owe it an event."""
    with scope(tenant=school):
        endpoints = [services.create_endpoint(tenant=school, url=url, events=["payment.*"])[0] for url in urls]
    for place in range(0, len(endpoints), 40):
        publish(
            tenant_id=school.pk,
            type="payment.completed",
            object={"id": "pay_1"},
            key=f"k{place}",
            only=endpoints[place : place + 40],
        )


def blocked(urls: Sequence[str]) -> None:
    """Every one of these is dead at its first try, and says why; nobody's URL stands in the text."""
    found = {each.endpoint.url: each for each in Delivery.unscoped.select_related("endpoint")}
    assert set(found) == set(urls)
    odd = {
        url: (each.state, each.attempts, each.dead_reason, each.last_error)
        for url, each in found.items()
        if (each.state, each.attempts, each.dead_reason) != (DeliveryState.FAILED, 1, DeadReason.BLOCKED)
    }
    assert odd == {}
    attempts = list(DeliveryAttempt.unscoped.all())
    assert len(attempts) == len(urls)
    assert {(each.error_class, each.status_code, each.address) for each in attempts} == {("blocked", None, "")}
    assert [each.error for each in attempts if not each.error.startswith("not sent: ") or "hook" in each.error] == []


def test_a_stored_url_that_is_hostile_is_never_dialled(school: Tenant, spy: Spy) -> None:
    """From a time when the rules were others, or written past them."""
    owed(school, TEXT)
    deliver(seconds=60)
    blocked(TEXT)
    assert spy.dialled == []
    assert spy.looked_up == []


def test_a_name_that_leads_inside_is_never_dialled(school: Tenant, spy: Spy) -> None:
    """Their text shows nothing: they are taken, and blocked when the resolver tells. Mixed answers are refused whole."""
    api = make_client(school)
    urls = [f"http://{host}/hook" for host in NAMES]
    for url in urls:
        assert api.post("/api/webhooks", {"url": url, "events": ["order.none"]}, format="json").status_code == 201, url
    publish(tenant_id=school.pk, type="order.x", object={}, key="k", only=list(Endpoint.unscoped.order_by("id"))[:45])
    publish(tenant_id=school.pk, type="order.x", object={}, key="l", only=list(Endpoint.unscoped.order_by("id"))[45:])
    deliver(seconds=60)
    blocked(urls)
    assert {host.rstrip(".") for host in spy.looked_up} == {host.rstrip(".") for host in NAMES}
    assert spy.dialled == []


def test_a_name_that_changes_between_check_and_dial(school: Tenant, spy: Spy) -> None:
    """Rebinding: what was checked is what is dialled, and the next try is checked anew."""
    spy.name("rebinding.example", [GOOD], ["127.0.0.1"])
    owed(school, ["http://rebinding.example/hook"])
    deliver()
    assert spy.dialled == [(GOOD, 80)]
    delivery = Delivery.unscoped.get()
    assert delivery.state == DeliveryState.PENDING

    Delivery.unscoped.update(due_at=clock.now())
    deliver()
    assert spy.dialled == [(GOOD, 80)], "the second answer was dialled"
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (DeliveryState.FAILED, 2)
    assert list(DeliveryAttempt.unscoped.order_by("number").values_list("error_class", flat=True)) == ["connect", "blocked"]


def test_a_redirect_to_any_of_them_is_not_followed(school: Tenant, receiver: Receiver, spy: Spy, open_receiver: Open) -> None:
    allowed = open_receiver()
    targets = [*(literal(address) for address in EVERY_ADDRESS), *(f"http://{host}/" for host in NAMES), "file:///etc/passwd"]
    statuses = (301, 302, 303, 307, 308)
    for place, target in enumerate(targets):
        answer = Answer(statuses[place % len(statuses)], headers={"Location": target})
        receiver.answers[f"/{place}"] = [answer]
    owed(school, [f"{receiver.url}/{place}" for place in range(len(targets))])
    deliver(seconds=60)
    assert len(receiver.requests) == len(targets)
    assert set(spy.dialled) == {allowed}
    assert spy.looked_up == []
    assert {each.error_class for each in DeliveryAttempt.unscoped.all()} == {"redirect"}


def test_an_allowed_network_opens_exactly_itself(school: Tenant, spy: Spy, settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["10.1.0.0/16", "fd00:1::/32"]
    inside = {"in-four.example": "10.1.255.254", "in-mapped.example": "::ffff:10.1.0.1", "in-six.example": "fd00:1:2::3"}
    outside = {
        "beside-four.example": "10.2.0.0",
        "below-four.example": "10.0.255.255",
        "beside-six.example": "fd00:2::1",
        "loop.example": "127.0.0.1",
        "nat.example": "64:ff9b::a01:1",
        "six-to-four.example": "2002:a01:1::",
    }
    for host, address in {**inside, **outside}.items():
        spy.name(host, [address])
    spy.name("half.example", ["10.1.0.1", "10.2.0.1"])
    closed = [f"http://{host}/hook" for host in (*outside, "half.example")]
    owed(school, [*(f"http://{host}/hook" for host in inside), *closed])
    deliver()
    assert {host for host, _ in spy.dialled} == set(inside.values())
    by_class: dict[str, set[str]] = {}
    for attempt in DeliveryAttempt.unscoped.select_related("delivery__endpoint"):
        by_class.setdefault(attempt.error_class, set()).add(attempt.delivery.endpoint.url)
    assert by_class == {"connect": {f"http://{host}/hook" for host in inside}, "blocked": set(closed)}
