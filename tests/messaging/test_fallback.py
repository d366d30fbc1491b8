"""Where a message goes on, and with which words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django_scopes import scope

from integrations.contracts.errors import CircuitOpen, ProviderUnavailable, RateLimited, Throttled
from integrations.contracts.messaging import MessageState
from integrations.events import DomainEvent
from integrations.messaging.composing import fill
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.fallback import fallback
from integrations.messaging.jobs.sending import SendJob
from integrations.messaging.models import (
    Channel,
    Device,
    Message,
    MessageTemplate,
)
from integrations.messaging.sending import accept
from integrations.messaging.transitions import recipient_object
from integrations.models import QueueItem, QueueState, Tenant
from tests.factories import MovableClock, make_config, make_fallback_policy
from tests.messaging.fallback_support import (
    DELIVERED,
    FAILED,
    NUMBER,
    PARENT,
    SECOND,
    SENT,
    THIRD,
    after,
    go_on,
    move,
    send,
    story,
    to,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def school(tenant: Tenant, clock: MovableClock) -> Iterator[Tenant]:
    """A tenant with two SMS accounts, the first one primary, and one for e-mail; its scope is active."""
    make_config(tenant, "africastalking")
    make_config(tenant, "twilio")
    make_config(tenant, "smtp")
    with scope(tenant=tenant):
        yield tenant


def test_what_failed_goes_on_by_the_next_provider_with_the_same_words(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school, category="notice", reference=("class", "4B"), sender="SCHOOL")
    move(first)
    go_on()
    (second,) = after(first)
    assert (second.provider, second.channel, second.step, second.body) == ("twilio", "sms", 1, "School is closed.")
    assert (second.category, second.reference_id, second.segments, second.encoding) == ("notice", "4B", 1, "GSM-7")
    assert second.sender == "", "a name that one provider knows means nothing to another"
    old, new = first.recipients.get(), second.recipients.get()
    assert (old.state, new.state, new.address, new.instead_of) == ("failed", "queued", NUMBER, old)
    assert story(old) == [f"goes on by SMS with twilio as {second.pk}"]
    assert recipient_object(old)["fallback"] == second.pk
    assert recipient_object(new)["continues"] == first.pk
    assert QueueItem.objects.filter(kind="sms.send", reference_id=second.pk, state="pending").count() == 1


def test_it_ends_with_the_last_step(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", "email")
    first = send(school, to(email=PARENT))
    move(first)
    go_on()
    (second,) = after(first)
    move(second)
    go_on()
    (third,) = after(second)
    assert (third.channel, third.step, third.provider) == ("email", 2, "smtp")
    assert third.recipients.get().alternatives == {"email": PARENT, "sms": NUMBER}
    move(third)
    go_on()
    assert (after(third), Message.objects.count()) == ([], 3)


def test_an_email_gets_a_subject_and_the_accounts_sender(school: Tenant) -> None:
    make_fallback_policy(school, "email")
    first = send(school, to(email=PARENT), message="Term starts on Monday.\n" + "Bring books. " * 10)
    move(first)
    go_on()
    (second,) = after(first)
    assert (second.subject, second.body) == ("Term starts on Monday.", first.body.strip())
    assert "@" in second.sender
    assert (second.recipients.get().address, second.recipients.get().role) == (PARENT, "to")


def test_the_other_channels_template_of_the_same_name_is_filled_in(school: Tenant) -> None:
    make_fallback_policy(school, "email")
    MessageTemplate.objects.create(
        tenant=school, channel="email", name="fee", subject="Fee of {{ pupil }}", body="Dear parent, {{ amount }} is due."
    )
    same = {"template_name": "fee", "data": {"pupil": "Amina", "amount": "KES 100"}}
    first = send(school, to(email=PARENT), message="KES 100 is due.", **same)
    move(first)
    go_on()
    assert [(each.subject, each.body) for each in after(first)] == [("Fee of Amina", "Dear parent, KES 100 is due.")]
    lacking = send(school, to(email=PARENT), message="It is due.", template_name="fee", data={"pupil": "Amina"})
    move(lacking)
    go_on()
    assert [each.body for each in after(lacking)] == ["It is due."], "better the text's own words than none"


def test_each_gets_his_own_words(school: Tenant) -> None:
    make_fallback_policy(school, "email")
    first = send(
        school,
        Destination(NUMBER, data={"pupil": "Amina"}, alternatives={"email": PARENT}),
        Destination(SECOND, data={"pupil": "Brian"}, alternatives={"email": "b@example.org"}),
        Destination(THIRD, data={"pupil": "Carol"}, alternatives={"email": PARENT}),
        message="{{ pupil }} is absent.",
    )
    move(first)
    go_on()
    found = {}
    for message in after(first):
        for each in message.recipients.all():
            found[each.instead_of.data["pupil"]] = (each.address, fill(message, each).body)
    assert found == {
        "Amina": (PARENT, "Amina is absent."),
        "Brian": ("b@example.org", "Brian is absent."),
        "Carol": (PARENT, "Carol is absent."),
    }
    assert len(after(first)) == 2, "one of two letters to the same parent is not lost"


def test_a_step_without_an_address_is_passed_over(school: Tenant) -> None:
    make_fallback_policy(school, "push", "email", "sms:twilio")
    first = send(school, to(email=PARENT), to(SECOND), to(THIRD, push="nobody"))
    move(first)
    go_on()
    assert {(each.channel, each.step, each.recipients.get().instead_of.address) for each in after(first)[:1]} == {
        ("email", 2, NUMBER)
    }
    assert {each.instead_of.address for each in after(first)[1].recipients.all()} == {SECOND, THIRD}


def test_a_user_is_reached_on_the_device_he_registered_last(school: Tenant, clock: MovableClock) -> None:
    make_config(school, "fcm")
    make_fallback_policy(school, "push")
    for token in ("old-token", "new-token", "dead-token"):
        clock.advance(60)
        gone = clock() if token == "dead-token" else None
        Device.objects.create(tenant=school, token=token, platform="android", user="u-1", gone_at=gone)
    first = send(school, to(push="u-1"))
    move(first)
    go_on()
    (second,) = after(first)
    only = second.recipients.get()
    assert (second.channel, second.provider, second.body) == ("push", "fcm", "School is closed.")
    assert (only.address, only.name, only.device.token) == ("new-token", "u-1", "new-token")


def test_a_long_email_is_shortened_for_a_text(school: Tenant) -> None:
    make_fallback_policy(school, "sms", channel="email")
    draft = Draft(channel=Channel.EMAIL, subject="Report", body="Dear parent. " * 300, sender="school@example.org")
    first = accept(tenant=school, draft=draft, destinations=[Destination(PARENT, alternatives={"sms": NUMBER})])
    move(first, MessageState.BOUNCED)
    go_on()
    (second,) = after(first)
    assert (second.provider, len(second.body) <= 1600, second.body[-3:]) == ("africastalking", True, "...")
    assert (second.segments, second.recipients.get().address) == (11, NUMBER)


def test_those_who_fail_together_go_on_together(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school, NUMBER, SECOND, THIRD)
    move(first, address=NUMBER)
    move(first, address=SECOND)
    item = QueueItem.objects.get(kind=fallback.GO_ON_KIND)
    assert len(item.payload["recipients"]) == 2
    item.key = "of another transaction"
    item.save()
    move(first, address=THIRD)
    assert QueueItem.objects.filter(kind=fallback.GO_ON_KIND).count() == 2
    go_on()
    (second,) = after(first)
    assert {each.address for each in second.recipients.all()} == {NUMBER, SECOND, THIRD}


def test_run_again_it_finds_nobody_left(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school)
    move(first)
    go_on()
    QueueItem.objects.filter(kind=fallback.GO_ON_KIND).update(state=QueueState.PENDING)
    go_on()
    assert len(after(first)) == 1


def test_the_policy_of_the_messages_category_comes_first(school: Tenant) -> None:
    make_fallback_policy(school, "email")
    make_fallback_policy(school, "sms:twilio", category="otp")
    make_fallback_policy(school, "email", category="news", is_active=False)
    found = {}
    for category in ("", "otp", "news", "other"):
        first = send(school, to(email=PARENT), category=category)
        move(first)
        go_on()
        found[category] = [each.channel for each in after(first)]
    assert found == {"": ["email"], "otp": ["sms"], "news": [], "other": ["email"]}


# --- no receipt ------------------------------------------------------------------------------------------------------


def answered(message: Message) -> None:
    """Let the provider take the message."""
    move(message, SENT, "101")
    fallback.watch(message, list(message.recipients.filter(state="sent")))


def test_without_a_receipt_in_time_it_goes_on_and_the_first_stays_sent(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", after_minutes=5)
    first = send(school, NUMBER, SECOND)
    answered(first)
    go_on(wait=299)
    assert after(first) == []
    move(first, DELIVERED, address=SECOND)
    go_on(wait=301)
    (second,) = after(first)
    old = first.recipients.get(address=NUMBER)
    assert [each.address for each in second.recipients.all()] == [NUMBER]
    assert (old.state, story(old)) == ("sent", [f"no receipt in 5 minutes: goes on by SMS with twilio as {second.pk}"])


def test_what_was_opened_has_arrived(school: Tenant, clock: MovableClock) -> None:
    make_fallback_policy(school, "sms:twilio", after_minutes=5)
    first = send(school)
    answered(first)
    first.recipients.update(opened_at=clock())
    go_on(wait=301)
    assert after(first) == []


def test_a_late_receipt_calls_back_what_still_waits(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", after_minutes=1)
    first = send(school)
    answered(first)
    go_on(wait=61)
    (second,) = after(first)
    move(first, DELIVERED)
    second.refresh_from_db()
    assert second.cancelled_at is not None
    assert SendJob(Channel.SMS).prepare(QueueItem.objects.get(reference_id=second.pk)) is None
    assert second.recipients.get().state == MessageState.CANCELLED


def test_a_late_receipt_of_one_leaves_the_others_theirs(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", after_minutes=1)
    first = send(school, NUMBER, SECOND)
    answered(first)
    go_on(wait=61)
    move(first, DELIVERED, address=NUMBER)
    (second,) = after(first)
    assert second.cancelled_at is None


def test_a_failure_reported_after_it_went_on_starts_no_second_one(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", "email", after_minutes=1)
    first = send(school, to(email=PARENT))
    answered(first)
    go_on(wait=61)
    move(first, FAILED)
    go_on(wait=120)
    assert [each.provider for each in after(first)] == ["twilio"]


def test_one_who_was_thought_lost_and_was_sent_to_is_watched_too(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", after_minutes=1)
    first = send(school)
    move(first, MessageState.UNKNOWN)
    go_on(wait=3600)
    assert after(first) == []
    move(first, SENT)
    go_on(wait=61)
    assert len(after(first)) == 1


def test_without_minutes_only_failure_counts(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school)
    answered(first)
    assert not QueueItem.objects.filter(kind=fallback.RECEIPTS_KIND).exists()


# --- what the sending job asks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "attempts", "leaves"),
    [
        (ProviderUnavailable("down"), 1, False),
        (ProviderUnavailable("down"), 2, True),
        (RateLimited("slower"), 2, True),
        (CircuitOpen("open"), 0, True),
        (Throttled("ours"), 5, False),
    ],
)
def test_a_provider_that_is_down_is_left_after_its_tries(school: Tenant, error: Any, attempts: int, leaves: bool) -> None:
    make_fallback_policy(school, "sms:twilio")
    first = send(school)
    item = QueueItem.objects.get(kind="sms.send")
    item.attempts = attempts
    assert SendJob(Channel.SMS).gives_up(item, error) is leaves
    assert first.recipients.get().state == "queued"


def test_it_is_not_left_where_one_has_no_other_way(school: Tenant) -> None:
    make_fallback_policy(school, "email")
    send(school, to(email=PARENT), to(SECOND))
    item = QueueItem.objects.get(kind="sms.send")
    assert SendJob(Channel.SMS).gives_up(item, CircuitOpen("open")) is False


def test_later_is_believed_as_often_as_the_policy_says(school: Tenant) -> None:
    make_fallback_policy(school, "sms:twilio", tries=2)
    first = send(school)
    recipient = first.recipients.get()
    assert fallback.has_step(first, recipient) is False
    recipient.tries = 1
    assert fallback.has_step(first, recipient) is True


def test_the_failed_event_of_one_that_went_on_names_the_next(school: Tenant, emitted: list[DomainEvent]) -> None:
    make_fallback_policy(school, "sms:twilio", after_minutes=1)
    first = send(school)
    answered(first)
    go_on(wait=61)
    move(first, FAILED)
    (failed,) = [each for each in emitted if each.type == "message.failed"]
    assert failed.object["fallback"] == after(first)[0].pk
