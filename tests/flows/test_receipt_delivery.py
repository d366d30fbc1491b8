"""Receipts of real payments: by mail when the money came and went back, by mail and SMS again when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django_scopes import scope

from integrations.messaging.models import Message, Recipient, Suppression
from integrations.models import Alert, Config, IdempotencyRecord, QueueItem
from payments.models import Payment, ReceiptDelivery
from tests.factories import work_off
from tests.flows.conftest import School
from tests.payments.mail_server import MailServer, running_mail_server

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
JANE = {"name": "Jane Wanjiku", "email": "jane@example.com"}
PHONE = "+254712345001"


@pytest.fixture(autouse=True)
def quick_simulator(school: School) -> None:
    school.control("PUT", "mpesa/settings", json={"auto_delay": 0.1, "result_delay": 0.1})


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    with running_mail_server(settings) as running:
        yield running


def paid(school: School, until: Until, **more: Any) -> Payment:
    """Return a payment that the simulator's payer paid by himself."""
    payment_id = school.ask("0712345001", **{"customer": JANE, **more}).json()["id"]
    payment: Payment = until(lambda: found if (found := school.payment(payment_id)).status == "succeeded" else None)
    until(lambda: not open_items(school))
    return payment


def open_items(school: School) -> int:
    with scope(tenant=school.tenant):
        work = ("payment.receipt_email", "sms.send")
        return QueueItem.objects.filter(kind__in=work, state__in=("pending", "processing")).count()


def send(school: School, payment: Payment, key: str = "", **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return school.api.post(f"/api/v1/payments/{payment.pk}/receipt", body, format="json", headers=headers)


def deliveries(school: School) -> list[tuple[str, str, str, str]]:
    with scope(tenant=school.tenant):
        rows = ReceiptDelivery.objects.order_by("created", "pk")
        return list(rows.values_list("channel", "reason", "to", "state"))


def everything(school: School) -> tuple[int, ...]:
    """Count what there is, but for the webhooks: the simulated phone tells of its text whenever it likes."""
    with scope(tenant=school.tenant):
        planned = QueueItem.objects.exclude(kind="webhook.process")
        return ReceiptDelivery.objects.count(), Message.objects.count(), planned.count()


def test_payer_gets_mail_when_the_money_came_and_when_it_went_back(school: School, until: Until, server: MailServer) -> None:
    payment = paid(school, until)
    assert [message["Subject"] for message in server.received] == [f"Receipt {payment.receipt_number} from Springfield School"]

    refund = school.api.post("/api/v1/payments/refund", {"payment": payment.pk, "reason": "paid twice"}, format="json")
    until(lambda: school.payment(payment.pk).amount_refunded == 150_000)
    until(lambda: len(server.received) == 2)
    until(lambda: not open_items(school))
    text = server.received[1].get_body(("plain",))
    assert text is not None
    assert "Refunded" in text.get_content()
    assert "Remains: KES 0.00" in text.get_content()
    assert deliveries(school) == [
        ("email", "completed", "jane@example.com", "sent"),
        ("email", "refunded", "jane@example.com", "sent"),
    ]
    with scope(tenant=school.tenant):
        assert ReceiptDelivery.objects.get(reason="refunded").operation_id == refund.json()["id"]


def test_a_success_that_is_reported_again_mails_nothing_more(school: School, until: Until, server: MailServer) -> None:
    payment = paid(school, until)
    assert school.api.post(f"/api/v1/payments/{payment.pk}/sync").status_code == 200
    work_off()
    assert len(server.received) == 1
    assert deliveries(school) == [("email", "completed", "jane@example.com", "sent")]


def test_the_payment_stands_while_the_mail_server_is_down(school: School, until: Until, server: MailServer) -> None:
    server.stop()
    payment_id = school.ask("0712345001", customer=JANE).json()["id"]
    until(lambda: school.payment(payment_id).status == "succeeded")
    work_off()
    assert deliveries(school) == [("email", "completed", "jane@example.com", "queued")]
    server.start()
    with scope(tenant=school.tenant):
        item = QueueItem.objects.get(kind="payment.receipt_email")
        assert school.api.post("/api/v1/integrations/queue/retry", {"ids": [item.pk]}, format="json").status_code == 200
    until(lambda: deliveries(school) == [("email", "completed", "jane@example.com", "sent")])
    assert len(server.received) == 1


def test_without_a_mail_server_no_mail_is_planned(school: School, until: Until) -> None:
    payment = paid(school, until)
    assert deliveries(school) == []
    before = everything(school)
    answer = send(school, payment, channel="email")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "not_configured")
    assert answer.json()["errors"][0]["detail"] == "No mail server is set up."
    assert everything(school) == before
    with scope(tenant=school.tenant):
        assert Alert.objects.count() == 0


