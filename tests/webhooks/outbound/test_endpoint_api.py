"""`/api/webhooks`: all that an endpoint may be, what is on record of it, and its replays, over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.contracts import clock
from integrations.models import AuditEntry, IdempotencyRecord, Tenant
from tests.factories import make_tenant
from tests.webhooks.outbound.conftest import Answer, MakeEndpoint, Receiver, deliver, publish
from tests.webhooks.outbound.test_api import GOOD, URL, client_of
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint, Event

pytestmark = pytest.mark.django_db


@pytest.fixture
def school(db: None) -> Tenant:
    return make_tenant("school")


@pytest.fixture
def client(school: Tenant) -> APIClient:
    return client_of(school)


WHOLE: dict[str, Any] = {
    "channels": ["fees", "term 1"],
    "filter": {"data.object.amount": {"$gte": 100}},
    "payload_format": "flat",
    "ordering": "object",
    "batch_size": 20,
    "batch_wait": 30,
    "max_in_flight": 2,
    "rate_per_second": 0.5,
    "retry_delays": [1.0, 60.0, 86400.0],
}


def test_every_setting_is_stored_shown_and_put_back(client: APIClient) -> None:
    made = client.post(URL, {**GOOD, **WHOLE}, format="json")
    assert made.status_code == 201, made.content
    one = f"{URL}/{made.json()['id']}"
    assert {name: client.get(one).json()[name] for name in WHOLE} == WHOLE
    assert client.patch(one, {"filter": None, "rate_per_second": None}, format="json").json()["filter"] is None
    plain = client.put(one, GOOD, format="json").json()
    assert {name: plain[name] for name in WHOLE} == {
        "channels": [],
        "filter": None,
        "payload_format": "standard",
        "ordering": "none",
        "batch_size": 1,
        "batch_wait": 5,
        "max_in_flight": 8,
        "rate_per_second": None,
        "retry_delays": [],
    }


@pytest.mark.parametrize(
    ("change", "attr"),
    [
        ({"channels": [""]}, "channels.0"),
        ({"channels": [f"c{n}" for n in range(21)]}, "channels"),
        ({"filter": []}, "filter"),
        ({"filter": {"data.object.a": {"$like": 1}}}, "filter"),
        ({"filter": {"a": "\x00"}}, "filter"),
        ({"payload_format": "xml"}, "payload_format"),
        ({"ordering": "random"}, "ordering"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 101}, "batch_size"),
        ({"batch_wait": 301}, "batch_wait"),
        ({"max_in_flight": 65}, "max_in_flight"),
        ({"rate_per_second": 0.009}, "rate_per_second"),
        ({"rate_per_second": 1001}, "rate_per_second"),
        ({"rate_per_second": "nan"}, "rate_per_second"),
        ({"retry_delays": [0.5]}, "retry_delays.0"),
        ({"retry_delays": [5, 86_401]}, "retry_delays.1"),
        ({"retry_delays": ["nan"]}, "retry_delays.0"),
        ({"retry_delays": [1] * 21}, "retry_delays"),
        ({"retry_delays": [86_400] * 8}, "retry_delays"),
        ({"held": "send"}, "held"),
        ({"scheme": "v2"}, "scheme"),
        ({"id": "we_1"}, "id"),
        ({"health": {}}, "health"),
    ],
)
def test_settings_that_make_no_sense(client: APIClient, change: dict[str, Any], attr: str) -> None:
    answer = client.post(URL, {**GOOD, **change}, format="json")
    assert answer.status_code == 400, answer.content
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]
    assert Endpoint.unscoped.count() == 0


def test_a_secret_of_ones_own_is_for_creating_only(client: APIClient) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = client.post(URL, {**GOOD, "secret": secret}, format="json").json()
    assert made["secret"] == secret
    [key] = made["signing"]
    assert (set(key), key["scheme"], key["expires_at"]) == ({"id", "scheme", "created", "expires_at"}, "v1", None)
    for change in ({"secret": secret}, {"scheme": "v1a"}):
        answer = client.patch(f"{URL}/{made['id']}", change, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, next(iter(change)))


def test_what_an_endpoint_wants_is_replaced_alone(client: APIClient) -> None:
    made = client.post(URL, {**GOOD, **WHOLE, "name": "Fees"}, format="json").json()
    url = f"{URL}/{made['id']}/events"
    changed = client.put(url, {"events": ["message.*"], "channels": ["sms"]}, format="json")
    assert changed.status_code == 200, changed.content
    body = changed.json()
    assert (body["events"], body["channels"], body["filter"]) == (["message.*"], ["sms"], None)
    assert (body["name"], body["batch_size"]) == ("Fees", 20)
    for bad, attr in (({}, "events"), ({"events": ["x"]}, "events.0"), ({"events": ["*"], "name": "n"}, "name")):
        answer = client.put(url, bad, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)


@pytest.mark.parametrize(
    ("held", "state", "reason"), [(None, "pending", ""), ("send", "pending", ""), ("discard", "failed", "discarded")]
)
def test_switching_on_sends_what_was_held_or_discards_it(
    client: APIClient, school: Tenant, make_endpoint: MakeEndpoint, held: str | None, state: str, reason: str
) -> None:
    endpoint, _ = make_endpoint(school, is_active=False)
    publish(school)
    assert Delivery.unscoped.get().state == DeliveryState.HELD
    one = f"{URL}/{endpoint.pk}"
    assert client.patch(one, {"held": "discard"}, format="json").status_code == 400
    answer = client.patch(one, {"is_active": True, **({"held": held} if held else {})}, format="json")
    assert answer.status_code == 200, answer.content
    row = Delivery.unscoped.get()
    assert (row.state, row.dead_reason) == (state, reason)


def test_discarding_when_switching_on_is_on_record(client: APIClient, school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school, is_active=False)
    publish(school)
    publish(school, "k2")
    client.patch(f"{URL}/{endpoint.pk}", {"is_active": True, "held": "discard"}, format="json")
    entry = AuditEntry.unscoped.get(action="endpoint.discarded")
    assert (entry.object_id, entry.changes) == (endpoint.pk, {"count": [None, 2]})


@pytest.mark.parametrize(("held", "state", "allowed"), [("send", "pending", 7 + 4), ("discard", "failed", 4)])
@pytest.mark.parametrize("left", ["pending", "gathering", "held"])
def test_switching_on_takes_whatever_is_at_rest(
    client: APIClient, school: Tenant, make_endpoint: MakeEndpoint, left: str, held: str, state: str, allowed: int
) -> None:
    """Also what a dead worker left, and what lost the batch it was in."""
    endpoint, _ = make_endpoint(school, is_active=False, retry_delays=[1.0, 2.0, 3.0])
    publish(school)
    Delivery.unscoped.update(state=left, attempts=7, lease_until=clock.now() - timedelta(days=1))
    client.patch(f"{URL}/{endpoint.pk}", {"is_active": True, "held": held}, format="json")
    row = Delivery.unscoped.get()
    assert (row.state, row.attempts_allowed) == (state, allowed), "sent, it has a whole schedule"


def test_a_put_leaves_it_on_or_off_unless_it_says(client: APIClient) -> None:
    one = f"{URL}/{client.post(URL, GOOD, format='json').json()['id']}"
    assert client.put(one, GOOD, format="json").json()["is_active"] is True
    client.patch(one, {"is_active": False}, format="json")
    assert client.put(one, GOOD, format="json").json()["is_active"] is False
    assert client.put(one, {**GOOD, "is_active": True}, format="json").json()["is_active"] is True
    assert client.post(URL, {**GOOD, "is_active": False}, format="json").json()["is_active"] is False


@pytest.mark.parametrize("overlap", [0, 60])
def test_a_create_that_is_repeated_answers_the_secret_of_then(client: APIClient, school: Tenant, overlap: int) -> None:
    """The first request made the endpoint and died before it answered; since then the secret was rotated."""
    made = client.post(URL, GOOD, format="json", headers={"Idempotency-Key": "c1"}).json()
    rotation = client.post(f"{URL}/{made['id']}/rotate-secret", {"overlap_seconds": overlap}, format="json")
    assert rotation.status_code == 200, rotation.content
    IdempotencyRecord.unscoped.filter(key="c1").update(status_code=None, sealed_response="", lease=None)
    again = client.post(URL, GOOD, format="json", headers={"Idempotency-Key": "c1"}).json()
    assert (again["id"], again["secret"]) == (made["id"], made["secret"] if overlap else None)


def test_health_is_shown(client: APIClient, school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    health = client.get(f"{URL}/{endpoint.pk}").json()["health"]
    assert health == {
        "breaker": "closed",
        "failures": 0,
        "failing_since": None,
        "paused_until": None,
        "last_success_at": None,
        "last_failure_at": None,
        "disabled_at": None,
    }
    services.disable_endpoint(endpoint_id=endpoint.pk, tenant_id=school.pk, reason="it keeps failing")
    shown = client.get(f"{URL}/{endpoint.pk}").json()
    assert (shown["is_active"], shown["disabled_reason"]) == (False, "it keeps failing")
    assert shown["health"]["disabled_at"] is not None
    assert [row["id"] for row in client.get(URL, {"is_active": "false"}).json()["results"]] == [endpoint.pk]
    assert client.get(URL, {"is_active": "true"}).json()["results"] == []


def test_changes_are_on_record_without_secrets(client: APIClient, school: Tenant) -> None:
    headers = {"X-Token": "canary-value-0001"}
    made = client.post(URL, {**GOOD, "headers": headers}, format="json").json()
    one = f"{URL}/{made['id']}"
    client.patch(one, {"name": "Fees", "headers": {"X-Token": "canary-value-0002"}}, format="json")
    client.patch(one, {"name": "Fees"}, format="json")  # nothing changes
    client.patch(one, {"is_active": False}, format="json")
    services.disable_endpoint(endpoint_id=made["id"], tenant_id=school.pk, reason="it answered 410 Gone")  # it is off
    client.patch(one, {"is_active": True}, format="json")
    services.disable_endpoint(endpoint_id=made["id"], tenant_id=school.pk, reason="it answered 410 Gone")
    client.delete(one)
    entries = list(AuditEntry.unscoped.filter(object_type="endpoint", object_id=made["id"]).order_by("pk"))
    assert [entry.action for entry in entries] == [
        "endpoint.created",
        "endpoint.updated",
        "endpoint.disabled",
        "endpoint.enabled",
        "endpoint.disabled",
        "endpoint.deleted",
    ]
    assert entries[1].changes == {"name": ["", "Fees"], "headers": ["••••", "••••"]}
    assert entries[4].changes["disabled_reason"] == ["", "it answered 410 Gone"]
    assert "canary" not in str([entry.changes for entry in entries])
    assert made["secret"] not in str([entry.changes for entry in entries])


@pytest.mark.django_db(transaction=True)
def test_a_delivery_shows_what_was_sent_and_answered(
    client: APIClient, school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school, payload_format="flat", headers={"X-Token": "canary-value-0001"})
    receiver.answers["/hook"] = [Answer(200, headers={"X-Answer": "yes", "Set-Cookie": "session=canary-2"})]
    publish(school)
    deliver()
    [row] = client.get(f"{URL}/{endpoint.pk}/deliveries").json()["results"]
    answer = client.get(f"{URL}/{endpoint.pk}/deliveries/{row['id']}")
    detail = answer.json()
    assert detail["payload"] == receiver.requests[0].body.decode()
    assert '"event":"payment.completed"' in detail["payload"]
    assert (detail["passengers"], detail["carrier"], detail["delivered_at"]) == ([], None, detail["finished_at"])
    [attempt] = detail["tries"]
    sent = {name.lower(): value for name, value in attempt["request_headers"].items()}
    assert sent["webhook-id"] == receiver.requests[0].headers["webhook-id"]
    assert {name.lower(): value for name, value in attempt["response_headers"].items()}["x-answer"] == "yes"
    assert attempt["lag_ms"] >= 0
    assert "canary" not in answer.content.decode()
    assert receiver.requests[0].headers["webhook-signature"] not in answer.content.decode()
    Event.unscoped.update(payload="")
    assert client.get(f"{URL}/{endpoint.pk}/deliveries/{row['id']}").json()["payload"] is None


@pytest.mark.django_db(transaction=True)
def test_a_batch_shows_its_passengers_and_one_body(
    client: APIClient, school: Tenant, receiver: Receiver, make_endpoint: MakeEndpoint
) -> None:
    endpoint, _ = make_endpoint(school, batch_size=2)
    publish(school)
    publish(school, "k2")
    deliver(stop=lambda: not Delivery.unscoped.exclude(state="delivered").exists())
    first, second = Delivery.unscoped.order_by("position")
    listing = f"{URL}/{endpoint.pk}/deliveries"
    carrier, passenger = client.get(f"{listing}/{first.pk}").json(), client.get(f"{listing}/{second.pk}").json()
    assert carrier["payload"] == receiver.requests[0].body.decode()
    assert (carrier["passengers"], len(carrier["tries"])) == ([second.pk], 1)
    assert (passenger["carrier"], passenger["passengers"], passenger["tries"]) == (first.pk, [], [])
    assert passenger["payload"] == second.event.payload


def test_replays_over_the_api(client: APIClient, school: Tenant, make_endpoint: MakeEndpoint) -> None:
    endpoint, _ = make_endpoint(school)
    publish(school)
    publish(school, "k2", type="payment.failed")
    Delivery.unscoped.update(state="failed", attempts=12)
    one = f"{URL}/{endpoint.pk}"
    since = (clock.now() - timedelta(hours=1)).isoformat()
    counted = client.post(f"{one}/replay", {"since": since, "dry_run": True}, format="json")
    assert (counted.status_code, counted.json()) == (
        200,
        {"count": 2, "by_type": {"payment.completed": 1, "payment.failed": 1}, "exact": True},
    )
    body = {"since": since, "types": ["payment.failed"]}
    first, again = (client.post(f"{one}/replay", body, format="json", headers={"Idempotency-Key": "r"}) for _ in range(2))
    assert (first.status_code, again.json()) == (202, first.json())
    replay = first.json()
    assert (replay["state"], replay["status"], replay["total"], replay["requested_by"]) == ("running", "failed", 1, "key test")
    assert client.post(f"{one}/replay", body, format="json").status_code == 409
    assert client.get(f"{one}/replays/{replay['id']}").json() == replay
    assert client.get(f"{one}/replays", {"state": "running"}).json()["results"] == [replay]
    assert client.delete(f"{one}/replays/{replay['id']}").json()["state"] == "cancelled"
    other, _ = make_endpoint(school, "/other")
    assert client.get(f"{URL}/{other.pk}/replays/{replay['id']}").status_code == 404
    assert client.delete(f"{URL}/{other.pk}/replays/{replay['id']}").status_code == 404
    for bad, attr in (
        ({}, "since"),
        ({"since": "2020-01-01T00:00:00Z"}, "since"),
        ({"since": since, "until": since}, "until"),
        ({"since": since, "status": "some"}, "status"),
        ({"since": since, "types": ["x"]}, "types.0"),
    ):
        answer = client.post(f"{one}/replay", bad, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)
    client.patch(one, {"is_active": False}, format="json")
    assert client.post(f"{one}/replay", body, format="json").status_code == 409


def test_there_is_an_end_to_how_many_endpoints(client: APIClient, settings: Any) -> None:
    settings.WEBHOOK_MAX_ENDPOINTS = 2
    first, second, third = (client.post(URL, GOOD, format="json") for _ in range(3))
    assert (first.status_code, second.status_code, third.status_code) == (201, 201, 409)
    assert "at most 2 endpoints" in third.content.decode()
    assert Endpoint.unscoped.count() == 2
    assert client.delete(f"{URL}/{first.json()['id']}").status_code == 204
    assert client.post(URL, GOOD, format="json").status_code == 201
