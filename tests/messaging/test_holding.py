"""What keeps a message that is due from being sent, and what must not be lost or repeated over it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time, timedelta
from typing import Any

import pytest
from django.db import transaction

from integrations.contracts.errors import Conflict, Throttled, UnsupportedOperation
from integrations.contracts.messaging import MessageState, RecipientResult, SendResult
from integrations.messaging import finding, reports, sending, steering
from integrations.messaging.calls import build_call
from integrations.messaging.closing import KIND as CLOSE
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.email.emails import send_email
from integrations.messaging.handlers import on_message_reported
from integrations.messaging.jobs import holding
from integrations.messaging.jobs.sending import SendJob
from integrations.messaging.models import Attachment, Channel, Message, Recipient, SendingPolicy
from integrations.messaging.sms.services import send_sms
from integrations.messaging.transitions import advance
from integrations.models import Alert, Config, ProviderGrant, QueueItem, QueueState
from integrations.models import Provider as ProviderRow
from integrations.runtime.worker import Outcome, claim, run
from tests.factories import MovableClock, make_config, make_fallback_policy
from tests.messaging.conftest import Account, report

pytestmark = pytest.mark.django_db(transaction=True)
GOOD, OTHER, SLEEPER = "+254711000123", "+254711000124", "+64211234567"


def message(school: Account, *to: str, **more: Any) -> Message:
    return send_sms(tenant=school.tenant, to=list(to) or [GOOD], message="Karibu", **more)


def work(*kinds: str) -> list[Outcome]:
    return [run(item) for item in claim(20, kinds=[*kinds] or ["sms.send"])]


def states(**of: Any) -> dict[str, str]:
    return dict(Recipient.objects.filter(**of).values_list("address", "state"))


def settle(sent: Message, said: RecipientResult | SendResult) -> QueueItem:
    """Let a message's one item end with this answer of the provider."""
    item = QueueItem.objects.get(reference_id=sent.pk, kind__endswith=".send", state=QueueState.PENDING)
    with transaction.atomic():
        SendJob(Channel(sent.channel)).succeeded(item, said)
    return item


# --- other ways belong to the message


@pytest.fixture
def moved_on(school: Account, clock: MovableClock) -> tuple[Message, Message]:
    """A message that failed, and the one that goes another way in its place, still queued."""
    make_config(school.tenant, "twilio", account="school")
    make_fallback_policy(school.tenant, "sms:twilio", tries=1)
    first = message(school, provider="africastalking")
    with transaction.atomic():
        advance(Recipient.objects.get(), MessageState.FAILED, at=clock(), source="provider", provider_status="900")
    clock.advance(10)
    work("message.fallback")
    return first, Message.objects.get(continues=first)


def test_cancelling_a_message_ends_the_one_in_its_place(moved_on: tuple[Message, Message]) -> None:
    first, second = moved_on
    steering.cancel(first, by="jane")
    work()
    assert states(message=second) == {GOOD: "cancelled"}


def test_pausing_a_message_holds_the_one_in_its_place(moved_on: tuple[Message, Message], clock: MovableClock) -> None:
    first, second = moved_on
    steering.pause(first, by="jane")
    assert work()[-1].state == QueueState.PENDING
    assert states(message=second) == {GOOD: "queued"}
    steering.resume(first, by="jane")
    assert QueueItem.objects.get(reference_id=second.pk, kind="sms.send").due_at <= clock()


def test_one_that_was_sent_again_by_a_person_stands_for_itself(school: Account, clock: MovableClock) -> None:
    first = message(school)
    with transaction.atomic():
        advance(Recipient.objects.get(), MessageState.FAILED, at=clock(), source="provider", provider_status="900")
    again = steering.resend_to_failed(first, by="jane")
    QueueItem.objects.filter(reference_id=first.pk).update(state=QueueState.COMPLETED)
    with pytest.raises(Conflict):
        steering.cancel(first, by="jane")
    assert states(message=again) == {GOOD: "queued"}


# --- sent again


def test_hidden_recipients_stay_hidden_when_it_is_sent_again(school: Account, clock: MovableClock) -> None:
    make_config(school.tenant, "smtp", account="school")
    sent = send_email(tenant=school.tenant, to=["head@x.ke"], bcc=["a@x.ke", "b@x.ke"], subject="Fees", text="Due.")
    with transaction.atomic():
        for each in Recipient.objects.select_related("message").filter(role="bcc"):
            advance(each, MessageState.FAILED, at=clock(), source="provider", provider_status="550")
        advance(Recipient.objects.get(role="to"), MessageState.SENT, at=clock(), source="provider")
    again = steering.resend_to_failed(sent, by="jane")
    (call,) = build_call(again, list(Recipient.objects.filter(message=again).select_related("message").order_by("id")))
    assert [[each.address for each in letter.recipients] for letter in call.envelopes] == [["a@x.ke"], ["b@x.ke"]]