def test_mail_is_sent_again_once_for_each_key(school: School, until: Until, server: MailServer) -> None:
    payment = paid(school, until)
    answers = [send(school, payment, "again-1", channel="email", to="office@school.example") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    shown = answers[0].json()
    assert shown == {"id": shown["id"], "channel": "email", "to": "office@school.example", "state": "queued"}
    assert shown["id"].startswith("rd_")
    work_off()
    assert send(school, payment, channel="email").json()["to"] == "jane@example.com"
    work_off()
    assert [to for _from, (to,) in server.envelopes] == ["jane@example.com", "office@school.example", "jane@example.com"]


def test_a_request_that_died_before_it_was_answered_is_answered_by_the_next(
    school: School, until: Until, server: MailServer
) -> None:
    payment = paid(school, until)
    first = send(school, payment, "again-1", channel="email").json()
    with scope(tenant=school.tenant):
        record = IdempotencyRecord.objects.filter(key="again-1")
        assert record.update(status_code=None, sealed_response="", lease=None) == 1
    before = everything(school)
    answer = send(school, payment, "again-1", channel="email")
    assert (answer.status_code, answer.json()) == (202, first)
    assert everything(school) == before


def test_a_text_is_sent_again_and_followed(school: School, until: Until) -> None:
    payment = paid(school, until)
    answer = send(school, payment, channel="sms")
    assert (answer.status_code, answer.json()["to"], answer.json()["state"]) == (202, PHONE, "queued")
    until(lambda: len(school.inbox(PHONE)) == 2)
    until(lambda: deliveries(school) == [("sms", "reissued", PHONE, "sent")])
    first, second = (received["text"] for received in school.inbox(PHONE))
    assert first == second

    assert send(school, payment, channel="sms", to="0712 345 002").json()["to"] == "+254712345002"
    until(lambda: len(school.inbox("+254712345002")) == 1)
    with scope(tenant=school.tenant):
        assert Message.objects.filter(category="receipt", reference_id=payment.pk).count() == 3
    told = [entry.text for entry in school.timeline(payment.pk) if entry.kind == "receipt"]
    assert told == [
        f"Receipt by SMS to {PHONE}: queued (asked for by key test admin)",
        "Receipt by SMS to +254712345002: queued (asked for by key test admin)",
    ]


def test_a_text_to_a_number_that_asked_to_stop_fails_at_once(school: School, until: Until) -> None:
    payment = paid(school, until)
    with scope(tenant=school.tenant):
        Suppression.objects.create(tenant=school.tenant, address=PHONE, reason="asked to stop")
    assert send(school, payment, channel="sms").json()["state"] == "failed"
    with scope(tenant=school.tenant):
        delivery = ReceiptDelivery.objects.get()
        assert delivery.detail == "on the suppression list: asked to stop"
        assert Recipient.objects.get(message_id=delivery.message).state == "failed"
    work_off()
    assert len(school.inbox(PHONE)) == 1


def test_without_an_sms_account_a_text_is_refused_and_nothing_changes(school: School, until: Until) -> None:
    payment = paid(school, until)
    with scope(tenant=school.tenant):
        Config.objects.filter(pk=school.sms.pk).update(is_active=False)
    before = everything(school)
    answer = send(school, payment, channel="sms")
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"], error["attr"]) == (422, "not_configured", "channel")
    assert error["detail"] == "No SMS account is connected."
    assert everything(school) == before


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"channel": "email", "to": "jane"}, "to"),
        ({"channel": "sms", "to": "12"}, "to"),
        ({"channel": "fax"}, "channel"),
        ({}, "channel"),
        ({"channel": "sms", "phone": PHONE}, "phone"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_changes(
    body: dict[str, str], attr: str, school: School, until: Until, server: MailServer
) -> None:
    payment = paid(school, until)
    before = everything(school)
    answer = send(school, payment, **body)
    assert (answer.status_code, [error["attr"] for error in answer.json()["errors"]]) == (400, [attr])
    assert everything(school) == before


def test_a_payment_that_waits_has_no_receipt(school: School, server: MailServer) -> None:
    payment = school.payment(school.ask("0712345678", customer=JANE).json()["id"])
    before = everything(school)
    for channel in ("email", "sms"):
        answer = send(school, payment, channel=channel)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "no_receipt")
    assert everything(school) == before


def test_the_mails_are_in_the_timeline(school: School, until: Until, server: MailServer) -> None:
    payment = paid(school, until)
    server.answers["RCPT"] = "550 5.1.1 no such user"
    send(school, payment, channel="email", to="typo@example.com")
    work_off()
    results = school.api.get(f"/api/v1/payments/{payment.pk}/timeline").json()["results"]
    assert [(entry["status"], entry["text"]) for entry in results if entry["kind"] == "receipt"] == [
        ("queued", "Receipt by e-mail to jane@example.com: queued"),
        ("sent", "Receipt by e-mail to jane@example.com: sent (250 2.0.0 queued as 4CxQ)"),
        ("queued", "Receipt by e-mail to typo@example.com: queued (asked for by key test admin)"),
        (
            "failed",
            "Receipt by e-mail to typo@example.com: failed (The mail server refused the recipient: 550 5.1.1 no such user)",
        ),
    ]
