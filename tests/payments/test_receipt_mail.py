"""Receipts by e-mail, against a real SMTP server: once, whole, and never twice where nobody can tell."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from pypdf import PdfReader

from integrations.contracts.errors import Conflict
from integrations.models import Alert, Attempt, CallLog, QueueItem, QueueState, Tenant
from integrations.runtime import worker
from integrations.runtime.queue import cancel_item, retry_item
from integrations.runtime.worker import claim_one, recover_lapsed
from payments.jobs.receipts import ReceiptEmailJob
from payments.models import Payment, ReceiptDelivery
from payments.receipt_mail import message_id
from payments.services.receipt import mail_receipt
from tests.factories import MovableClock, work_off
from tests.payments.mail_server import ACCEPTED, MailServer, refuse_login
from tests.payments.receipt_support import JANE, parts, pay, queued, refund_of, server, state

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["pay", "server"]  # fixtures, used by their names


# --- it arrives -----------------------------------------------------------------------------------------------------------


def test_a_receipt_arrives_once_and_whole(server: MailServer, pay: Callable[..., Payment], clock: MovableClock) -> None:
    payment = pay(description="Term 1 fees")
    delivery = mail_receipt(payment=payment)
    assert delivery is not None
    assert [outcome.state for outcome in work_off()] == [QueueState.COMPLETED]

    (message,) = server.received
    assert server.envelopes == [("receipts@hub.example.org", [JANE])]
    assert message["From"] == "Springfield School <receipts@hub.example.org>"
    assert message["To"] == JANE
    assert message["Subject"] == "Receipt 2026-000001 from Springfield School"
    assert message["Message-ID"] == f"<{delivery.pk}@hub.example.org>" == message_id(delivery)
    assert message["Auto-Submitted"] == "auto-generated"
    text, html, (name, pdf) = parts(message)
    for part in (text, html):
        for said in ("KES 1,500.00", "2026-000001", "Jane Wanjiku", "invoice INV-0042 · Term 1 fees", "UGA3K7P2QX"):
            assert said in part
    assert name == "receipt-2026-000001.pdf"
    assert "KES 1,500.00" in PdfReader(BytesIO(pdf)).pages[0].extract_text()

    assert state(delivery) == ("sent", ACCEPTED)
    assert (delivery.finished, delivery.reason, delivery.actor, delivery.to) == (clock.moment, "completed", "hub", JANE)
    assert [attempt.state for attempt in Attempt.objects.all()] == ["succeeded"]
    assert Alert.objects.count() == 0


def test_each_try_is_in_the_log_of_calls(
    server: MailServer, pay: Callable[..., Payment], clock: MovableClock, settings: Any
) -> None:
    server.answers["RCPT"] = "450 4.2.0 greylisted"
    settings.EMAIL_HOST_PASSWORD = "canary-4471"
    payment = pay()
    delivery = mail_receipt(payment=payment)
    assert delivery is not None
    work_off()
    server.answers.clear()
    clock.advance(minutes=1)
    work_off()
    tries = CallLog.objects.order_by("id")
    assert list(tries.values_list("provider", "operation", "status", "response_body", "error")) == [
        ("mail server", "receipt_email", "failed", "", "The mail server refused the recipient: 450 4.2.0 greylisted"),
        ("mail server", "receipt_email", "success", ACCEPTED, ""),
    ]
    for each in tries:
        assert (each.reference_type, each.reference_id, each.url) == ("payment", payment.pk, f"smtp://127.0.0.1:{server.port}")
        assert (each.request_headers["To"], each.request_headers["Message-ID"]) == (JANE, message_id(delivery))
        assert each.duration_ms is not None
        assert each.item_id == queued(delivery).pk
    assert "canary-4471" not in str(list(tries.values()))


def test_what_the_hub_mails_by_itself_it_mails_once(server: MailServer, pay: Callable[..., Payment]) -> None:
    payment = pay()
    first = mail_receipt(payment=payment)
    assert mail_receipt(payment=payment) is None
    one, two = refund_of(payment), refund_of(payment, 20_000)
    assert all(mail_receipt(payment=payment, refund=each) is not None for each in (one, two))
    assert [mail_receipt(payment=payment, refund=each) for each in (one, two)] == [None, None]
    work_off()
    assert mail_receipt(payment=payment) is None
    assert sorted(message["Subject"] for message in server.received) == [
        "Receipt 2026-000001 from Springfield School",
        "Updated receipt 2026-000001 from Springfield School",
        "Updated receipt 2026-000001 from Springfield School",
    ]
    assert len({message["Message-ID"] for message in server.received}) == 3
    assert list(ReceiptDelivery.objects.values_list("reason", "operation_id")) == [
        ("completed", None), ("refunded", one.pk), ("refunded", two.pk),
    ]  # fmt: skip
    assert first is not None


def test_the_database_keeps_it_to_one_of_a_kind(pay: Callable[..., Payment], tenant: Tenant, clock: MovableClock) -> None:
    payment = pay()
    refund = refund_of(payment)
    values = {"tenant": tenant, "payment": payment, "channel": "email", "to": JANE, "actor": "hub", "created": clock.moment}
    ReceiptDelivery.objects.create(reason="completed", **values)
    ReceiptDelivery.objects.create(reason="refunded", operation=refund, **values)
    for fields in (
        {"reason": "completed"},
        {"reason": "refunded", "operation": refund},
        {"reason": "refunded"},
        {"reason": "reissued", "operation": refund},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            ReceiptDelivery.objects.create(**values, **fields)
    for _ in range(2):
        ReceiptDelivery.objects.create(reason="reissued", **values)
    assert ReceiptDelivery.objects.count() == 4


def test_an_updated_receipt_says_what_was_given_back(server: MailServer, pay: Callable[..., Payment]) -> None:
    payment = pay()
    mail_receipt(payment=payment, refund=refund_of(payment))
    work_off()
    text, html, (_name, pdf) = parts(server.received[0])
    for part in (text, html):
        assert "A refund was made." in part
        assert "KES 500.00" in part
        assert "KES 1,000.00" in part
    assert "KES 1,000.00" in PdfReader(BytesIO(pdf)).pages[0].extract_text()


def test_nothing_gets_into_a_header_or_the_page(server: MailServer, pay: Callable[..., Payment], tenant: Tenant) -> None:
    evil = 'Über "School"\r\nBcc: thief@example.com\x00\u202e <x@y>, z@example.com'
    Tenant.objects.filter(pk=tenant.pk).update(name=evil.replace("\x00", ""))
    payment = pay(
        description="<script>alert(1)</script>\r\n\r\nBcc: thief@example.com", receipt_number="2026\r\nBcc: t@example.com"
    )
    payment.refresh_from_db()
    mail_receipt(payment=payment)
    work_off()
    (message,) = server.received
    assert server.envelopes == [("receipts@hub.example.org", [JANE])]
    assert message["Bcc"] is None
    (author,) = message["From"].addresses
    assert author.addr_spec == "receipts@hub.example.org"
    assert author.display_name == 'Über "School" Bcc: thief@example.com <x@y>, z@example.com'
    subject = " ".join(message["Subject"].split())  # the parser keeps the fold of a long line
    assert subject == f"Receipt 2026 Bcc: t@example.com from {author.display_name}"
    _text, html, _pdf = parts(message)
    assert "<script>" not in html


# --- it does not ----------------------------------------------------------------------------------------------------------


def test_a_connection_lost_after_the_text_is_unknown_and_never_sent_again(
    server: MailServer, pay: Callable[..., Payment], clock: MovableClock
) -> None:
    server.answers["DATA"] = "hang up"
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    assert [outcome.state for outcome in work_off()] == [QueueState.NEEDS_REVIEW]
    assert state(delivery)[0] == "unknown"
    assert len(server.received) == 1

    server.answers.clear()
    clock.advance(days=2)
    assert work_off() == []
    assert (len(server.received), server.connections) == (1, 1)
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject) == ("needs_review", f"payment.receipt_email #{queued(delivery).pk}")
    with pytest.raises(Conflict):
        retry_item(queued(delivery).pk, tenant_id=delivery.tenant_id, by="mary")


@pytest.mark.parametrize("step", ["MAIL", "RCPT"])
def test_a_connection_lost_before_the_text_is_tried_again(
    step: str, server: MailServer, pay: Callable[..., Payment], clock: MovableClock
) -> None:
    server.answers[step] = "hang up"
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    assert [outcome.state for outcome in work_off()] == [QueueState.PENDING]
    assert state(delivery) == ("queued", "The mail server broke off (SMTPServerDisconnected).")
    assert Attempt.objects.count() == 0
    server.answers.clear()
    clock.advance(minutes=1)
    work_off()
    assert state(delivery) == ("sent", ACCEPTED)
    assert len(server.received) == 1


def test_a_server_that_is_down_gets_it_when_it_is_back(
    server: MailServer, pay: Callable[..., Payment], clock: MovableClock
) -> None:
    server.stop()
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    for _ in range(3):
        assert [outcome.state for outcome in work_off()] == [QueueState.PENDING]
        clock.advance(minutes=10)
    assert state(delivery) == ("queued", "The mail server can't be reached (ConnectionRefusedError).")
    assert delivery.finished is None
    server.start()
    assert [outcome.state for outcome in work_off()] == [QueueState.COMPLETED]
    assert state(delivery) == ("sent", ACCEPTED)
    assert len(server.received) == 1


def test_a_refused_recipient_is_final_and_says_why(
    server: MailServer, pay: Callable[..., Payment], clock: MovableClock
) -> None:
    server.answers["RCPT"] = "550 5.1.1 no such user"
    payment = pay()
    delivery = mail_receipt(payment=payment)
    assert delivery is not None
    assert [outcome.state for outcome in work_off()] == [QueueState.FAILED]
    assert state(delivery) == ("failed", "The mail server refused the recipient: 550 5.1.1 no such user")
    assert delivery.finished == clock.moment
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject) == ("receipt_not_sent", payment.pk)
    clock.advance(days=2)
    assert work_off() == []
    assert (server.received, server.connections) == ([], 1)


@pytest.mark.parametrize(
    ("step", "reply", "sent", "states"),
    [
        ("RCPT", "450 4.2.0 greylisted", 1, ("pending", "completed")),
        ("MAIL", "421 4.7.0 too many", 1, ("pending", "completed")),
        ("DATA", "451 4.3.0 try later", 2, ("pending", "completed")),
        ("DATA", "554 5.7.1 spam", 1, ("failed",)),
    ],
)
def test_the_servers_answer_decides(
    step: str,
    reply: str,
    sent: int,
    states: tuple[str, ...],
    server: MailServer,
    pay: Callable[..., Payment],
    clock: MovableClock,
) -> None:
    server.answers[step] = reply
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    found = [outcome.state.value for outcome in work_off()]
    assert reply in state(delivery)[1]
    server.answers.clear()
    clock.advance(minutes=1)
    found += [outcome.state.value for outcome in work_off()]
    assert tuple(found) == states
    assert len(server.received) == sent
    assert len({message["Message-ID"] for message in server.received}) == 1


def test_a_person_retries_a_failed_one(server: MailServer, pay: Callable[..., Payment]) -> None:
    server.answers["RCPT"] = "550 mailbox full"
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    work_off()
    assert state(delivery)[0] == "failed"
    server.answers.clear()
    retry_item(queued(delivery).pk, tenant_id=delivery.tenant_id, by="mary")
    work_off()
    assert state(delivery) == ("sent", ACCEPTED)


def test_a_cancelled_one_is_not_sent_and_alerts_nobody(server: MailServer, pay: Callable[..., Payment]) -> None:
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    cancel_item(queued(delivery).pk, tenant_id=delivery.tenant_id, by="mary")
    work_off()
    assert state(delivery) == ("failed", "Cancelled by mary.")
    assert (server.connections, Alert.objects.count()) == (0, 0)


def test_a_refused_login_is_final_and_alerts(server: MailServer, pay: Callable[..., Payment], settings: Any) -> None:
    server.stop()
    server.start(authenticator=refuse_login, auth_require_tls=False)
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "hub", "canary-4471"
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    assert [outcome.state for outcome in work_off()] == [QueueState.FAILED]
    assert state(delivery) == ("failed", "The mail server refused the login: 535 5.7.8 bad password")
    alert = Alert.objects.get()
    assert (alert.kind, alert.subject) == ("config_needs_attention", "mail server")
    assert "canary-4471" not in alert.message + str(queued(delivery).errors)
    assert server.received == []


# --- workers that die -----------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_after_the_server_took_it(
    server: MailServer, pay: Callable[..., Payment], clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    with monkeypatch.context() as patch:
        patch.setattr(worker, "_settle_success", die)
        with pytest.raises(KeyboardInterrupt):
            work_off()
    assert (len(server.received), state(delivery)) == (1, ("queued", ""))
    assert queued(delivery).state == QueueState.PROCESSING
    clock.advance(ReceiptEmailJob.lease_seconds + 1)
    work_off()
    assert state(delivery) == ("unknown", "The worker died or hung in the middle.")
    assert queued(delivery).state == QueueState.NEEDS_REVIEW
    assert len(server.received) == 1


def test_a_worker_that_dies_before_the_text(server: MailServer, pay: Callable[..., Payment], clock: MovableClock) -> None:
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    assert claim_one(queued(delivery).pk) is not None
    clock.advance(ReceiptEmailJob.lease_seconds + 1)
    work_off()
    assert state(delivery) == ("sent", ACCEPTED)
    assert len(server.received) == 1


def test_a_worker_that_lost_its_lease_sends_nothing(
    server: MailServer, pay: Callable[..., Payment], clock: MovableClock
) -> None:
    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    stale = claim_one(queued(delivery).pk)
    assert stale is not None
    clock.advance(ReceiptEmailJob.lease_seconds + 1)
    assert recover_lapsed() == 1
    worker.run(stale)
    assert server.received == []
    assert state(delivery)[0] == "queued"


def test_an_answer_that_comes_after_it_was_given_up_counts(
    server: MailServer, pay: Callable[..., Payment], clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker hung between the server's answer and the database; another one gave the item up meanwhile."""
    settle = worker._settle_success

    def late(item: QueueItem, job: Any, result: Any) -> Any:
        clock.advance(ReceiptEmailJob.lease_seconds + 1)
        assert recover_lapsed() == 1
        assert state(delivery)[0] == "unknown"
        return settle(item, job, result)

    delivery = mail_receipt(payment=pay())
    assert delivery is not None
    monkeypatch.setattr(worker, "_settle_success", late)
    work_off()
    assert state(delivery) == ("sent", ACCEPTED)
    assert queued(delivery).state == QueueState.COMPLETED
    assert Alert.objects.get().resolved_at == clock.moment
    assert len(server.received) == 1
