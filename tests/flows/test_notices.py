"""Rules and recurring messages over real sockets: a paid fee is told by text and mail, a report is fetched and mailed whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from integrations.messaging.models import Message, RecurringMessage
from integrations.messaging.rules import notices, recurring
from integrations.models import Alert, QueueItem
from integrations.providers.smtp.simulator import SmtpSimulator
from tests.factories import MovableClock, make_config, work_off
from tests.flows.conftest import School

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
BURSAR = "bursar@springfield.example"
REPORT = bytes(range(256)) * 400
"""A hundred kilobytes of which no byte may change on the way."""


@pytest.fixture
def mailing(school: School) -> School:
    """The school also has an e-mail account."""
    school.control("PUT", "mpesa/settings", json={"auto_delay": 0.1})
    make_config(school.tenant, "smtp", account="school")
    return school


def made(school: School, path: str, **body: Any) -> Any:
    answer = school.api.post(f"/api/v1/integrations/{path}", body, format="json")
    assert answer.status_code == 201, answer.json()
    return answer.json()


def add_rule(school: School, **body: Any) -> Any:
    return made(school, "notification-rules", **{"name": "Paid", "event_type": "payment.completed", **body})


def mails(school: School) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = school.control("GET", "smtp/messages")["messages"]
    return found


def texts(school: School, number: str) -> list[str]:
    return [each["text"] for each in school.inbox(number)]


def pay(school: School, until: Until) -> str:
    payment_id: str = school.ask("0712345678").json()["id"]
    school.enter_pin("254712345678")
    until(lambda: school.payment(payment_id).status == "succeeded")
    return payment_id


def test_a_paid_fee_is_told_to_the_payer_and_to_the_bursar(mailing: School, until: Until) -> None:
    made(mailing, "templates", channel="sms", name="thanks", body="Thank you, {{ customer.name }}: {{ amount_text }}.")
    made(
        mailing,
        "templates",
        channel="email",
        name="paid",
        subject="{{ amount_text }} from {{ customer.name }}",
        body="{{ reference.id }} is paid: {{ provider_receipt }}. {{ tenant.name }}",
    )
    add_rule(mailing, channel="sms", template_name="thanks", conditions={"currency": "KES"})
    add_rule(mailing, channel="sms", template_name="thanks", conditions={"currency": "UGX"})
    add_rule(mailing, channel="email", template_name="paid", audience="fixed", addresses=f"{BURSAR}\nhead@springfield.example")

    payment_id = pay(mailing, until)
    until(lambda: len(mails(mailing)) == 2)
    until(lambda: len(texts(mailing, "+254712345678")) == 2)

    assert "Thank you, Jane Wanjiku: KES 1,500.00." in texts(mailing, "+254712345678")
    assert any("Received KES 1,500.00" in each for each in texts(mailing, "+254712345678")), "the receipt needs no rule"
    receipt = mailing.payment(payment_id).receipt
    assert {(each["to"], each["subject"], each["text"].strip()) for each in mails(mailing)} == {
        (to, "KES 1,500.00 from Jane Wanjiku", f"INV-0042 is paid: {receipt}. {mailing.tenant.name}")
        for to in (BURSAR, "head@springfield.example")
    }
    assert Message.unscoped.filter(tenant=mailing.tenant, key__startswith="rule:").count() == 2
    assert not Alert.objects.filter(tenant=mailing.tenant, kind=notices.ALERT).exists()
    assert {"sms", "email"} <= {entry.kind for entry in mailing.timeline(payment_id)}


def test_a_rule_that_fails_costs_the_payment_nothing(mailing: School, until: Until) -> None:
    made(mailing, "templates", channel="sms", name="hole", body="{{ pupil.name }} has paid.")
    made(mailing, "templates", channel="email", name="hole", subject="Paid", body="{{ pupil.name }} has paid.")
    add_rule(mailing, name="Text", channel="sms", template_name="hole")
    add_rule(mailing, name="Mail", channel="email", template_name="hole", audience="fixed", addresses=BURSAR)

    payment_id = pay(mailing, until)
    until(lambda: Alert.objects.filter(tenant=mailing.tenant, kind=notices.ALERT).count() == 2)
    until(lambda: texts(mailing, "+254712345678"))

    assert mailing.payment(payment_id).status == "succeeded"
    said = Alert.objects.filter(tenant=mailing.tenant, kind=notices.ALERT).values_list("message", flat=True)
    assert all("pupil.name" in each and payment_id in each for each in said), list(said)
    assert len(texts(mailing, "+254712345678")) == 1, "the receipt alone"
    assert mails(mailing) == []


class Reports(BaseHTTPRequestHandler):
    """Makes the school's reports; `status` is what it answers with."""

    status = 200
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.send_header("Content-Type", "application/pdf")
        self.send_header("Content-Length", str(len(REPORT)))
        self.end_headers()
        self.wfile.write(REPORT)

    def log_message(self, *arguments: Any) -> None:
        return