def test_a_mail_whose_files_are_gone_is_not_sent_again_without_them(school: Account, clock: MovableClock) -> None:
    sent = message(school)
    Attachment.unscoped.create(tenant=school.tenant, message=sent, filename="a.pdf", content_type="application/pdf", size=3)
    with transaction.atomic():
        advance(Recipient.objects.get(), MessageState.FAILED, at=clock(), source="provider", provider_status="900")
    with pytest.raises(Conflict, match="not kept any more"):
        steering.resend_to_failed(sent, by="jane")
    assert Message.objects.count() == 1


# --- answers that leave something open


def test_a_recipient_of_whom_an_answer_says_nothing_is_asked_about(school: Account) -> None:
    make_config(school.tenant, "mailgun", account="school")
    sent = send_email(
        tenant=school.tenant, to=["jane@x.ke"], sender="office@x.ke", subject="Fees", text="Due.", provider="mailgun"
    )
    settle(sent, SendResult((RecipientResult("jane@x.ke", MessageState.UNKNOWN),)))
    asked = QueueItem.objects.get(kind="email.find")
    assert asked.payload["recipient"] == Recipient.objects.get().pk


def test_an_answer_is_written_down_although_the_account_has_gone_meanwhile(school: Account) -> None:
    sent = message(school, GOOD, OTHER)
    Config.objects.filter(pk=school.config.pk).update(is_active=False)
    ProviderRow.objects.filter(pk=school.config.provider_id).update(enabled=False)
    later = RecipientResult(OTHER, MessageState.FAILED, provider_code="405", detail="no credit", retryable=True)
    settle(sent, SendResult((RecipientResult(GOOD, MessageState.SENT, provider_ref="ATXid_1"), later)))
    assert states() == {GOOD: "sent", OTHER: "queued"}
    assert Recipient.objects.get(address=GOOD).provider_ref == "ATXid_1"
    assert QueueItem.objects.filter(kind="sms.send", reference_id=sent.pk).count() == 2


def test_what_was_said_of_an_id_before_it_was_known_whose_it_is_counts(school: Account, clock: MovableClock) -> None:
    make_config(school.tenant, "twilio", account="school")
    sent = message(school, provider="twilio")
    recipient = Recipient.objects.select_related("message").get()
    with transaction.atomic():
        advance(recipient, MessageState.UNKNOWN, at=clock(), source="queue")
        finding.schedule_finding(recipient, sent_at=clock())
        # A rival to the same number makes the report nobody's.
        rival = message(school, provider="twilio")
        other = Recipient.objects.select_related("message").get(message=rival)
        advance(other, MessageState.UNKNOWN, at=clock(), source="queue")
        config = sent.config_id
        on_message_reported(report(school, "SM1", GOOD, provider="twilio", config_id=config))
    asked = QueueItem.objects.get(kind="sms.find")
    with transaction.atomic():
        finding.FindJob(Channel.SMS).succeeded(asked, RecipientResult(GOOD, MessageState.SENT, provider_ref="SM1"))
    assert states(message=sent) == {GOOD: "delivered"}
    assert reports.UnmatchedReport.unscoped.get().matched_at is not None


def test_nobody_who_is_given_up_on_is_forgotten(school: Account, clock: MovableClock, fault: Callable[..., None]) -> None:
    """Two doubtful recipients, one found and one given up on at the same moment: the second look calls a person."""
    sent = message(school, GOOD, OTHER)
    fault("drop_after_accept")
    work()
    item = QueueItem.objects.get(reference_id=sent.pk, kind="sms.send")
    QueueItem.objects.filter(pk=item.pk).update(state=QueueState.UNKNOWN)
    Alert.objects.all().delete()
    with transaction.atomic():
        finding.look_again(sent.pk, school.tenant.pk)
    clock.advance(60)
    work(CLOSE)
    item.refresh_from_db()
    assert item.state == QueueState.NEEDS_REVIEW
    assert Alert.objects.get().kind == "needs_review"


# --- accounts, paces, nights


def test_a_message_waits_for_its_account_and_says_so(school: Account, clock: MovableClock) -> None:
    message(school)
    Config.objects.filter(pk=school.config.pk).update(is_active=False)
    assert [each.state for each in work()] == [QueueState.PENDING]
    assert (states(), Alert.objects.get().kind) == ({GOOD: "queued"}, "message_waits_for_account")
    Config.objects.filter(pk=school.config.pk).update(is_active=True)
    clock.advance(holding.ACCOUNT_LOOK + 1)
    assert [each.state for each in work()] == [QueueState.COMPLETED]
    assert states() == {GOOD: "sent"}


def test_it_does_not_wait_for_ever(school: Account, clock: MovableClock) -> None:
    message(school)
    Config.objects.filter(pk=school.config.pk).update(is_active=False)
    clock.advance(holding.ACCOUNT_PATIENCE.total_seconds() + 1)
    work()
    assert states() == {GOOD: "failed"}


