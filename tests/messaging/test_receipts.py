from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.events import DomainEvent, TimelineAsked
from integrations.messaging.handlers import on_message_reported, on_payment_completed
from integrations.messaging.models import Message, Recipient
from integrations.messaging.selectors import timeline_entries
from integrations.models import Alert, Config, QueueItem
from integrations.providers.mpesa.provider import PROVIDER as MPESA
from integrations.runtime.worker import Outcome
from integrations.simulators import running_simulators
from tests.messaging.conftest import Account, inbox, report

PAYMENT = "pay_01jd8k00000000000000000000"
NUMBER = "+254712345678"


def completed(account: Account, *, event_type: str = "payment.completed", private: Any = None, **changes: Any) -> DomainEvent:
    payment = {
        "id": PAYMENT,
        "status": "succeeded",
        "amount": 150000,
        "amount_captured": 150000,
        "currency": "KES",
        "provider": MPESA.slug,
        "provider_receipt": "UGA3K7P2QX",
        "receipt_number": "2026-000001",
        "reference": {"type": "invoice", "id": "INV-0042"},
        "account_number": "INV-0042",
        "customer": None,
        **changes,
    }
    return DomainEvent(
        tenant_id=account.tenant.pk,
        type=event_type,
        object=payment,
        object_type="payment",
        object_id=PAYMENT,
        key=PAYMENT,
        private={"phone": NUMBER, "payer_name": "Jane Wanjiku"} if private is None else private,
    )


def test_the_payer_gets_one_receipt(
    school: Account, simulator: running_simulators, run_due: Callable[[], list[Outcome]]
) -> None:
    on_payment_completed(completed(school))
    on_payment_completed(completed(school))
    run_due()
    assert inbox(simulator, NUMBER) == [
        "Received KES 1,500.00 for INV-0042 from Jane Wanjiku. M-Pesa ref UGA3K7P2QX. Receipt 2026-000001. Springfield School"
    ]
    message = Message.objects.get()
    assert (message.reference_type, message.reference_id, message.category) == ("payment", PAYMENT, "receipt")
    assert (message.key, message.segments) == (f"receipt:{PAYMENT}", 1)
    assert QueueItem.objects.get(kind="sms.send").priority == 3


@pytest.mark.parametrize(
    ("changes", "private", "text"),
    [
        ({"reference": None}, {}, "Received KES 1,500.00 for INV-0042. M-Pesa ref UGA3K7P2QX. Receipt 2026-000001. "),
        (
            {"reference": None, "account_number": "", "provider_receipt": ""},
            {"payer_name": "Jane"},
            "Received KES 1,500.00 from Jane. Receipt 2026-000001. ",
        ),
        (
            {"customer": {"name": "Juma"}, "receipt_number": "", "amount": 50, "amount_captured": 50, "currency": "UGX"},
            {},
            "Received UGX 50 for INV-0042 from Juma. M-Pesa ref UGA3K7P2QX. ",
        ),
        (
            {"reference": None, "amount_refunded": 50000},
            {},
            "Received KES 1,500.00 for INV-0042. Refunded KES 500.00. M-Pesa ref UGA3K7P2QX. Receipt 2026-000001. ",
        ),
        (
            {"provider": "gone", "receipt_number": ""},
            {},
            "Received KES 1,500.00 for INV-0042. gone ref UGA3K7P2QX. ",
        ),
    ],
)
def test_what_is_not_known_is_left_out(school: Account, changes: dict[str, Any], private: dict[str, str], text: str) -> None:
    on_payment_completed(completed(school, private={"phone": NUMBER, **private}, **changes))
    assert Message.objects.get().body == f"{text}Springfield School"


@pytest.mark.parametrize(
    "changes",
    [{"event_type": "payment.failed"}, {"event_type": "message.delivered"}, {"private": {}}, {"private": {"phone": ""}}],
)
def test_nothing_is_sent(school: Account, changes: dict[str, Any]) -> None:
    on_payment_completed(completed(school, **changes))
    assert (Message.objects.count(), QueueItem.objects.count()) == (0, 0)


def test_without_an_sms_account_the_payment_goes_through_silently(school: Account) -> None:
    Config.objects.update(is_active=False)
    on_payment_completed(completed(school))
    assert (Message.objects.count(), Alert.objects.count()) == (0, 0)


def test_a_number_that_is_none_becomes_an_alert_and_no_refusal(school: Account) -> None:
    on_payment_completed(completed(school, private={"phone": "12"}))
    assert Message.objects.count() == 0
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject) == ("receipt_not_sent", PAYMENT)


def test_the_receipt_is_in_the_payments_timeline(
    school: Account, studio: Account, run_due: Callable[[], list[Outcome]]
) -> None:
    on_payment_completed(completed(school))
    run_due()
    recipient = Recipient.objects.get()
    on_message_reported(report(school, recipient.provider_ref, NUMBER))
    entries = timeline_entries(TimelineAsked(tenant_id=school.tenant.pk, object_type="payment", object_id=PAYMENT))
    assert [(e.kind, e.status, e.text, e.object_type, e.object_id) for e in entries] == [
        ("sms", "queued", f"Receipt SMS to {NUMBER}: queued", "message", recipient.message_id),
        ("sms", "sent", f"Receipt SMS to {NUMBER}: sent, {recipient.provider_ref}", "message", recipient.message_id),
        ("sms", "delivered", f"Receipt SMS to {NUMBER}: delivered", "message", recipient.message_id),
    ]
    assert [e.at for e in entries] == sorted(e.at for e in entries)
    about_itself = TimelineAsked(tenant_id=school.tenant.pk, object_type="message", object_id=recipient.message_id)
    assert timeline_entries(about_itself) == entries
    assert timeline_entries(TimelineAsked(tenant_id=studio.tenant.pk, object_type="payment", object_id=PAYMENT)) == []
    assert timeline_entries(TimelineAsked(tenant_id=school.tenant.pk, object_type="payment", object_id="pay_other")) == []
