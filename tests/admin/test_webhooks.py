"""The console's pages of outbound webhooks: what a person sees and does there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django_scopes import scope

from integrations.contracts import clock as hub_clock
from tests.admin.conftest import World, list_url, page_url
from tests.factories import MovableClock, make_delivery, make_endpoint
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Endpoint,
    EndpointHealth,
    Event,
    Replay,
)
from webhooks.outbound.publishing.publish import publish

pytestmark = pytest.mark.django_db
Browser = Callable[[str], Client]
ADD = "/admin/webhooks_outbound/{}/add/"

FULL = {
    "name": "ERP",
    "url": "https://erp.example/hook",
    "events": "payment.*\norder.created",
    "channels": "north, south",
    "filter": '{"type": "payment.completed"}',
    "payload_format": "flat",
    "ordering": "object",
    "batch_size": "10",
    "batch_wait": "30",
    "own_headers": "X-Api-Key: canary-7766-secret\nX-Site: main",
    "max_in_flight": "3",
    "rate_per_second": "2.5",
    "retry_delays": "60, 600.5",
}


def press(client: Client, row: Any, button: str, data: dict[str, Any] | None = None) -> Any:
    return client.post(page_url(row, "press", button), data or {}, follow=True)


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


# --- endpoints ------------------------------------------------------------------------------------------------------------


def test_an_endpoint_with_everything(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    answer = client.post(ADD.format("endpoint"), {**FULL, "is_active": "on", "scheme": "v1a"})
    assert answer.status_code == 200
    made = Endpoint.unscoped.get(name="ERP")
    assert (made.tenant, made.url, made.events) == (world.school, FULL["url"], ["payment.*", "order.created"])
    assert (made.channels, made.filter) == (["north", "south"], {"type": "payment.completed"})
    assert (made.payload_format, made.ordering, made.batch_size, made.batch_wait) == ("flat", "object", 10, 30)
    assert (made.max_in_flight, made.rate_per_second, made.retry_delays) == (3, 2.5, [60, 600.5])
    assert made.headers() == {"X-Api-Key": "canary-7766-secret", "X-Site": "main"}
    assert made.signing_keys()[0]["scheme"] == "v1a"
    assert answer.context["value"] == made.signing_keys()[0]["secret"]

    page = client.get(page_url(made))
    initial = page.context["adminform"].form.initial
    assert "canary-7766" not in page.content.decode()
    # What the page shows can be saved as it stands, and changes nothing.
    shown = {name: initial.get(name) for name in FULL}
    before = Endpoint.unscoped.filter(pk=made.pk).values(*services.PLAIN_FIELDS, "is_active").get()
    saved = client.post(page_url(made), {name: value for name, value in shown.items() if value is not None})
    assert (saved.status_code, saved["Location"]) == (302, list_url("webhooks_outbound.endpoint"))
    assert Endpoint.unscoped.filter(pk=made.pk).values(*services.PLAIN_FIELDS, "is_active").get() == before
    made.refresh_from_db()
    assert made.headers() == {"X-Api-Key": "canary-7766-secret", "X-Site": "main"}

    changed = {**shown, "batch_size": "", "rate_per_second": "", "channels": "", "filter": "", "retry_delays": ""}
    changed["own_headers"] = "X-Site: other"
    client.post(page_url(made), changed)
    made.refresh_from_db()
    assert (made.batch_size, made.rate_per_second, made.channels, made.filter, made.retry_delays) == (1, None, [], None, [])
    assert (made.headers(), made.is_active) == ({"X-Site": "other"}, True)


def test_one_endpoint_too_many_is_refused_on_the_form(world: World, browser_of: Browser, settings: Any) -> None:
    before = Endpoint.unscoped.count()
    settings.WEBHOOK_MAX_ENDPOINTS = 0
    answer = browser_of("admin").post(ADD.format("endpoint"), {**FULL, "is_active": "on", "scheme": "v1"})
    assert "at most 0 endpoints" in answer.content.decode()
    assert Endpoint.unscoped.count() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("filter", "{"),
        ("filter", '{"a": {"$nope": 1}}'),
        ("batch_size", "101"),
        ("batch_wait", "0"),
        ("max_in_flight", "65"),
        ("rate_per_second", "-1"),
        ("retry_delays", "ten"),
        ("retry_delays", "0"),
        ("own_headers", "no colon"),
        ("own_headers", "webhook-id: mine"),
        ("own_headers", "X-Key: ••••"),
        ("secret", "whsec_short"),
        ("url", "https://10.0.0.1/hook"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(field: str, value: str, world: World, browser_of: Browser) -> None:
    before = Endpoint.unscoped.count()
    answer = browser_of("admin").post(ADD.format("endpoint"), {**FULL, "is_active": "on", field: value})
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]
    assert Endpoint.unscoped.count() == before


def test_who_may_only_read_sees_no_header_in_clear(world: World, browser_of: Browser) -> None:
    endpoint = make_endpoint(
        world.school, headers={"X-Api-Key": "canary-7766-secret"}, url="https://erp.example/hook?token=canary-5521-secret"
    )
    client = browser_of("auditor")
    page = client.get(page_url(endpoint)).content.decode() + client.get(list_url("webhooks_outbound.endpoint")).content.decode()
    assert "X-Api-Key" in page
    assert "erp.example" in page
    assert "canary" not in page
    for query, found in (("canary", False), (endpoint.pk, True)):
        listed = client.get(list_url("webhooks_outbound.endpoint"), {"q": query}).content.decode()
        assert (page_url(endpoint) in listed) is found
    assert endpoint.signing_keys()[0]["secret"] not in page


def test_health_and_backlog(world: World, browser_of: Browser, clock: MovableClock) -> None:
    endpoint = make_endpoint(world.school, name="slow")
    first = make_delivery(endpoint)
    make_delivery(endpoint)
    Delivery.unscoped.filter(pk=first.pk).update(due_at=clock() - timedelta(seconds=3725))
    EndpointHealth.unscoped.filter(endpoint=endpoint).update(
        failures=10,
        failing_since=clock() - timedelta(days=4),
        breaker="open",
        breaker_until=clock() + timedelta(seconds=90),
        paused_until=clock() + timedelta(minutes=5),
    )
    page = browser_of("admin").get(page_url(endpoint)).content.decode()
    for text in ("50 %", "1:02:05", "2026-11-16", "until"):
        assert text in page


def test_the_secret_is_rotated_and_shown_once(world: World, browser_of: Browser) -> None:
    client, endpoint = browser_of("admin"), make_endpoint(world.school)
    old = endpoint.signing_keys()[0]["secret"]
    answer = press(client, endpoint, "rotate", {"scheme": "v1", "overlap": "86400"})
    endpoint.refresh_from_db()
    newest, former = endpoint.signing_keys()
    assert answer.context["value"] == newest["secret"] != old
    assert (former["secret"], newest["expires_at"], former["expires_at"] is None) == (old, None, False)
    page = client.get(page_url(endpoint)).content.decode()
    assert newest["id"] in page
    assert newest["secret"] not in page
    assert old not in page


@pytest.mark.parametrize(("held", "state"), [("send", "pending"), ("discard", "failed")])
def test_off_and_on_again(held: str, state: str, world: World, browser_of: Browser) -> None:
    client, endpoint = browser_of("admin"), make_endpoint(world.school)
    owed = make_delivery(endpoint)
    press(client, endpoint, "disable")
    owed.refresh_from_db()
    assert (Endpoint.unscoped.get(pk=endpoint.pk).is_active, owed.state) == (False, "held")
    assert said(press(client, endpoint, "test")) == [f"“Send a test event” is not possible: {endpoint} has changed meanwhile."]
    press(client, endpoint, "enable", {"held": held})
    owed.refresh_from_db()
    assert (Endpoint.unscoped.get(pk=endpoint.pk).is_active, owed.state) == (True, state)


def test_events_are_sent_again_and_that_can_be_stopped(world: World, browser_of: Browser) -> None:
    client, endpoint = browser_of("admin"), make_endpoint(world.school)
    dead = make_delivery(endpoint)
    Delivery.unscoped.filter(pk=dead.pk).update(state=DeliveryState.FAILED, finished_at=hub_clock.now())
    answer = press(client, endpoint, "recover", {"mode": "failed", "hours": "24", "types": "payment.*"})
    replay = Replay.unscoped.get(endpoint=endpoint)
    assert said(answer) == [f"1 events are being sent again: see {replay.pk} among the replays."]
    assert (replay.state, replay.types, replay.requested_by) == ("running", ["payment.*"], "school-admin")
    again = client.post(page_url(endpoint, "press", "recover"), {"mode": "failed", "hours": "24"})
    assert "Another replay of this endpoint is running" in again.content.decode()
    assert said(press(client, replay, "cancel")) == ["It is stopped."]
    replay.refresh_from_db()
    assert replay.state == "cancelled"


# --- deliveries and events ------------------------------------------------------------------------------------------------


def test_dead_letters_by_endpoint_and_reason(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    found = {}
    for name, reason in (("one", "exhausted"), ("two", "rejected")):
        endpoint = make_endpoint(world.school, name=name, events=[f"booking.{name}"])
        with scope(tenant=world.school):
            event = publish(tenant_id=world.school.pk, type=f"booking.{name}", object={}, key=name)
        found[name] = Delivery.unscoped.get(event=event, endpoint=endpoint)
        Delivery.unscoped.filter(pk=found[name].pk).update(state="failed", dead_reason=reason)
    url = list_url("webhooks_outbound.delivery")
    for query, expected in (
        ({"state__exact": "failed"}, {"one", "two"}),
        ({"endpoint": found["one"].endpoint_id}, {"one"}),
        ({"dead_reason__exact": "rejected"}, {"two"}),
        ({"state__exact": "delivered"}, set()),
    ):
        content = client.get(url, query).content.decode()
        assert {name for name, row in found.items() if page_url(row) in content} == expected
    page = client.get(url).content.decode()
    assert f"{url}?state__exact=failed" in page
    assert world.foreign["webhooks_outbound.endpoint"].pk not in page


def test_many_are_sent_again_at_once(world: World, browser_of: Browser) -> None:
    client, endpoint, off = browser_of("operator"), make_endpoint(world.school), make_endpoint(world.studio)
    dead = [make_delivery(endpoint), make_delivery(endpoint), make_delivery(off)]
    ids = [row.pk for row in dead]
    Delivery.unscoped.filter(pk__in=ids).update(state="failed")
    with scope(tenant=world.studio):
        services.update_endpoint(endpoint_id=off.pk, changes={"is_active": False})
    answer = client.post(
        list_url("webhooks_outbound.delivery"), {"action": "retry_selected", "_selected_action": ids}, follow=True
    )
    assert said(answer) == [f"{ids[2]}: The endpoint is switched off: switch it on first.", "2 deliveries are due now."]
    assert list(Delivery.unscoped.filter(pk__in=ids).order_by("pk").values_list("state", flat=True)) == [
        "pending", "pending", "failed",
    ]  # fmt: skip


def test_many_are_discarded_at_once(world: World, browser_of: Browser) -> None:
    client, endpoint = browser_of("admin"), make_endpoint(world.school)
    rows = [make_delivery(endpoint) for _ in range(3)]
    foreign = make_delivery(make_endpoint(world.studio))
    Delivery.unscoped.filter(pk=rows[0].pk).update(state="failed", dead_reason="exhausted")
    Delivery.unscoped.filter(pk=rows[2].pk).update(state="delivered")
    ids = [row.pk for row in (*rows, foreign)]
    answer = client.post(
        list_url("webhooks_outbound.delivery"), {"action": "discard_selected", "_selected_action": ids}, follow=True
    )
    assert said(answer) == [f"{ids[2]}: It is delivered.", "2 deliveries are discarded."]
    found = Delivery.unscoped.filter(pk__in=ids).order_by("pk").values_list("state", "dead_reason")
    assert list(found) == [("failed", "discarded"), ("failed", "discarded"), ("delivered", ""), ("pending", "")]


def test_an_attempt_shows_both_sides_folded(world: World, browser_of: Browser) -> None:
    delivery = make_delivery(make_endpoint(world.school, payload_format="flat"))
    now = hub_clock.now()
    DeliveryAttempt.unscoped.create(
        tenant=world.school,
        delivery=delivery,
        number=1,
        started_at=now,
        finished_at=now,
        lag_ms=1500,
        duration_ms=230,
        status_code=500,
        error_class="http_status",
        error="the endpoint answered 500",
        request_headers={"webhook-id": "evt_1"},
        response_headers={"x-powered-by": "<script>alert(1)</script>"},
        response_head="<b>oops</b>",
        address="203.0.113.7",
    )
    page = browser_of("admin").get(page_url(delivery)).content.decode()
    assert '<details class="hub-fold"><summary>Show</summary>' in page
    for text in ("1,500 ms", "230 ms", "webhook-id", "&lt;script&gt;", "&lt;b&gt;oops&lt;/b&gt;", "occurred_at"):
        assert text in page
    assert "<script>alert" not in page
    assert "Goes out together with" not in page


def test_a_batch_names_its_passengers(world: World, browser_of: Browser) -> None:
    endpoint = make_endpoint(world.school)
    carrier, passenger = make_delivery(endpoint), make_delivery(endpoint)
    Delivery.unscoped.filter(pk=passenger.pk).update(carrier=carrier, state="batched")
    client = browser_of("admin")
    page = client.get(page_url(carrier)).content.decode()
    assert "Goes out together with" in page
    assert page_url(passenger) in page
    page = client.get(page_url(passenger)).content.decode()
    assert page_url(carrier) in page
    assert "Send again" not in page


def test_a_payload_is_erased(world: World, browser_of: Browser) -> None:
    client = browser_of("admin")
    with scope(tenant=world.school):
        event = publish(tenant_id=world.school.pk, type="booking.made", object={"name": "Jane Wanjiku"}, key="k")
    assert "Jane Wanjiku" in client.get(page_url(event)).content.decode()
    assert said(press(client, event, "erase")) == ["The payload is erased."]
    page = client.get(page_url(event)).content.decode()
    assert "Jane Wanjiku" not in page
    assert "erased on" in page
    assert Event.unscoped.get(pk=event.pk).payload == ""


# --- the first page -------------------------------------------------------------------------------------------------------


def test_the_overview_tells_of_webhooks(world: World, browser_of: Browser, clock: MovableClock) -> None:
    for tenant in (world.school, world.studio):
        endpoint = make_endpoint(tenant, events=["booking.made"])
        EndpointHealth.unscoped.filter(endpoint=endpoint).update(failures=3)
        off = make_endpoint(tenant, events=["booking.made"])
        services.disable_endpoint(endpoint_id=off.pk, tenant_id=tenant.pk, reason="it answered 410 Gone")
        with scope(tenant=tenant):
            publish(tenant_id=tenant.pk, type="booking.made", object={}, key="k")

    def tiles(role: str) -> dict[str, str]:
        return {tile.label: tile.value for tile in browser_of(role).get("/admin/").context["board"].webhooks}

    mine = tiles("admin")
    assert (mine["Endpoints failing"], mine["Off by the hub"], mine["Dead since yesterday"]) == ("1", "1", "1")
    everybodys = tiles("operator")
    assert {name: int(value) for name, value in everybodys.items()} == {name: 2 * int(value) for name, value in mine.items()}
    assert tiles("staff") == {}
