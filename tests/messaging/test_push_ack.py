"""What apps tell of notifications, through their own backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django_scopes import scope
from rest_framework.test import APIClient

from integrations.contracts.messaging import MessageState
from integrations.messaging.models import Recipient
from integrations.messaging.push.pushes import send_push
from integrations.messaging.transitions import advance
from integrations.models import Attempt, Config, QueueItem, Tenant
from tests.factories import MovableClock, make_config

pytestmark = pytest.mark.django_db
TOKEN = "cR3x:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx"
OTHER = "fQ7y:APA91bFoi3lMMre9G3XzR1LrF4ZT82_15MsMdEI"


@pytest.fixture(autouse=True)
def _in_scope(tenant: Tenant) -> Iterator[None]:
    with scope(tenant=tenant):
        yield


@pytest.fixture
def fcm(tenant: Tenant) -> Config:
    return make_config(tenant, "fcm")


def sent(tenant: Tenant, *tokens: str, state: MessageState = MessageState.SENT) -> list[Recipient]:
    message = send_push(tenant=tenant, to=tokens, body="x")
    found = list(Recipient.objects.filter(message=message).order_by("id"))
    for each in found:
        if state is not MessageState.QUEUED:
            advance(each, state, at=message.created, source="provider")
    return found


def ack(api: APIClient, **body: Any) -> Any:
    return api.post("/api/v1/integrations/push/ack", {"event": "delivered", **body}, format="json")


def test_delivered_and_opened_once(admin_api: APIClient, tenant: Tenant, fcm: Config, clock: MovableClock) -> None:
    (recipient,) = sent(tenant, TOKEN)
    clock.advance(5)
    first = ack(admin_api, message=recipient.message_id)
    assert (first.status_code, first.json()["status"], first.json()["opened_at"]) == (200, "delivered", None)
    clock.advance(5)
    opened = ack(admin_api, ref=f"r{recipient.pk}", event="opened").json()
    clock.advance(5)
    again = ack(admin_api, message=recipient.message_id, token=TOKEN, event="opened").json()
    assert opened == again
    recipient.refresh_from_db()
    assert recipient.opened_at is not None
    assert [(each.state, each.engagement, each.source) for each in recipient.events.order_by("id")][-2:] == [
        ("delivered", "", "app"),
        ("", "opened", "app"),
    ]


def test_opening_is_arriving_and_ends_a_doubt(admin_api: APIClient, tenant: Tenant, fcm: Config) -> None:
    (recipient,) = sent(tenant, TOKEN, state=MessageState.UNKNOWN)
    QueueItem.objects.filter(kind="push.send").update(state="needs_review")
    assert ack(admin_api, message=recipient.message_id, event="opened").json()["status"] == "delivered"
    assert QueueItem.objects.get(kind="push.send").state == "completed"


def test_of_several_devices_one_must_be_named(admin_api: APIClient, tenant: Tenant, fcm: Config) -> None:
    one, two = sent(tenant, TOKEN, OTHER)
    assert ack(admin_api, message=one.message_id).json()["errors"][0]["attr"] == "token"
    assert ack(admin_api, message=one.message_id, token=OTHER).status_code == 200
    states = [Recipient.objects.get(pk=each.pk).state for each in (one, two)]
    assert states == ["sent", "delivered"]


def test_what_was_never_sent_was_never_delivered(admin_api: APIClient, tenant: Tenant, fcm: Config) -> None:
    (recipient,) = sent(tenant, TOKEN, state=MessageState.QUEUED)
    assert ack(admin_api, message=recipient.message_id).status_code == 409
    item = QueueItem.objects.get(kind="push.send")
    Attempt.unscoped.create(tenant=tenant, item=item, fence=1, operation="send", started_at=item.created)
    assert ack(admin_api, message=recipient.message_id).json()["status"] == "delivered"


@pytest.mark.parametrize(
    ("given", "status", "attr"),
    [
        ({}, 400, "message"),
        ({"event": "read", "ref": "r1"}, 400, "event"),
        ({"ref": "x1"}, 400, "ref"),
        ({"ref": "r"}, 400, "ref"),
        ({"ref": "r" + "9" * 19}, 400, "ref"),
        ({"ref": "r²"}, 400, "ref"),
        ({"message": "msg_1"}, 400, "message"),
        ({"ref": "r1", "token": "x"}, 400, "token"),
        ({"ref": "r999999999"}, 404, None),
        ({"message": "msg_" + "0" * 26}, 404, None),
    ],
)
def test_acknowledging_what_is_not_there(admin_api: APIClient, given: dict[str, Any], status: int, attr: str | None) -> None:
    answer = ack(admin_api, **given)
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (status, attr)


def test_a_topics_message_and_anothers_are_not_acknowledged(
    admin_api: APIClient, tenant: Tenant, fcm: Config, other_tenant: Tenant
) -> None:
    to_topic = send_push(tenant=tenant, topic="news", body="x")
    assert ack(admin_api, message=to_topic.pk).json()["errors"][0]["attr"] == "message"
    with scope(tenant=other_tenant):
        make_config(other_tenant, "fcm", account="studio")
        (theirs,) = sent(other_tenant, TOKEN)
    for named in ({"message": theirs.message_id}, {"ref": f"r{theirs.pk}"}):
        assert ack(admin_api, **named).status_code == 404
    with scope(tenant=other_tenant):
        assert Recipient.objects.get(pk=theirs.pk).state == "sent"
