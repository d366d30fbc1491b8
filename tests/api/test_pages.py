"""Pages by cursor: every row once, whatever arrives meanwhile, and no page that looks at more rows than it may."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.models import CallLog, Tenant
from integrations.tenancy import pagination
from tests.factories import MovableClock, make_endpoint, make_item, make_log
from webhooks.outbound import selectors
from webhooks.outbound.models import Delivery, Event

pytestmark = pytest.mark.django_db
LOGS = "/api/v1/integrations/logs"
QUEUE = "/api/v1/integrations/queue"


def walked(client: APIClient, url: str, direction: str = "next") -> list[list[Any]]:
    """Return the ids of every page from this one on."""
    pages: list[list[Any]] = []
    while url:
        answer = client.get(url)
        assert answer.status_code == 200, answer.content
        pages.append([each["id"] for each in answer.json()["results"]])
        url = answer.json()[direction]
        assert len(pages) < 50
    return pages


def flat(pages: list[list[Any]]) -> list[Any]:
    return [each for page in pages for each in page]


def test_rows_of_one_moment_are_neither_lost_nor_told_twice(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    rows = [make_log(tenant).pk for _ in range(7)]
    CallLog.unscoped.update(created=clock.moment)
    assert walked(admin_api, f"{LOGS}?page_size=2") == [rows[6:4:-1], rows[4:2:-1], rows[2:0:-1], rows[:1]]
    assert flat(walked(admin_api, f"{LOGS}?page_size=3&ordering=id")) == rows


def test_the_way_back_shows_the_same_pages(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    rows = [make_log(tenant).pk for _ in range(5)][::-1]
    CallLog.unscoped.update(created=clock.moment)
    first = admin_api.get(f"{LOGS}?page_size=2").json()
    assert first["previous"] is None
    second = admin_api.get(first["next"]).json()
    third = admin_api.get(second["next"]).json()
    assert [each["id"] for each in third["results"]] == rows[4:]
    assert third["next"] is None
    assert walked(admin_api, third["previous"], "previous") == [rows[2:4], rows[:2]]
    back = admin_api.get(third["previous"]).json()
    assert [each["id"] for each in admin_api.get(back["next"]).json()["results"]] == rows[4:]


def test_what_arrives_meanwhile_moves_nothing(admin_api: APIClient, tenant: Tenant) -> None:
    rows = [make_log(tenant).pk for _ in range(4)]
    first = admin_api.get(f"{LOGS}?page_size=2").json()
    make_log(tenant)
    assert [each["id"] for each in admin_api.get(first["next"]).json()["results"]] == [rows[1], rows[0]]


@pytest.mark.parametrize("tokens", ["p=yesterday", "p=2026-01-01", "p=%00", "p=2026-01-01T00%3A00%3A00Z&p=x", "%ff"])
def test_a_cursor_that_we_did_not_make_is_not_found(admin_api: APIClient, tokens: str) -> None:
    assert admin_api.get(LOGS, {"cursor": b64encode(tokens.encode()).decode()}).status_code == 404
    assert admin_api.get(LOGS, {"cursor": "§"}).status_code == 404


def test_a_cursor_from_before_goes_on_at_its_time(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    old = make_log(tenant)
    clock.advance(hours=2)
    new = make_log(tenant)
    cursor = b64encode(f"p={new.created:%Y-%m-%d %H:%M:%S.%f}%2B00:00".encode()).decode()
    answer = admin_api.get(LOGS, {"cursor": cursor}).json()
    assert [each["id"] for each in answer["results"]] == [old.pk]


def test_a_filter_without_an_index_looks_at_so_many_rows_a_page(
    admin_api: APIClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "LOOKED_AT", 3)
    monkeypatch.setattr(pagination, "READ", 2)
    rows = [make_log(tenant, operation="rare" if number in (1, 2) else "send", error=f"no {number}").pk for number in range(8)]
    assert walked(admin_api, f"{LOGS}?operation=rare") == [[], [rows[2]], [rows[1]]]
    assert flat(walked(admin_api, f"{LOGS}?q=no+1")) == [rows[1]]
    assert [len(page) for page in walked(admin_api, f"{LOGS}?operation=send&page_size=2")] == [2, 2, 1, 1]
    assert flat(walked(admin_api, f"{LOGS}?operation=send&ordering=id&page_size=2")) == [rows[0], *rows[3:]]


def test_what_an_index_answers_is_not_limited(
    admin_api: APIClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(pagination, "LOOKED_AT", 1)
    first = make_log(tenant, provider="alpha", status="failed", reference_id="INV-1", external_reference="x", request_id="r").pk
    clock.advance(hours=2)
    for _ in range(5):
        make_log(tenant)
    for query in (
        "provider=alpha",
        "status=failed",
        "reference=INV-1",
        "external_reference=x",
        "request_id=r",
        "reference=INV-1&operation=send",
        "created_before=2026-11-20T10:00:00Z",
        "provider=alpha&created_before=2026-11-20T10:00:00Z&operation=send",
    ):
        assert walked(admin_api, f"{LOGS}?{query}") in ([[first]], [[first], []]), query


def test_only_what_is_open_is_listed_by_its_due_time(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    late, soon = make_item(tenant, due_at=clock.advance(hours=1)), make_item(tenant, due_at=clock.moment.replace(year=2025))
    make_item(tenant, state="completed")
    assert walked(admin_api, f"{QUEUE}?state=pending&ordering=due_at") == [[soon.pk, late.pk]]
    for query in ("ordering=due_at", "ordering=-due_at&state=completed", "ordering=due_at&state=pending&state=failed"):
        answer = admin_api.get(f"{QUEUE}?{query}")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["attr"] == "ordering"


def test_deliveries_are_paged_of_all_and_of_one_endpoint(admin_api: APIClient, tenant: Tenant, clock: MovableClock) -> None:
    endpoint, other = make_endpoint(tenant), make_endpoint(tenant, url="http://127.0.0.1:8999/other")
    made = []
    for number in range(5):
        event = Event.unscoped.create(tenant=tenant, type="payment.completed", key=str(number), payload="{}")
        made.append(Delivery.unscoped.create(tenant=tenant, event=event, endpoint=endpoint).pk)
        clock.advance(minutes=1)
    Delivery.unscoped.create(tenant=tenant, event=event, endpoint=other)
    newest = made[::-1]
    for url in (f"/api/v1/webhooks/{endpoint.pk}/deliveries?", f"/api/v1/integration/deliveries?endpoint={endpoint.pk}&"):
        assert walked(admin_api, f"{url}page_size=2") == [newest[:2], newest[2:4], newest[4:]]
        until = "created_before=2026-11-20T09:02:30Z"
        assert flat(walked(admin_api, f"{url}page_size=2&{until}")) == newest[2:]


def test_deliveries_of_a_type_are_found_by_its_events_where_these_are_few(
    admin_api: APIClient, tenant: Tenant, other_tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(pagination, "LOOKED_AT", 100)
    monkeypatch.setattr(pagination, "JOINED", 3)
    made: dict[str, list[str]] = {"rare": [], "common": []}
    for owner in (other_tenant, tenant):
        endpoint = make_endpoint(owner)
        for number in range(8):
            kind = "rare" if number in (1, 2) else "common"
            event = Event.unscoped.create(tenant=owner, type=kind, key=str(number), payload="{}")
            delivery = Delivery.unscoped.create(tenant=owner, event=event, endpoint=endpoint, state="failed")
            if owner == tenant:
                made[kind].insert(0, delivery.pk)
            clock.advance(minutes=1)
    urls = ("/api/v1/integration/deliveries", f"/api/v1/webhooks/{endpoint.pk}/deliveries", "/api/v1/webhooks/dead-letters")
    for url in urls:
        for named in (500, 2, 1):  # of few events: by their names; of more than may be named: by a look at each delivery's
            monkeypatch.setattr(selectors, "EVENTS_NAMED", named)
            assert walked(admin_api, f"{url}?type=rare") == [[], made["rare"][:1], made["rare"][1:]], (url, named)
            assert flat(walked(admin_api, f"{url}?type=common")) == made["common"], (url, named)
            assert flat(walked(admin_api, f"{url}?type=nothing")) == [], (url, named)


def test_what_failed_is_listed_from_everywhere(
    admin_api: APIClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    monkeypatch.setattr(pagination, "LOOKED_AT", 1)
    endpoint = make_endpoint(tenant)
    made = []
    for number in range(5):
        event = Event.unscoped.create(tenant=tenant, type="payment.completed", key=str(number), payload="{}")
        state = "failed" if number < 2 else "delivered"
        made.append(Delivery.unscoped.create(tenant=tenant, event=event, endpoint=endpoint, state=state).pk)
        clock.advance(minutes=1)
    assert walked(admin_api, "/api/v1/integration/deliveries?state=failed") == [made[1::-1]]
    delivered = walked(admin_api, "/api/v1/integration/deliveries?state=delivered")
    assert flat(delivered) == made[:1:-1]
    assert max(map(len, delivered)) == 1, "a row a page: no index answers it"
