from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest, NotConfigured
from integrations.events import DomainEvent
from integrations.messaging.models import Message, MessageEvent, Recipient, Suppression
from integrations.messaging.sms.services import send_sms
from integrations.models import Config, QueueItem, Tenant
from integrations.models.base import ForeignWrite
from tests.messaging.conftest import SLUG, Account, queue_items

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def everything() -> dict[str, int]:
    models: list[Any] = [Message, Recipient, MessageEvent, QueueItem, Suppression]
    return {model.__name__: model.unscoped.count() for model in models}


NOTHING = {"Message": 0, "Recipient": 0, "MessageEvent": 0, "QueueItem": 0, "Suppression": 0}


def test_a_text_is_accepted_with_rows_and_one_queue_item(school: Account) -> None:
    with clock.stopped_at(NOON):
        message = send_sms(
            tenant=school.tenant,
            to=["0712345678", "+254 700 000001", "254712345678"],
            message="School opens on Monday.",
            sender="DEMOSCHOOL",
            reference=("notice", "n-1"),
            category="bulk",
            created_by="key demo",
        )
    stored = Message.objects.get()
    assert (stored.pk, stored.provider, stored.config, stored.sender) == (message.pk, SLUG, school.config, "DEMOSCHOOL")
    assert (stored.segments, stored.encoding, stored.created, stored.send_at) == (1, "GSM-7", NOON, None)
    assert (stored.reference_type, stored.reference_id, stored.category) == ("notice", "n-1", "bulk")
    recipients = list(Recipient.objects.all())
    assert [(r.address, r.state) for r in recipients] == [("+254712345678", "queued"), ("+254700000001", "queued")]
    assert [(e.state, e.source, e.at) for e in MessageEvent.objects.all()] == [("queued", "hub", NOON)] * 2
    (item,) = queue_items()
    assert (item.kind, item.state, item.due_at, item.priority) == ("sms.send", "pending", NOON, 8)
    assert (item.reference_type, item.reference_id, item.config) == ("message", message.pk, school.config)
    assert item.payload == {"message": message.pk, "recipients": [r.pk for r in recipients]}


def test_calls_are_cut_to_the_configs_batch_size(school: Account) -> None:
    school.config.values = {**school.config.values, "batch_size": 2}
    school.config.save()
    send_sms(tenant=school.tenant, to=[f"+25471100010{n}" for n in range(5)], message="Hello")
    ids = list(Recipient.objects.order_by("id").values_list("pk", flat=True))
    assert [item.payload["recipients"] for item in queue_items()] == [ids[:2], ids[2:4], ids[4:]]


def test_the_adapters_batch_size_holds_where_the_config_says_nothing(school: Account) -> None:
    send_sms(tenant=school.tenant, to=[f"+254711000{n}" for n in range(100, 201)], message="Hello")
    assert [len(item.payload["recipients"]) for item in queue_items()] == [100, 1]


def test_a_scheduled_text_is_due_then(school: Account) -> None:
    later = clock.now() + timedelta(hours=3)
    send_sms(tenant=school.tenant, to=["0712345678"], message="Hello", send_at=later)
    (item,) = queue_items()
    assert item.due_at == later


def test_the_same_key_is_the_same_message(school: Account) -> None:
    first = send_sms(tenant=school.tenant, to=["0712345678"], message="Hello", key="receipt:pay_1")
    counts = everything()
    again = send_sms(tenant=school.tenant, to=["0799999999"], message="Something else", key="receipt:pay_1")
    assert again.pk == first.pk
    assert everything() == counts


def test_the_database_holds_a_key_once_per_tenant(school: Account, studio: Account) -> None:
    send_sms(tenant=school.tenant, to=["0712345678"], message="Hello", key="k")
    with scope(tenant=studio.tenant):
        send_sms(tenant=studio.tenant, to=["0712345678"], message="Hello", key="k")
    fields = {"provider": SLUG, "body": "x", "segments": 1, "encoding": "GSM-7", "key": "k"}
    with pytest.raises(IntegrityError), transaction.atomic():
        Message.objects.create(tenant=school.tenant, **fields)
    assert Message.unscoped.filter(key="k").count() == 2


def test_a_suppressed_number_fails_at_once_and_is_not_queued(school: Account, emitted: list[DomainEvent]) -> None:
    Suppression.objects.create(tenant=school.tenant, address="+254712345678", reason="opted out")
    message = send_sms(tenant=school.tenant, to=["0712345678", "0700000001"], message="Hello")
    suppressed, other = Recipient.objects.all()
    assert (suppressed.state, suppressed.detail) == ("failed", "on the suppression list: opted out")
    assert suppressed.provider_status == "suppressed"
    assert other.state == "queued"
    (item,) = queue_items()
    assert item.payload["recipients"] == [other.pk]
    (event,) = emitted
    assert (event.type, event.object_id, event.key) == ("message.failed", message.pk, f"{suppressed.pk}:failed")
    assert event.object["to"] == "+254712345678"