def test_it_does_not_wait_where_another_way_is_left(school: Account, clock: MovableClock) -> None:
    make_config(school.tenant, "twilio", account="school")
    make_fallback_policy(school.tenant, "sms:twilio", tries=2)
    first = message(school, provider="africastalking")
    Config.objects.filter(pk=school.config.pk).update(is_active=False)
    work()
    assert states(message=first) == {GOOD: "failed"}
    assert ProviderGrant.objects.count() == 0


def test_thousands_that_come_due_at_once_make_room_for_each_other(
    school: Account, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_config(school.tenant, "twilio", account="school")
    bulk = message(school, *[f"+2547110{n:05d}" for n in range(200)], provider="twilio", category="bulk")
    code = message(school, provider="twilio", category="otp")
    QueueItem.objects.update(due_at=clock())
    monkeypatch.setattr(holding.random, "random", lambda: 0.5)
    waits = []
    for sent in (bulk, code):
        item = QueueItem.objects.filter(reference_id=sent.pk, kind="sms.send").order_by("-id").first()
        assert item is not None
        call = SendJob(Channel.SMS).prepare(item) if sent is bulk else None  # takes the only token
        assert (call is not None) == (sent is bulk)
    for sent in (bulk, code):
        item = QueueItem.objects.filter(reference_id=sent.pk, kind="sms.send").order_by("id").first()
        assert item is not None
        with pytest.raises(Throttled) as held:
            SendJob(Channel.SMS).prepare(item)
        waits.append(held.value.retry_after or 0.0)
    assert waits[0] > 90
    assert waits[1] <= 1


def test_those_who_are_awake_do_not_wait_for_those_who_sleep(
    school: Account, clock: MovableClock, sends: Callable[[], list[list[str]]]
) -> None:
    sent = message(school, GOOD, SLEEPER)
    # Made after the message was accepted: in Nairobi it is 12:00, in Auckland 22:00.
    SendingPolicy.objects.create(tenant=school.tenant, channel="sms", quiet_from=time(21), quiet_until=time(7))
    clock.moment = clock.moment.replace(hour=9, minute=0)
    QueueItem.objects.update(due_at=clock())
    work()
    assert sends() == [[GOOD]]
    assert states() == {GOOD: "sent", SLEEPER: "queued"}
    waiting = QueueItem.objects.get(reference_id=sent.pk, state=QueueState.PENDING)
    assert waiting.due_at - clock() > timedelta(hours=8)
    clock.moment = waiting.due_at
    work()
    assert sends() == [[GOOD], [SLEEPER]]


# --- held or tried again while somebody speaks


def test_an_item_that_is_put_off_while_the_message_is_resumed_looks_again_at_once(school: Account, clock: MovableClock) -> None:
    sent = message(school)
    steering.pause(sent, by="jane")
    item = QueueItem.objects.get()
    held = holding.Held(sending.PAUSED, retry_after=holding.PAUSE_LOOK)
    steering.resume(sent, by="jane")
    QueueItem.objects.update(due_at=clock() + timedelta(hours=1))
    item.refresh_from_db()
    with transaction.atomic():
        SendJob(Channel.SMS).waiting(item, held)
    assert QueueItem.objects.get().due_at == clock()


def test_a_later_try_ends_at_once_where_the_message_was_cancelled_meanwhile(school: Account, clock: MovableClock) -> None:
    sent = message(school)
    Message.objects.update(cancelled_at=clock())
    settle(sent, SendResult((RecipientResult(GOOD, MessageState.FAILED, detail="later", retryable=True),)))
    assert {each.due_at for each in QueueItem.objects.exclude(pk=QueueItem.objects.earliest("id").pk)} == {clock()}


def test_a_later_try_looks_no_later_than_the_message_expires(school: Account, clock: MovableClock) -> None:
    sent = message(school, expires_at=clock() + timedelta(seconds=20))
    settle(sent, SendResult((RecipientResult(GOOD, MessageState.FAILED, detail="later", retryable=True),)))
    assert QueueItem.objects.latest("id").due_at == clock() + timedelta(seconds=20)


def test_cancelling_a_list_whose_reading_has_died_ends_it(school: Account) -> None:
    numbers = [Destination(f"+2547110{n:05d}") for n in range(1100)]
    sent = send_sms(tenant=school.tenant, to=numbers, message="Karibu")
    QueueItem.objects.filter(kind=sending.EXPAND_KIND).update(state=QueueState.FAILED)
    assert steering.progress(sent).status == "preparing"
    steering.cancel(sent, by="jane")
    sent.refresh_from_db()
    found = steering.progress(sent)
    assert (found.finished, found.total, found.status) == (True, 0, "cancelled")


def test_a_config_of_another_channel_is_refused(school: Account) -> None:
    mail = make_config(school.tenant, "smtp", account="school")
    with pytest.raises(UnsupportedOperation) as refused:
        sending.accept(tenant=school.tenant, draft=Draft(channel="sms", body="x", config_id=mail.pk), destinations=[])
    assert refused.value.attr == "config"
