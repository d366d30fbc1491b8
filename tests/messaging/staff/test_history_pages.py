"""What was sent: finding it, following it, and holding it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from integrations.contracts.messaging import MessageState
from integrations.messaging.models import Message, Recipient
from integrations.messaging.sms.services import send_sms
from integrations.messaging.staff.history import PER_PAGE, RECIPIENTS_PER_PAGE, STOP_POLLING
from integrations.messaging.transitions import advance
from integrations.models import QueueItem, QueueState, Role, Tenant
from tests.factories import MovableClock

pytestmark = pytest.mark.django_db
Send = Callable[..., Message]


@pytest.fixture
def send(office: Tenant) -> Send:
    def make(text: str = "Hello", *numbers: str) -> Message:
        return send_sms(tenant=office, to=numbers or ["0711000001"], message=text)

    return make


def page_of(answer: Any) -> str:
    return str(answer.content.decode())


def move(message: Message, state: MessageState, at: Any, number: int = 0) -> None:
    recipient = Recipient.unscoped.filter(message=message).select_related("message").order_by("id")[number]
    advance(recipient, state, at=at, source="report", detail="so it is" if state is MessageState.FAILED else "")


def test_history_is_narrowed_by_text_number_channel_and_status(jane: Client, send: Send, clock: MovableClock) -> None:
    send("About fees")
    failed = send("About buses", "0711000002")
    move(failed, MessageState.FAILED, clock())

    def found(query: str) -> tuple[bool, bool]:
        shown = page_of(jane.get(f"/staff/messages/?{query}"))
        return "About fees" in shown, "About buses" in shown

    assert found("") == (True, True)
    assert found("text=fees") == (True, False)
    assert found("text=0711+000+002") == (False, True)
    assert found("text=%2B254711000001") == (True, False)
    assert found(f"text={failed.pk}") == (False, True)
    assert found("status=failed") == (False, True)
    assert found("channel=sms&status=queued") == (True, False)
    assert found("channel=email") == (False, False)
    assert found("channel=pigeon") == (False, False)
    assert found("text=%00") == (False, False)
    assert found("page=2") == (False, False)
    assert found("page=x") == (True, True)


def test_history_has_pages(jane: Client, send: Send, django_assert_max_num_queries: Any) -> None:
    for number in range(PER_PAGE + 1):
        send(f"Number {number:03}")
    with django_assert_max_num_queries(12):
        first = page_of(jane.get("/staff/messages/?text=Number"))
    second = page_of(jane.get("/staff/messages/?text=Number&page=2"))
    assert ("Number 000" in first, "Number 001" in first, "page=2" in first) == (False, True, True)
    assert ("Number 000" in second, "Number 001" in second, "page=1" in second) == (True, False, True)


def test_message_shows_everybodys_story(jane: Client, send: Send, clock: MovableClock) -> None:
    message = send("<b>Hello</b>", "0711000001", "0711000002")
    move(message, MessageState.SENT, clock())
    move(message, MessageState.FAILED, clock(), 1)
    page = f"/staff/messages/{message.pk}/"
    shown = page_of(jane.get(page))
    for words in ("2 of 2 done", "+254711000001", "so it is", "&lt;b&gt;Hello&lt;/b&gt;", "(report)"):
        assert words in shown
    only = page_of(jane.get(f"{page}?state=failed"))
    assert ("+254711000002" in only, "+254711000001" in only) == (True, False)
    assert "+254711000001" in page_of(jane.get(f"{page}?state=nonsense"))


def test_recipients_have_pages(jane: Client, send: Send) -> None:
    message = send("Hello", *(f"07110{number:05}" for number in range(RECIPIENTS_PER_PAGE + 1)))
    page = f"/staff/messages/{message.pk}/"
    assert page_of(jane.get(page)).count('id="recipient-') == RECIPIENTS_PER_PAGE
    assert page_of(jane.get(f"{page}recipients/?page=2")).count('id="recipient-') == 1


def test_polling_stops_when_all_is_said(jane: Client, send: Send, clock: MovableClock) -> None:
    message = send()
    page = f"/staff/messages/{message.pk}/"
    first = jane.get(f"{page}progress/")
    assert first.status_code == 200
    assert first["HX-Trigger"] == "moved"
    seen = page_of(first).split('name="seen" value="')[1].split('"')[0]
    was = page_of(first).split('name="was" value="')[1].split('"')[0]
    again = jane.get(f"{page}progress/", {"seen": seen, "was": was})
    assert "HX-Trigger" not in again.headers
    assert "hx-swap-oob" not in page_of(again)
    move(message, MessageState.SENT, clock())
    sent = jane.get(f"{page}progress/", {"seen": seen, "was": was})
    assert (sent.status_code, sent["HX-Trigger"]) == (200, "moved")
    assert "hx-swap-oob" in page_of(sent)
    clock.advance(minutes=11)
    assert jane.get(f"{page}progress/").status_code == STOP_POLLING
    move(message, MessageState.DELIVERED, clock())
    assert jane.get(f"{page}progress/").status_code == STOP_POLLING
    assert "hx-get" not in page_of(jane.get(page)).split('id="recipients"')[0]


def test_pause_resume_cancel(jane: Client, send: Send) -> None:
    message = send()
    page = f"/staff/messages/{message.pk}/"
    assert jane.get(f"{page}pause/").status_code == 405
    shown = page_of(jane.post(f"{page}pause/", follow=True))
    message.refresh_from_db()
    assert message.paused_at is not None
    assert "Paused: nothing more goes out" in shown
    assert ("Resume" in shown, ">Pause<" in shown) == (True, False)
    assert ">Pause<" in page_of(jane.post(f"{page}resume/", follow=True))
    assert "Cancelled: what had not gone out" in page_of(jane.post(f"{page}cancel/", follow=True))
    assert Message.unscoped.filter(pk=message.pk, paused_at=None, cancelled_at__isnull=False).exists()


def test_what_makes_no_sense_is_said(jane: Client, send: Send, clock: MovableClock) -> None:
    message = send()
    move(message, MessageState.SENT, clock())
    QueueItem.unscoped.filter(reference_id=message.pk).update(state=QueueState.COMPLETED)
    shown = page_of(jane.post(f"/staff/messages/{message.pk}/pause/", follow=True))
    assert 'class="note error"' in shown
    message.refresh_from_db()
    assert message.paused_at is None


def test_failed_get_it_again_once(jane: Client, send: Send, office: Tenant, clock: MovableClock) -> None:
    message = send("Hello", "0711000001", "0711000002")
    move(message, MessageState.FAILED, clock())
    move(message, MessageState.DELIVERED, clock(), 1)
    page = f"/staff/messages/{message.pk}/"
    shown = page_of(jane.get(page))
    assert "Send again to failed" in shown
    once = shown.split('name="once" value="')[1].split('"')[0]
    clock.advance(timedelta(minutes=1).total_seconds())
    first, second = (jane.post(f"{page}resend/", {"once": once}) for _ in range(2))
    again = Message.unscoped.get(tenant=office, continues=message)
    assert first["Location"] == second["Location"] == f"/staff/messages/{again.pk}/"
    assert list(Recipient.unscoped.filter(message=again).values_list("address", flat=True)) == ["+254711000001"]
    jane.post(f"{page}resend/", {"once": "x"})
    assert Message.unscoped.filter(tenant=office).count() == 2


def test_channel_of_the_membership_counts_here_too(at_desk: Any, send: Send) -> None:
    message = send()
    client = at_desk(Role.STAFF, channels=("email",))
    page = f"/staff/messages/{message.pk}/"
    assert "Pause" not in page_of(client.get(page))
    assert client.post(f"{page}pause/").status_code == 404
    message.refresh_from_db()
    assert message.paused_at is None


def test_a_devices_token_is_not_shown(jane: Client, office: Tenant) -> None:
    message = Message.unscoped.create(tenant=office, channel="push", body="Hello")
    Recipient.unscoped.create(tenant=office, message=message, address=f"{'SECRETTOKEN' * 10}-the-end")
    for path in ("", "recipients/"):
        shown = page_of(jane.get(f"/staff/messages/{message.pk}/{path}"))
        assert ("SECRETTOKEN" in shown, "\N{HORIZONTAL ELLIPSIS}-the-end" in shown) == (False, True)


@pytest.mark.parametrize("role", [Role.STAFF, Role.AUDITOR, Role.ADMIN])
def test_one_time_codes_are_for_admins(role: str, at_desk: Any, office: Tenant) -> None:
    client = at_desk(role)
    words = {"subject": "Code 777777", "body": "Code 777777", "html": "<p>Code 777777</p>"}
    message = Message.unscoped.create(tenant=office, channel="email", category="otp", **words)
    Recipient.unscoped.create(tenant=office, message=message, address="jane@example.com")
    for path in ("/staff/", "/staff/messages/", f"/staff/messages/{message.pk}/"):
        shown = page_of(client.get(path))
        assert ("777777" in shown, "One-time code: not shown" in shown) == (role == Role.ADMIN, role != Role.ADMIN), path
    # Nor can it be guessed from what is found.
    row = f'href="/staff/messages/{message.pk}/"'
    assert (row in page_of(client.get("/staff/messages/?text=777"))) == (role == Role.ADMIN)
    assert row in page_of(client.get("/staff/messages/?text=jane@example.com"))