@pytest.fixture
def reports(settings: Any) -> Iterator[str]:
    settings.OUTBOUND_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Reports)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/fees.pdf?key=s3cret"
    server.shutdown()
    server.server_close()
    Reports.status = 200
    Reports.asked.clear()


def weekly(school: School, url: str) -> RecurringMessage:
    request = {"to": [BURSAR], "subject": "Fees of the week", "text": "See the report.", "category": "report"}
    body = {"name": "Fees", "channel": "email", "request": request, "frequency": "weekly", "weekday": 0, "at": "07:30"}
    row = made(school, "recurring-messages", **body, attachment_url=url)
    return RecurringMessage.unscoped.get(pk=row["id"])


def come(clock: MovableClock, row: RecurringMessage) -> None:
    """Let the row's next moment come."""
    row.refresh_from_db()
    assert row.next_at is not None
    clock.moment = row.next_at + timedelta(seconds=20)
    assert recurring.enqueue_due() == 1


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> list[EmailMessage]:
    """The letters that the mail server has taken, whole: its own list names their files only."""
    taken: list[EmailMessage] = []
    arrived = SmtpSimulator._arrived

    def note(self: SmtpSimulator, account: str, sender: str, recipient: str, mail: EmailMessage, *more: Any) -> None:
        taken.append(mail)
        arrived(self, account, sender, recipient, mail, *more)

    monkeypatch.setattr(SmtpSimulator, "_arrived", note)
    return taken


def test_a_report_is_fetched_and_mailed_byte_for_byte(
    mailing: School, clock: MovableClock, reports: str, letters: list[EmailMessage]
) -> None:
    clock.moment = datetime.now(UTC)
    row = weekly(mailing, reports)
    for week in (1, 2):
        come(clock, row)
        work_off()
        assert len(mails(mailing)) == week
    mail = mails(mailing)[0]
    assert (mail["to"], mail["subject"], mail["text"].strip()) == (BURSAR, "Fees of the week", "See the report.")
    files = [file for each in letters for file in each.iter_attachments()]
    assert [(file.get_filename(), file.get_content_type()) for file in files] == [("fees.pdf", "application/pdf")] * 2
    assert [file.get_content() for file in files] == [REPORT, REPORT]
    assert Reports.asked == ["/fees.pdf?key=s3cret"] * 2, "anew each time"
    row.refresh_from_db()
    assert (row.last_problem, row.last_at) == ("", clock.moment)


def test_without_its_report_the_mail_waits_and_is_then_given_up(mailing: School, clock: MovableClock, reports: str) -> None:
    clock.moment = datetime.now(UTC)
    row = weekly(mailing, reports)
    Reports.status = 503
    come(clock, row)
    work_off()
    row.refresh_from_db()
    assert "503" in row.last_problem
    Reports.status = 200
    clock.advance(60)
    work_off()
    assert len(mails(mailing)) == 1, "a report that is late is waited for"

    Reports.status = 404
    come(clock, row)
    work_off()
    row.refresh_from_db()
    assert "404" in row.last_problem
    assert len(mails(mailing)) == 1
    alert = Alert.objects.get(tenant=mailing.tenant, kind=recurring.ALERT, resolved_at=None)
    assert "404" in alert.message
    assert QueueItem.unscoped.filter(kind=recurring.KIND).latest("pk").state == "failed"


def test_an_address_inside_is_refused_and_never_called(
    mailing: School, clock: MovableClock, reports: str, settings: Any
) -> None:
    body = {"name": "Fees", "channel": "email", "request": {"to": BURSAR, "subject": "x", "text": "x"}, "frequency": "daily"}
    url = "http://169.254.169.254/latest/meta-data/"
    answer = mailing.api.post(
        "/api/v1/integrations/recurring-messages", body | {"at": "07:30", "attachment_url": url}, format="json"
    )
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "attachment_url")

    clock.moment = datetime.now(UTC)
    row = weekly(mailing, reports)
    settings.OUTBOUND_ALLOWED_NETWORKS = []  # from now on even this server is inside
    come(clock, row)
    work_off()
    row.refresh_from_db()
    assert "not allowed" in row.last_problem
    assert (Reports.asked, mails(mailing)) == ([], [])