def test_another_tenants_suppression_does_not_count(school: Account, studio: Account) -> None:
    with scope(tenant=studio.tenant):
        Suppression.objects.create(tenant=studio.tenant, address="+254712345678", reason="opted out")
    send_sms(tenant=school.tenant, to=["0712345678"], message="Hello")
    assert Recipient.objects.get().state == "queued"


@pytest.mark.parametrize(
    ("changes", "attr", "text"),
    [
        ({"to": ["0712345678", "12"]}, "to", "Not phone numbers: 12."),
        ({"to": []}, "to", "At least one recipient is needed."),
        ({"to": ["0712345678"] * 50_001}, "to", "At most 50000 recipients."),
        ({"message": " \n"}, "message", "The message is empty."),
        ({"message": "a" * 1601}, "message", "The message has more than 1600 characters."),
        ({"message": "a\0b"}, "message", "Null characters can't be sent."),
        ({"sender": "S" * 21}, "sender", "The sender has more than 20 characters."),
        ({"category": "c" * 31}, "category", "The category has more than 30 characters."),
        ({"send_at": datetime(2030, 1, 1)}, "send_at", "The time needs an offset from UTC."),  # noqa: DTZ001 the bad case
    ],
)
def test_bad_requests_name_the_field_and_write_nothing(school: Account, changes: dict[str, Any], attr: str, text: str) -> None:
    given: dict[str, Any] = {"to": ["0712345678"], "message": "Hello", **changes}
    with pytest.raises(InvalidRequest) as caught:
        send_sms(tenant=school.tenant, **given)
    assert (caught.value.attr, caught.value.message) == (attr, text)
    assert everything() == NOTHING


def test_without_an_account_nothing_is_written(school: Account) -> None:
    Config.objects.update(is_active=False)
    with pytest.raises(NotConfigured):
        send_sms(tenant=school.tenant, to=["0712345678"], message="Hello")
    assert everything() == NOTHING


@pytest.mark.parametrize("choice", [{"provider": "nobody"}, {"config_id": 0}])
def test_an_account_that_is_not_there_is_not_replaced_by_another(school: Account, choice: dict[str, Any]) -> None:
    with pytest.raises(NotConfigured):
        send_sms(tenant=school.tenant, to=["0712345678"], message="Hello", **choice)
    assert everything() == NOTHING


def test_another_tenants_config_is_not_ours(school: Account, studio: Account) -> None:
    with pytest.raises(NotConfigured):
        send_sms(tenant=school.tenant, to=["0712345678"], message="Hello", config_id=studio.config.pk)
    assert everything() == NOTHING


def test_the_callers_rollback_takes_everything_back(school: Account) -> None:
    with transaction.atomic():
        send_sms(tenant=school.tenant, to=["0712345678"], message="Hello")
        transaction.set_rollback(True)
    assert everything() == NOTHING


def test_a_foreign_scope_may_not_write(school: Account, studio: Account) -> None:
    with pytest.raises(ForeignWrite), transaction.atomic():
        send_sms(tenant=studio.tenant, to=["0712345678"], message="Hello")
    assert everything() == NOTHING


@pytest.mark.parametrize("relation", ["recipient.message", "message.config", "event.recipient", "report.config"])
def test_the_database_refuses_to_tie_two_tenants_rows(school: Account, studio: Account, relation: str) -> None:
    message = send_sms(tenant=school.tenant, to=["0712345678"], message="Hello")
    recipient = Recipient.objects.get()
    other: Tenant = studio.tenant
    statements = {
        "recipient.message": ("UPDATE messaging_recipient SET tenant_id = %s WHERE id = %s", [other.pk, recipient.pk]),
        "message.config": ("UPDATE messaging_message SET config_id = %s WHERE id = %s", [studio.config.pk, message.pk]),
        "event.recipient": (
            "UPDATE messaging_messageevent SET tenant_id = %s WHERE recipient_id = %s",
            [other.pk, recipient.pk],
        ),
        "report.config": (
            "INSERT INTO messaging_unmatchedreport (tenant_id, config_id, provider, provider_ref, address, payload, created)"
            " VALUES (%s, %s, 'p', 'r', 'n', '{}', now())",
            [school.tenant.pk, studio.config.pk],
        ),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError), transaction.atomic():
            cursor.execute(*statements[relation])
