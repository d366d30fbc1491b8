"""A message on its way: held, let go on, ended, sent again to those whom it did not reach; and what goes before what."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import time, timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django_scopes import scope

from integrations.contracts.errors import Conflict
from integrations.contracts.messaging import MessageState
from integrations.messaging import sending, steering
from integrations.messaging.drafts import Destination, Draft
from integrations.messaging.handlers import on_message_reported
from integrations.messaging.models import Message, Recipient, SendingPolicy
from integrations.messaging.safety.screening import suppress
from integrations.messaging.sms.services import send_sms
from integrations.messaging.transitions import advance
from integrations.models import QueueItem, QueueState
from integrations.runtime import queue
from integrations.runtime.worker import Outcome, claim, run
from tests.factories import MovableClock, make_config
from tests.messaging.conftest import Account, report
from tests.messaging.test_lists import expand, numbers

GOOD, OTHER, ABSENT, REFUSED = "+254711000123", "+254711000124", "+254711000900", "+254711000406"


def message(school: Account, *to: str, **more: Any) -> Message:
    return send_sms(tenant=school.tenant, to=list(to) or [GOOD], message="Karibu", **more)


def states() -> dict[str, str]:
    return dict(Recipient.objects.values_list("address", "state"))


def work(limit: int = 50) -> list[Outcome]:
    """Run what is due until nothing is."""
    outcomes: list[Outcome] = []
    while items := claim(20, kinds=["sms.send", sending.EXPAND_KIND]):
        outcomes += [run(item) for item in items]
        assert len(outcomes) <= limit
    return outcomes


@pytest.mark.django_db(transaction=True)
class TestPausing:
    def test_nothing_is_sent_while_paused_and_all_of_it_once_resumed(
        self, school: Account, clock: MovableClock, sends: Callable[[], list[list[str]]]
    ) -> None:
        sent = message(school, GOOD, OTHER)
        steering.pause(sent, by="jane")
        assert (sent.paused_at, Message.objects.get().paused_at) == (clock(), clock())
        assert [each.state for each in work()] == [QueueState.PENDING]
        assert steering.progress(sent).status == "paused"
        assert sends() == []
        clock.advance(minutes=5)
        assert work() == []
        steering.resume(sent, by="jane")
        assert [each.state for each in work()] == [QueueState.COMPLETED]
        assert sends() == [[GOOD, OTHER]]
        assert QueueItem.objects.get().attempts == 1

    def test_a_paused_list_is_read_on_and_not_sent(self, school: Account, clock: MovableClock) -> None:
        sent = message(school, *numbers(1100))
        steering.pause(sent, by="jane")
        expand()
        work()
        assert steering.progress(sent).counts == {"queued": 1100}
        assert Message.objects.get().prepared_at is not None

    def test_resuming_leaves_what_waits_for_another_reason(self, school: Account, clock: MovableClock) -> None:
        later = clock() + timedelta(hours=3)
        sent = message(school, send_at=later)
        steering.pause(sent, by="jane")
        steering.resume(sent, by="jane")
        assert QueueItem.objects.get().due_at == later
        # Put off by the provider, not by the pause.
        QueueItem.objects.update(last_error="The provider answered 503.", due_at=later)
        steering.pause(sent, by="jane")
        steering.resume(sent, by="jane")
        assert QueueItem.objects.get().due_at == later

    def test_a_message_that_was_scheduled_and_paused_past_its_time_goes_at_once(
        self, school: Account, clock: MovableClock
    ) -> None:
        sent = message(school, send_at=clock() + timedelta(minutes=10))
        steering.pause(sent, by="jane")
        clock.advance(minutes=20)
        work()
        steering.resume(sent, by="jane")
        work()
        assert states() == {GOOD: "sent"}

    def test_turns_of_a_slow_sender_are_given_anew(self, school: Account, clock: MovableClock) -> None:
        twilio = make_config(school.tenant, "twilio")
        sent = message(school, *numbers(40), config_id=twilio.pk)
        (rate,) = {steering._pace(sent)}
        assert rate
        steering.pause(sent, by="jane")
        clock.advance(20 / rate)
        work()
        assert QueueItem.objects.filter(last_error=steering.PAUSED).count() == 21
        steering.resume(sent, by="jane")
        due = QueueItem.objects.order_by("due_at").values_list("due_at", flat=True)
        assert [round((each - clock()).total_seconds() * rate) for each in due] == list(range(40))

    def test_what_makes_no_sense_is_a_conflict(self, school: Account, clock: MovableClock) -> None:
        sent = message(school)
        with pytest.raises(Conflict):
            steering.resume(sent, by="jane")
        steering.pause(sent, by="jane")
        with pytest.raises(Conflict):
            steering.pause(sent, by="jane")
        steering.cancel(sent, by="jane")
        for act in (steering.pause, steering.resume, steering.cancel):
            with pytest.raises(Conflict):
                act(sent, by="jane")
        gone = message(school, OTHER)
        work()
        for act in (steering.pause, steering.cancel):
            with pytest.raises(Conflict, match="gone out"):
                act(gone, by="jane")


@pytest.mark.django_db(transaction=True)
class TestCancelling:
    @pytest.mark.parametrize("wait", ["scheduled", "quiet hours", "paused"])
    def test_whatever_it_waits_for_it_ends_at_once(
        self, school: Account, clock: MovableClock, sends: Callable[[], list[list[str]]], wait: str
    ) -> None:
        if wait == "quiet hours":
            SendingPolicy.objects.create(tenant=school.tenant, channel="sms", quiet_from=time(8), quiet_until=time(20))
        sent = message(school, GOOD, OTHER, send_at=clock() + timedelta(days=30) if wait == "scheduled" else None)
        if wait == "paused":
            steering.pause(sent, by="jane")
        work()
        assert states() == {GOOD: "queued", OTHER: "queued"}
        steering.cancel(sent, by="jane")
        assert [each.state for each in work()] == [QueueState.COMPLETED]
        assert states() == {GOOD: "cancelled", OTHER: "cancelled"}
        done = steering.progress(sent)
        assert (done.finished, done.percent, done.status) == (True, 100, "cancelled")
        assert sends() == []

    def test_what_may_have_been_sent_is_not_called_cancelled(
        self, school: Account, fault: Callable[..., None], clock: MovableClock
    ) -> None:
        fault("drop_after_accept")
        sent = message(school, GOOD)
        work()
        assert states() == {GOOD: "unknown"}
        with pytest.raises(Conflict):
            steering.cancel(sent, by="jane")
        assert states() == {GOOD: "unknown"}


@pytest.mark.django_db(transaction=True)
class TestSendingAgain:
    def failed(self, school: Account, *to: str, **more: Any) -> Message:
        """Return a message whose recipients are all failed, as a phone that was switched off makes them."""
        sent = message(school, *to, **more)
        work()
        for each in Recipient.objects.filter(message=sent).select_related("message"):
            advance(each, MessageState.FAILED, at=sent.created, source="report", detail="absent", provider_status="Absent")
        return sent

    def test_the_same_words_go_to_those_alone_whom_it_did_not_reach(self, school: Account, simulator: Any) -> None:
        sent = message(school, GOOD, OTHER, ABSENT, REFUSED, category="notice", reference=("class", "4B"))
        work()
        for address, state in ((ABSENT, "AbsentSubscriber"), (GOOD, "Success")):
            ref = Recipient.objects.get(address=address).provider_ref
            with transaction.atomic():
                on_message_reported(report(school, ref, address, state))
        suppress(tenant_id=school.tenant.pk, channel="sms", address=OTHER, reason="opt_out")
        assert Recipient.objects.get(address=REFUSED).state == "failed"

        again = steering.resend_to_failed(sent, by="jane")
        assert (again.continues_id, again.body, again.category) == (sent.pk, "Karibu", "notice")
        assert (again.reference_type, again.reference_id, again.created_by) == ("class", "4B", "jane")
        (only,) = Recipient.objects.filter(message=again)
        assert only.address == ABSENT, "one who opted out is on the suppression list, and the others were reached"
        assert only.instead_of == Recipient.objects.get(message=sent, address=ABSENT)
        work()
        only.refresh_from_db()
        assert only.state == "sent"

    def test_two_clicks_send_once(self, school: Account) -> None:
        sent = self.failed(school, GOOD, OTHER)
        steering.resend_to_failed(sent, by="jane")
        with pytest.raises(Conflict):
            steering.resend_to_failed(sent, by="jane")
        assert Message.objects.count() == 2

    def test_two_clicks_at_the_same_moment_send_once(self, school: Account) -> None:
        sent = self.failed(school, GOOD, OTHER)

        def click(_: int) -> str:
            try:
                with scope(tenant=school.tenant):
                    steering.resend_to_failed(Message.objects.get(pk=sent.pk), by="jane")
            except Conflict:
                return "conflict"
            finally:
                connections.close_all()
            return "sent"

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(click, range(4))) == ["conflict"] * 3 + ["sent"]
        assert Recipient.objects.filter(instead_of__isnull=False).count() == 2

    def test_a_key_finds_the_message_of_the_first_click(self, school: Account) -> None:
        sent = self.failed(school, GOOD)
        first = steering.resend_to_failed(sent, by="jane", key="again-1")
        assert steering.resend_to_failed(sent, by="jane", key="again-1").pk == first.pk

    def test_never_to_those_of_whom_nobody_knows(self, school: Account, fault: Callable[..., None]) -> None:
        fault("drop_after_accept")
        sent = message(school, GOOD)
        work()
        assert states() == {GOOD: "unknown"}
        with pytest.raises(Conflict):
            steering.resend_to_failed(sent, by="jane")
        assert Message.objects.count() == 1

    def test_what_expired_may_go_again_and_personal_words_stay_personal(self, school: Account, clock: MovableClock) -> None:
        with_name = Destination(GOOD, "Jane", {"amount": "5"}, {"email": "jane@example.org"})
        draft = Draft(channel="sms", body="{{ name }}: {{ amount }}", personal=True, expires_at=clock() + timedelta(hours=1))
        sent = sending.accept(tenant=school.tenant, draft=draft, destinations=[with_name])
        clock.advance(hours=2)
        work()
        assert states() == {GOOD: "expired"}
        again = steering.resend_to_failed(sent, by="jane")
        copy = Recipient.objects.get(message=again)
        assert (copy.name, copy.data, copy.alternatives) == ("Jane", {"amount": "5"}, {"email": "jane@example.org"})
        work()
        assert Recipient.objects.get(pk=copy.pk).state == "sent"

    def test_an_item_that_is_retried_by_hand_afterwards_sends_nothing(
        self, school: Account, sends: Callable[[], list[list[str]]]
    ) -> None:
        sent = message(school, GOOD)
        item = QueueItem.objects.get()
        queue.cancel_item(item.pk, tenant_id=school.tenant.pk, by="jane")
        assert Recipient.objects.get().given_up
        steering.resend_to_failed(sent, by="jane")
        queue.retry_item(item.pk, tenant_id=school.tenant.pk, by="joe")
        work()
        assert sends() == [[GOOD]]

    def test_a_list_that_is_still_read_has_to_wait(self, school: Account) -> None:
        with pytest.raises(Conflict, match="prepared"):
            steering.resend_to_failed(message(school, *numbers(1001)), by="jane")


@pytest.mark.django_db(transaction=True)
class TestProgress:
    def test_it_counts_up_to_the_end_with_the_cost(self, school: Account) -> None:
        sent = message(school, GOOD, OTHER, REFUSED)
        before = steering.progress(sent)
        assert (before.total, before.done, before.percent, before.finished, before.cost) == (3, 0, 0, False, None)
        work()
        after = steering.progress(sent)
        assert (after.total, after.done, after.percent, after.finished) == (3, 3, 100, True)
        assert after.counts == {"sent": 2, "failed": 1}
        assert (after.cost, after.currency) == (sum(each.cost or 0 for each in Recipient.objects.all()), "KES")

    def test_rows_that_are_not_read_yet_count_as_not_done(self, school: Account) -> None:
        sent = message(school, *numbers(1500))
        (item,) = claim(1, kinds=[sending.EXPAND_KIND])
        run(item)
        Recipient.objects.filter(message=sent).update(state="sent")
        now = steering.progress(sent)
        assert (now.total, now.done, now.percent, now.finished, now.status) == (1500, 500, 33, False, "preparing")


def test_a_one_time_code_overtakes_a_broadcast(school: Account, clock: MovableClock) -> None:
    """2,000 recipients stand in the queue; the code that is accepted after them is the next that a worker takes."""
    message(school, *numbers(2000), category="bulk")
    expand()
    assert QueueItem.objects.filter(kind="sms.send", state="pending").count() == 20
    code = message(school, category="otp")
    first, second = claim(2, kinds=["sms.send"])
    assert first.reference_id == code.pk
    assert second.priority == 8


def test_a_code_by_a_slow_sender_does_not_wait_for_the_broadcasts_turns(school: Account, clock: MovableClock) -> None:
    twilio = make_config(school.tenant, "twilio")
    message(school, *numbers(100), config_id=twilio.pk)
    code = message(school, category="otp", config_id=twilio.pk)
    assert QueueItem.objects.get(reference_id=code.pk).due_at == clock()
    assert claim(1, kinds=["sms.send"])[0].reference_id == code.pk


def test_turns_after_the_night_keep_their_distance(school: Account, clock: MovableClock) -> None:
    SendingPolicy.objects.create(tenant=school.tenant, channel="sms", quiet_from=time(8), quiet_until=time(20))
    twilio = make_config(school.tenant, "twilio")
    sent = message(school, *numbers(1200), config_id=twilio.pk)
    expand()
    rate = steering._pace(sent)
    assert rate
    due = list(QueueItem.objects.filter(kind="sms.send").order_by("due_at").values_list("due_at", flat=True))
    assert due[0] > clock() + timedelta(hours=1)
    assert [round((each - due[0]).total_seconds() * rate) for each in due] == list(range(1200))


def test_another_tenants_items_are_left_alone(school: Account, studio: Account, clock: MovableClock) -> None:
    later = clock() + timedelta(days=1)
    with scope(tenant=studio.tenant):
        send_sms(tenant=studio.tenant, to=[GOOD], message="Hi", send_at=later)
    steering.cancel(message(school, send_at=later), by="jane")
    assert QueueItem.unscoped.get(tenant=studio.tenant).due_at == later


def test_a_list_is_read_ahead_of_its_own_texts_and_after_codes(school: Account, clock: MovableClock) -> None:
    many = message(school, *numbers(1500), category="bulk")
    (first,) = claim(1)
    assert (first.kind, first.reference_id) == (sending.EXPAND_KIND, many.pk)
    run(first)
    code = message(school, category="otp")
    taken = claim(3)
    assert [(each.kind, each.reference_id == code.pk) for each in taken] == [
        ("sms.send", True),
        (sending.EXPAND_KIND, False),
        ("sms.send", False),
    ]
