"""How long messages are kept: for good unless somebody says otherwise, then with all that belongs to them, in bounded runs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.db.models import QuerySet
from django_scopes import scope

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import MessageState
from integrations.messaging.models import (
    Attachment,
    InboundMessage,
    Message,
    MessageEvent,
    Recipient,
    RecipientList,
    SendingPolicy,
)
from integrations.messaging.reports import publish_references
from integrations.messaging.safety import retention as messaging
from integrations.messaging.safety.spending import spent
from integrations.models import ExternalReference, LogRetention, Tenant
from integrations.runtime import keeping, retention
from tests.factories import MovableClock, make_inbound

pytestmark = pytest.mark.django_db


def left(rows: QuerySet[Any]) -> set[Any]:
    return set(rows.values_list("pk", flat=True))


def make_message(tenant: Tenant, clock: MovableClock, days: int, *states: str, **fields: Any) -> str:
    made = clock.moment - timedelta(days=days)
    message = Message.unscoped.create(tenant=tenant, provider="x", created=made, **fields)
    for number, state in enumerate(states):
        person = Recipient.unscoped.create(
            tenant=tenant, message=message, address=f"+25471234567{number}", state=state, updated=made
        )
        MessageEvent.unscoped.create(tenant=tenant, recipient=person, at=made, state=state, source="provider")
    return message.pk


def test_messages_go_with_all_that_belongs_to_them(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    LogRetention.unscoped.create(tenant=tenant, message_days=100)
    make_message(tenant, clock, 101, "delivered", "failed", "sent", "bounced", "read")
    make_message(tenant, clock, 101)
    kept = {
        make_message(tenant, clock, 99, "delivered"),
        make_message(tenant, clock, 101, "delivered", MessageState.QUEUED),
        make_message(tenant, clock, 101, MessageState.UNKNOWN),
        make_message(tenant, clock, 101, recipient_list=RecipientList.unscoped.create(tenant=tenant)),
        make_message(tenant, clock, 101, send_at=clock.moment),
    }
    make_inbound(tenant, received_at=clock.moment - timedelta(days=101))
    young = make_inbound(tenant, received_at=clock.moment - timedelta(days=99)).pk
    counts = messaging.purge()
    assert (counts["messages"], counts["inbound_messages"]) == (2 + 5 + 5, 1)
    assert left(Message.unscoped.all()) == kept
    assert left(InboundMessage.unscoped.all()) == {young}
    assert Recipient.unscoped.exclude(message_id__in=kept).count() == 0


def test_messages_are_kept_for_good_unless_somebody_says_otherwise(
    tenant: Tenant, other_tenant: Tenant, clock: MovableClock, settings: Any
) -> None:
    def kept(whose: Tenant) -> set[Any]:
        received = make_inbound(whose, received_at=clock.moment - timedelta(days=5000)).pk
        return {make_message(whose, clock, 5000, "delivered"), received}

    settings.MESSAGE_RETENTION_DAYS = 400
    LogRetention.unscoped.create(tenant=other_tenant, message_days=keeping.FOR_GOOD)
    kept(tenant)
    theirs = kept(other_tenant)
    messaging.purge()
    assert left(Message.unscoped.all()) | left(InboundMessage.unscoped.all()) == theirs
    settings.MESSAGE_RETENTION_DAYS = keeping.FOR_GOOD
    mine = kept(tenant)
    messaging.purge()
    assert left(Message.unscoped.all()) | left(InboundMessage.unscoped.all()) == theirs | mine
    with pytest.raises(ValueError, match="for good"):
        keeping.days_ago(keeping.FOR_GOOD)


def test_no_word_of_anybody_keeps_messages_shorter_than_a_month_is_long(
    tenant: Tenant, clock: MovableClock, settings: Any
) -> None:
    """What was spent in a month is the sum of its messages: who deleted them sooner would have his cap anew."""
    settings.MESSAGE_RETENTION_DAYS = 1
    with scope(tenant=tenant):
        for days in (1, 31):
            with pytest.raises(InvalidRequest) as refused, transaction.atomic():
                keeping.save_policy(tenant=tenant, values={"message_days": days})
            assert refused.value.attr == "message_days"
        for days in (32, keeping.FOR_GOOD):
            assert keeping.save_policy(tenant=tenant, values={"message_days": days}).message_days == days
    LogRetention.unscoped.all().delete()
    clock.moment = clock.moment.replace(month=12, day=31, hour=20)
    policy = SendingPolicy.unscoped.create(
        tenant=tenant, channel="sms", unit_cost=Decimal(50), currency="KES", spend_cap=Decimal(100), spend_period="month"
    )
    for days in (30, 1):
        make_message(tenant, clock, days, "delivered", unit_cost=Decimal(50), currency="KES")
    messaging.purge()
    assert spent(tenant, policy, clock.moment) == 100


def test_the_providers_ids_go_with_their_message_and_no_others(tenant: Tenant, clock: MovableClock) -> None:
    LogRetention.unscoped.create(tenant=tenant, message_days=100)
    for days in (101, 99):
        people = list(Recipient.unscoped.filter(message=make_message(tenant, clock, days, "delivered", "read")))
        for each in people:
            each.provider_ref = f"ref-{each.pk}"
        publish_references(people)
    other = ExternalReference.unscoped.create(
        tenant=tenant, provider="x", kind="shortcode", external_id="1", object_type="config", object_id="1"
    )
    assert messaging.purge()["messages"] == 1 + 2 + 2 + 2
    assert left(ExternalReference.unscoped.filter(kind="message", object_id=Message.unscoped.get().pk)) | {other.pk} == left(
        ExternalReference.unscoped.all()
    )
    assert ExternalReference.unscoped.count() == 3


def test_a_run_ends_within_a_message_of_very_many_and_the_next_one_goes_on(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    LogRetention.unscoped.create(tenant=tenant, message_days=100)
    large = make_message(tenant, clock, 102, *["delivered"] * 5)
    make_message(tenant, clock, 101, "delivered")
    policy = keeping.kept_by(LogRetention.unscoped.get())
    rest = []
    for _ in range(4):
        span = retention.Span(0)
        messaging._delete_messages(tenant.pk, policy, span)
        rest.append((Recipient.unscoped.count(), Message.unscoped.count(), span.unfinished))
    assert rest == [(4, 2, True), (2, 2, True), (1, 1, True), (0, 0, False)], large


def test_attachments_are_emptied_in_bounded_runs_too(
    tenant: Tenant, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messaging, "BATCH", 2)
    for _ in range(5):
        Attachment.unscoped.create(
            tenant=tenant, message_id=make_message(tenant, clock, 31, "delivered"), filename="a", size=1, content=b"a"
        )
    monkeypatch.setattr(retention, "LONGEST", 0.0)
    span = retention.Span(0)
    assert messaging._empty_attachments(clock.moment - messaging.KEPT, span) == 2
    assert span.unfinished
    assert messaging.purge()["attachments"] == 2, "each kind has one batch at least"
    assert messaging.purge()["attachments"] == 1
