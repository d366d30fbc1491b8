"""Dead letters: listed with their reason, sent again or set aside in bulk, and an alarm where they pile up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts import clock as hub_clock
from integrations.models import Alert, AuditEntry, Role, Tenant
from tests.factories import MovableClock, make_client, make_tenant
from webhooks.outbound.endpoints import services
from webhooks.outbound.models import Delivery, Endpoint, Event, RetentionPolicy
from webhooks.outbound.publishing.publish import owe, publish
from webhooks.outbound.recovery import dead_letters

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
URL = "/api/webhooks/dead-letters"


@pytest.fixture
def school(db: None) -> Tenant:
    return make_tenant("school")


@pytest.fixture
def client(school: Tenant) -> APIClient:
    return make_client(school)


def make_endpoint(tenant: Tenant, **fields: Any) -> Endpoint:
    values = {"url": "http://127.0.0.1:8999/x", "events": ["*"], **fields}
    with scope(tenant=tenant):
        return services.create_endpoint(tenant=tenant, **values)[0]


def dead(endpoint: Endpoint, count: int = 1, *, type: str = "payment.completed", **fields: Any) -> list[str]:
    """Give the endpoint dead letters; return their ids, oldest first."""
    values = {"state": "failed", "dead_reason": "exhausted", "attempts": 12, "finished_at": hub_clock.now(), **fields}
    ids = []
    with scope(tenant=endpoint.tenant):
        for _ in range(count):
            key = f"k{Event.objects.count()}"
            event = publish(tenant_id=endpoint.tenant_id, type=type, object={"id": "p"}, key=key, only=[])
            ids.append(owe(event, [endpoint], **values)[0].pk)
    return ids


def states(ids: list[str]) -> set[str]:
    return set(Delivery.unscoped.filter(pk__in=ids).values_list("state", flat=True))


def test_they_are_listed_newest_first_with_their_reason(client: APIClient, school: Tenant, clock: MovableClock) -> None:
    one, two = make_endpoint(school), make_endpoint(school)
    old = dead(one, dead_reason="too_old", last_error="it took too long")
    clock.advance(hours=1)
    new = dead(two, type="payment.failed")
    dead(one, state="pending", dead_reason="")
    discarded = dead(one, dead_reason="discarded")
    foreign = dead(make_endpoint(make_tenant("studio")))

    def ids(**query: Any) -> list[str]:
        answer = client.get(URL, query)
        assert answer.status_code == 200, answer.content
        return [row["id"] for row in answer.json()["results"]]

    assert ids() == [*new, *old]
    [row] = client.get(URL, {"reason": "too_old"}).json()["results"]
    assert (row["id"], row["dead_reason"], row["last_error"], row["state"]) == (
        old[0],
        "too_old",
        "it took too long",
        "failed",
    )
    assert ids(endpoint=two.pk) == ids(type="payment.failed") == ids(created_after=clock().isoformat()) == new
    assert ids(died_before=clock().isoformat()) == old
    assert ids(reason="discarded") == discarded
    assert ids(endpoint=foreign[0]) == []
    assert client.get(URL, {"reason": "bored"}).status_code == 400


def test_named_ones_are_sent_again_and_each_refusal_has_its_reason(client: APIClient, school: Tenant) -> None:
    endpoint, off = make_endpoint(school), make_endpoint(school)
    [one], [sent] = dead(endpoint), dead(endpoint, state="delivered")
    [stuck], [foreign] = dead(off), dead(make_endpoint(make_tenant("studio")))
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=off.pk, changes={"is_active": False})
    ids = [one, one, sent, stuck, foreign]
    answer = client.post(f"{URL}/redrive", {"ids": ids}, format="json")
    assert answer.status_code == 202, answer.content
    assert answer.json()["queued"] == 1
    assert answer.json()["more"] is False
    assert {row["id"]: row["reason"] for row in answer.json()["refused"]} == {
        sent: "It is delivered by now.",
        stuck: "The endpoint is switched off: switch it on first.",
        foreign: "There is no such dead letter.",
    }
    row = Delivery.unscoped.get(pk=one)
    assert (row.state, row.attempts, row.attempts_allowed, row.dead_reason) == ("pending", 12, 24, ""), "a whole schedule"
    entry = AuditEntry.unscoped.get(action="endpoint.redriven")
    assert (entry.object_id, entry.changes) == (endpoint.pk, {"count": [None, 1], "delivery": [None, one]})
    assert states([foreign]) == {"failed"}


def test_tries_are_those_of_the_endpoint_and_of_a_test_one(client: APIClient, school: Tenant) -> None:
    [letter] = dead(make_endpoint(school, retry_delays=[1.0, 2.0]), attempts=3)
    [test] = dead(make_endpoint(school), type="webhook.test", attempts=1)
    client.post(f"{URL}/redrive", {"ids": [letter, test]}, format="json")
    allowed = dict(Delivery.unscoped.values_list("pk", "attempts_allowed"))
    assert (allowed[letter], allowed[test]) == (3 + 3, 1 + 1)


def test_by_what_they_have_in_common_the_oldest_first(
    client: APIClient, school: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_AT_ONCE", 3)
    endpoint, off = make_endpoint(school), make_endpoint(school)
    stuck = dead(off, 4)
    letters = dead(endpoint, 5)
    others = dead(endpoint, 2, type="message.failed")
    dead(endpoint, dead_reason="discarded")
    with scope(tenant=school):
        services.update_endpoint(endpoint_id=off.pk, changes={"is_active": False})

    first = client.post(f"{URL}/redrive", {"type": "payment.completed"}, format="json").json()
    assert (first["queued"], first["more"]) == (3, True), "those that are stuck stand in nobody's way"
    assert {row["id"] for row in first["refused"]} == set(stuck)
    assert states(letters[:3]) == {"pending"}
    second = client.post(f"{URL}/redrive", {"type": "payment.completed", "endpoint": endpoint.pk}, format="json").json()
    assert second == {"queued": 2, "refused": [], "more": False}
    assert states(others) == {"failed"}

    ahead = (clock() + timedelta(hours=1)).isoformat()
    for narrow in ({"since": ahead}, {"until": clock().isoformat()}, {"reason": "gone"}):
        assert client.post(f"{URL}/redrive", narrow, format="json").json()["queued"] == 0
    given = {"since": clock().isoformat(), "until": ahead, "reason": "exhausted", "type": "message.failed"}
    assert client.post(f"{URL}/redrive", given, format="json").json()["queued"] == 2


def test_without_a_payload_they_stay_dead(client: APIClient, school: Tenant) -> None:
    endpoint = make_endpoint(school)
    [kept], [gone] = dead(endpoint), dead(endpoint)
    Event.unscoped.filter(deliveries__pk=gone).update(payload="")
    answer = client.post(f"{URL}/redrive", {"endpoint": endpoint.pk}, format="json").json()
    assert answer["refused"] == [{"id": gone, "reason": "The payload of this event is no longer kept."}]
    assert (states([kept]), states([gone])) == ({"pending"}, {"failed"})


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["nonsense"]}, "ids.0"),
        ({"ids": [f"dlv_{n:026d}" for n in range(501)]}, "ids"),
        ({"ids": ["dlv_" + "0" * 26], "type": "a.b"}, "ids"),
        ({"endpoint": "x"}, "endpoint"),
        ({"reason": "bored"}, "reason"),
        ({"since": "yesterday"}, "since"),
        ({"everything": True}, "everything"),
    ],
)
@pytest.mark.parametrize("action", ["redrive", "discard"])
def test_bad_selections(client: APIClient, school: Tenant, action: str, body: dict[str, Any], attr: str) -> None:
    ids = dead(make_endpoint(school))
    answer = client.post(f"{URL}/{action}", body, format="json")
    assert answer.status_code == 400, answer.content
    assert attr in [error["attr"] for error in answer.json()["errors"]]
    assert states(ids) == {"failed"}


def test_a_repeated_request_is_answered_as_before(client: APIClient, school: Tenant) -> None:
    ids = dead(make_endpoint(school), 2)
    first, second = (
        client.post(f"{URL}/redrive", {"ids": ids}, format="json", headers={"Idempotency-Key": "again"}) for _ in range(2)
    )
    assert first.json() == second.json() == {"queued": 2, "refused": [], "more": False}


def test_discarding_sets_aside_what_is_dead_and_gives_up_what_waits(
    client: APIClient, school: Tenant, clock: MovableClock
) -> None:
    endpoint = make_endpoint(school)
    [letter], [waiting], [delivered] = dead(endpoint), dead(endpoint, state="held"), dead(endpoint, state="delivered")
    [flying] = dead(endpoint, state="pending", lease_until=clock() + timedelta(seconds=9))
    [passenger] = dead(endpoint, state="batched", carrier_id=flying)
    ids = [letter, waiting, delivered, flying, passenger]
    answer = client.post(f"{URL}/discard", {"ids": ids}, format="json").json()
    assert (answer["discarded"], {row["id"] for row in answer["refused"]}) == (2, {delivered, flying, passenger})
    rows = {row.pk: (row.state, row.dead_reason) for row in Delivery.unscoped.filter(pk__in=ids)}
    assert rows[letter] == rows[waiting] == ("failed", "discarded")
    assert rows[passenger][0] == "batched"
    entry = AuditEntry.unscoped.get(action="endpoint.discarded")
    assert (entry.object_id, entry.changes) == (endpoint.pk, {"count": [None, 2]})
    assert client.get(URL).json()["results"] == []
    more = dead(endpoint, 2)
    assert client.post(f"{URL}/discard", {"endpoint": endpoint.pk}, format="json").json()["discarded"] == 2
    assert client.post(f"{URL}/redrive", {"ids": more}, format="json").json()["queued"] == 2, "it can be undone one by one"


def test_who_may(school: Tenant) -> None:
    for client in (make_client(school, Role.AUDITOR), make_client(school, scopes=["webhooks:read"])):
        assert client.get(URL).status_code == 200
        assert client.post(f"{URL}/redrive", {"type": "a.b"}, format="json").status_code == 403
        assert client.post(f"{URL}/discard", {"type": "a.b"}, format="json").status_code == 403
    assert make_client(school, Role.STAFF).get(URL).status_code == 403
    assert APIClient().get(URL).status_code == 401


# --- Alarm ----------------------------------------------------------------------------------------------------------------


def test_the_alarm_comes_and_goes(school: Tenant, settings: Any, clock: MovableClock) -> None:
    settings.WEBHOOK_DEAD_LETTER_ALARM = 2
    endpoint, calm = make_endpoint(school), make_endpoint(make_tenant("studio"))
    dead(endpoint, 2)
    dead(calm, 1)
    dead(endpoint, 3, type="webhook.test")
    dead(endpoint, dead_reason="discarded")
    dead(endpoint, dead_reason="deleted")
    assert dead_letters.check_alarms() == []
    dead(endpoint)
    assert dead_letters.check_alarms() == dead_letters.check_alarms() == [school.pk]
    alert = Alert.objects.get()
    assert (alert.kind, alert.tenant_id, alert.resolved_at) == ("webhook_dead_letters", school.pk, None)
    assert "3 webhook deliveries" in alert.message
    clock.advance(days=1, seconds=1)
    assert dead_letters.check_alarms() == []
    assert Alert.objects.get().resolved_at is not None


def test_a_tenant_has_its_own_limit(school: Tenant, settings: Any) -> None:
    settings.WEBHOOK_DEAD_LETTER_ALARM = 0
    dead(make_endpoint(school), 5)
    RetentionPolicy.unscoped.create(tenant=school, dead_letter_alarm=5)
    assert dead_letters.check_alarms() == []
    RetentionPolicy.unscoped.update(dead_letter_alarm=4)
    assert dead_letters.check_alarms() == [school.pk]
