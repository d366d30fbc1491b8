"""`/api/webhooks` over HTTP: what is shown, what is refused, and that tenants stay apart."""

from __future__ import annotations

from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.models import Role, Tenant
from integrations.tenancy.authentication import create_api_key
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/webhooks"
GOOD = {"url": "https://school.example/hook", "events": ["payment.*"]}


def client_of(tenant: Tenant, role: str = Role.ADMIN, scopes: list[str] | None = None) -> APIClient:
    with scope(tenant=tenant):
        _, key = create_api_key(tenant=tenant, name="test", role=role, scopes=scopes)
    return APIClient(headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def client(school: Tenant) -> APIClient:
    return client_of(school)


def test_create_read_change_delete(client: APIClient, school: Tenant) -> None:
    made = client.post(URL, {**GOOD, "name": "Fees", "headers": {"X-Token": "canary-value-0001"}})
    assert made.status_code == 201, made.content
    body = made.json()
    secret = body.pop("secret")
    endpoint = Endpoint.unscoped.get()
    assert [key["secret"] for key in endpoint.signing_keys()] == [secret]
    assert body["id"] == endpoint.pk
    assert (body["name"], body["url"], body["events"]) == ("Fees", GOOD["url"], ["payment.*"])
    assert (body["headers"], body["is_active"], body["disabled_reason"]) == ({"X-Token": "••••0001"}, True, "")

    one = f"{URL}/{endpoint.pk}"
    assert client.get(one).json() == body
    listed = client.get(URL).json()
    assert listed == {"next": None, "previous": None, "results": [body]}
    assert secret not in client.get(one).content.decode() + client.get(URL).content.decode()

    changed = client.patch(one, {"events": ["*", "*"], "is_active": False})
    assert changed.status_code == 200
    assert (changed.json()["events"], changed.json()["is_active"]) == (["*"], False)
    replaced = client.put(one, {**GOOD, "headers": {"x-token": "••••0001", "X-More": "new-value"}})
    assert replaced.status_code == 200, replaced.content
    endpoint.refresh_from_db()
    assert endpoint.headers() == {"x-token": "canary-value-0001", "X-More": "new-value"}
    assert (endpoint.name, endpoint.is_active) == ("", False), "what it leaves out of being on stays"
    assert [key["secret"] for key in endpoint.signing_keys()] == [secret]

    assert client.delete(one).status_code == 204
    assert client.get(one).status_code == 404
    assert client.delete(one).status_code == 404
    assert client.get(URL).json()["results"] == []
    assert Endpoint.unscoped.get().deleted_at is not None


@pytest.mark.parametrize(
    ("change", "attr"),
    [
        ({"url": None}, "url"),
        ({"url": "ftp://school.example/"}, "url"),
        ({"url": "https://user:pass@school.example/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "http://2130706433/"}, "url"),
        ({"url": "https://school.example:25/"}, "url"),
        ({"url": 5}, "url"),
        ({"events": []}, "events"),
        ({"events": ["no pattern"]}, "events.0"),
        ({"events": ["payment.*", {"a": 1}]}, "events.1"),
        ({"events": "payment.*"}, "events"),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"webhook-signature": "v1,x"}}, "headers"),
        ({"headers": {"Content-Length": "5"}}, "headers"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers"),
        ({"headers": {"X A": "a"}}, "headers"),
        ({"headers": {"X-A": "\u00e9"}}, "headers"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
        ({"headers": {"X-A": "••••"}}, "headers"),
        ({"headers": {f"X-{n}": "v" for n in range(21)}}, "headers"),
        ({"name": "n" * 101}, "name"),
        ({"is_active": "perhaps"}, "is_active"),
    ],
)
def test_bad_input_is_400_and_names_the_field(client: APIClient, change: dict[str, Any], attr: str) -> None:
    answer = client.post(URL, {**GOOD, **change})
    assert answer.status_code == 400, answer.content
    assert answer.json()["type"] == "validation_error"
    assert attr in [error["attr"] for error in answer.json()["errors"]]
    assert Endpoint.unscoped.count() == 0


def test_https_only_is_enforced_when_writing(client: APIClient, settings: Any) -> None:
    settings.OUTBOUND_HTTPS_ONLY = True
    answer = client.post(URL, {**GOOD, "url": "http://school.example/hook"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "blocked_url"


def test_deliveries_can_be_listed_read_and_sent_again(
    client: APIClient, school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school)
    receiver.answers["/hook"] = [Answer(500, body=b"no"), Answer(200)]
    event_id = publish(school)
    deliver()
    listing = f"{URL}/{endpoint.pk}/deliveries"
    [row] = client.get(listing).json()["results"]
    assert (row["event"], row["type"], row["object_id"]) == (event_id, "payment.completed", "pay_1")
    assert (row["state"], row["attempts"], row["attempts_allowed"], row["last_status"]) == ("pending", 1, 12, 500)
    assert row["next_attempt_at"] is not None
    assert client.get(listing, {"state": "delivered"}).json()["results"] == []
    assert len(client.get(listing, {"state": "pending", "type": "payment.completed"}).json()["results"]) == 1
    assert client.get(listing, {"state": "nonsense"}).status_code == 400

    detail = client.get(f"{listing}/{row['id']}").json()
    assert detail["payload"] == receiver.requests[0].body.decode()
    [attempt] = detail["tries"]
    assert (attempt["number"], attempt["status_code"], attempt["error_class"]) == (1, 500, "http_status")
    assert (attempt["response_head"], attempt["address"]) == ("no", "127.0.0.1")

    again = client.post(f"{listing}/{row['id']}/retry")
    assert again.status_code == 202, again.content
    deliver()
    assert client.get(f"{listing}/{row['id']}").json()["state"] == "delivered"
    assert [attempt["number"] for attempt in client.get(f"{listing}/{row['id']}").json()["tries"]] == [1, 2]


def test_a_test_event_is_delivered(client: APIClient, school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school, events=["payment.failed"])
    headers = {"Idempotency-Key": "once"}
    first = client.post(f"{URL}/{endpoint.pk}/test", headers=headers)
    assert first.status_code == 202, first.content
    second = client.post(f"{URL}/{endpoint.pk}/test", headers=headers)
    assert second.json() == first.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    deliver()
    assert len(receiver.requests) == 1
    assert Delivery.unscoped.get().state == DeliveryState.DELIVERED


def test_switched_off_is_409(client: APIClient, school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school, is_active=False)
    assert client.post(f"{URL}/{endpoint.pk}/test").status_code == 409
    assert Delivery.unscoped.count() == 0


def test_another_tenants_things_are_404(school: Tenant, studio: Tenant, make_endpoint: MakeEndpoint, client: APIClient) -> None:
    foreign, _ = make_endpoint(studio)
    mine, _ = make_endpoint(school, "/mine")
    publish(studio)
    delivery = Delivery.unscoped.get()
    before = Delivery.unscoped.values().get()
    one = f"{URL}/{foreign.pk}"
    answers = [
        client.get(one),
        client.put(one, GOOD),
        client.patch(one, {"name": "mine now"}),
        client.delete(one),
        client.post(f"{one}/test"),
        client.get(f"{one}/deliveries"),
        client.get(f"{one}/deliveries/{delivery.pk}"),
        client.post(f"{one}/deliveries/{delivery.pk}/retry"),
        client.get(f"{URL}/{mine.pk}/deliveries/{delivery.pk}"),
        client.post(f"{URL}/{mine.pk}/deliveries/{delivery.pk}/retry"),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert [row["id"] for row in client.get(URL).json()["results"]] == [mine.pk]
    assert Endpoint.unscoped.get(pk=foreign.pk).name == ""
    assert Delivery.unscoped.values().get() == before


def test_who_may(school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    one = f"{URL}/{endpoint.pk}"
    assert APIClient().get(URL).status_code == 401
    staff, auditor = client_of(school, Role.STAFF), client_of(school, Role.AUDITOR)
    assert (staff.get(URL).status_code, auditor.get(URL).status_code, auditor.delete(one).status_code) == (403, 200, 403)
    narrow = client_of(school, scopes=["webhooks:read"])
    assert (narrow.get(URL).status_code, narrow.post(URL, GOOD).status_code) == (200, 403)
    assert client_of(school, scopes=["payments"]).get(URL).status_code == 403
    assert Endpoint.unscoped.filter(deleted_at__isnull=True).count() == 1


def test_the_catalogue_is_served(client: APIClient) -> None:
    results = client.get(f"{URL}/event-types").json()
    [completed] = [entry for entry in results if entry["type"] == "payment.completed"]
    assert {"type", "description", "schema", "example"} <= set(completed)
    assert completed["example"]["data"]["object"]["amount"] == 1250000
