from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from django_scopes import scope, scopes_disabled

from integrations.contracts import clock
from integrations.contracts.errors import Conflict
from integrations.events import DomainEvent
from integrations.messaging.jobs.sending import RETRY_WAITS
from integrations.messaging.models import MessageEvent, Recipient, Suppression
from integrations.messaging.sms.services import get_balance, send_sms
from integrations.models import Alert, Attempt, CallLog, ExternalReference, QueueItem, QueueState
from integrations.runtime.queue import cancel_item, retry_item
from integrations.runtime.worker import Outcome, claim, recover_lapsed
from integrations.simulators import running_simulators
from tests.messaging.conftest import SLUG, Account, inbox, queue_items

RunDue = Callable[[], list[Outcome]]
Sends = Callable[[], list[list[str]]]
Fault = Callable[..., None]
NUMBER = "+254711000123"


def story(recipient: Recipient) -> list[tuple[str, str]]:
    return list(MessageEvent.objects.filter(recipient=recipient).values_list("state", "source"))


def test_a_text_is_sent_and_the_answer_written_down(
    school: Account, simulator: running_simulators, run_due: RunDue, sends: Sends
) -> None:
    message = send_sms(tenant=school.tenant, to=[NUMBER, "+254711000124"], message="Karibu")
    assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    assert sends() == [[NUMBER, "+254711000124"]]
    assert inbox(simulator, NUMBER) == ["Karibu"]
    first, second = Recipient.objects.all()
    assert (first.state, second.state) == ("sent", "sent")
    assert (first.cost, first.currency, first.provider_status) == (Decimal("0.8"), "KES", "101")
    assert first.provider_ref.startswith("ATXid_")
    assert first.provider_ref != second.provider_ref
    assert first.sent_at is not None
    assert story(first) == [("queued", "hub"), ("sent", "provider")]
    references = ExternalReference.objects.filter(kind="message").order_by("id")
    assert [(r.provider, r.external_id, r.config_id, r.object_type, r.object_id) for r in references] == [
        (SLUG, each.provider_ref, school.config.pk, "message", message.pk) for each in (first, second)
    ]
    assert Attempt.objects.get().state == "succeeded"
    log = CallLog.objects.get(operation="send")
    assert (log.reference_type, log.reference_id) == ("message", message.pk)
    assert school.config.secrets()["api_key"] not in f"{log.request_headers}{log.request_body}{log.response_body}"


def test_nothing_is_left_to_do_the_second_time(school: Account, run_due: RunDue, sends: Sends) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    run_due()
    QueueItem.objects.update(state=QueueState.PENDING)  # as if the same item were run twice
    assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    assert len(sends()) == 1


def test_refused_numbers_fail_and_the_others_go_out(school: Account, run_due: RunDue, emitted: list[DomainEvent]) -> None:
    send_sms(tenant=school.tenant, to=["+254711000403", "+254711000406", NUMBER], message="Karibu")
    run_due()
    invalid, opted_out, fine = Recipient.objects.all()
    assert (invalid.state, invalid.provider_status, invalid.detail) == ("failed", "403", "not a valid phone number")
    assert (opted_out.state, opted_out.provider_status, opted_out.provider_ref) == ("failed", "406", "")
    assert fine.state == "sent"
    assert [(s.address, s.reason) for s in Suppression.objects.all()] == [("+254711000406", "opt_out")]
    assert [(event.type, event.object["to"]) for event in emitted] == [
        ("message.failed", "+254711000403"),
        ("message.failed", "+254711000406"),
    ]
    assert emitted[0].object["error"] == {"code": "403", "message": "not a valid phone number"}


def test_a_number_suppressed_while_it_waited_is_not_sent_to(school: Account, run_due: RunDue, sends: Sends) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    Suppression.objects.create(tenant=school.tenant, address=NUMBER, reason="opted out")
    assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    assert sends() == []
    assert Recipient.objects.get().state == "failed"


def test_later_is_tried_again_for_those_alone_until_the_waits_are_used_up(
    school: Account, run_due: RunDue, sends: Sends, emitted: list[DomainEvent]
) -> None:
    busy = "+254711000501"
    send_sms(tenant=school.tenant, to=[busy, NUMBER], message="Karibu")
    moment = clock.now()
    for tries, wait in enumerate((0, *RETRY_WAITS), start=1):
        moment += timedelta(seconds=wait)
        with clock.stopped_at(moment - timedelta(seconds=1)):
            assert wait == 0 or run_due() == []
        with clock.stopped_at(moment):
            assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
        recipient = Recipient.objects.get(address=busy)
        assert recipient.state == ("queued" if tries <= len(RETRY_WAITS) else "failed")
    assert sends() == [[busy, NUMBER]] + [[busy]] * len(RETRY_WAITS)
    assert (recipient.tries, recipient.detail) == (len(RETRY_WAITS), "gateway error at the provider")
    assert [event.type for event in emitted] == ["message.failed"]
    assert not QueueItem.objects.filter(state=QueueState.PENDING).exists()


@pytest.mark.parametrize("name", ["drop_after_accept", "error_500"])
def test_an_unknown_outcome_is_never_sent_again(
    school: Account,
    simulator: running_simulators,
    run_due: RunDue,
    sends: Sends,
    fault: Fault,
    emitted: list[DomainEvent],
    name: str,
) -> None:
    fault(name)
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    assert [outcome.state for outcome in run_due()] == [QueueState.NEEDS_REVIEW]
    recipient = Recipient.objects.get()
    assert (recipient.state, recipient.provider_ref) == ("unknown", "")
    assert Alert.objects.get().kind == "needs_review"
    (item,) = queue_items()
    with pytest.raises(Conflict):
        retry_item(item.pk, tenant_id=school.tenant.pk, by="admin")
    with clock.stopped_at(clock.now() + timedelta(days=2)):
        assert run_due() == []
        assert recover_lapsed() == 0
    assert len(sends()) == 1
    assert len(inbox(simulator, NUMBER)) == (1 if name == "drop_after_accept" else 0)
    assert emitted == []


def test_a_worker_that_died_in_the_call_leaves_an_unknown_outcome(school: Account, run_due: RunDue, sends: Sends) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    (item,) = claim(10, kinds=["sms.send"])
    Attempt.objects.create(tenant=school.tenant, item=item, fence=item.fence, operation="send", started_at=clock.now())
    with clock.stopped_at(clock.now() + timedelta(minutes=10)):
        assert recover_lapsed() == 1
        assert run_due() == []
    item.refresh_from_db()
    assert item.state == QueueState.NEEDS_REVIEW
    assert Recipient.objects.get().state == "unknown"
    assert sends() == []


def test_a_worker_that_died_before_the_call_costs_nothing(school: Account, run_due: RunDue, sends: Sends) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    claim(10, kinds=["sms.send"])
    with clock.stopped_at(clock.now() + timedelta(minutes=10)):
        assert recover_lapsed() == 1
        assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    assert sends() == [[NUMBER]]
    assert Recipient.objects.get().state == "sent"


def test_a_rate_limit_puts_the_text_off_and_says_so(school: Account, run_due: RunDue, fault: Fault) -> None:
    fault("error_429", retry_after=30)
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    moment: datetime = clock.now()
    with clock.stopped_at(moment):
        assert [outcome.state for outcome in run_due()] == [QueueState.PENDING]
    (item,) = queue_items()
    assert item.due_at == moment + timedelta(seconds=30)
    assert Recipient.objects.get().state == "queued"
    with clock.stopped_at(moment + timedelta(seconds=31)):
        assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    assert Recipient.objects.get().state == "sent"


def test_refused_credentials_fail_and_after_the_repair_a_person_can_retry(
    school: Account, run_due: RunDue, sends: Sends, emitted: list[DomainEvent]
) -> None:
    good = school.config.secrets()
    school.config.set_secrets({"api_key": "wrong-key-000000"})
    school.config.save()
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    assert [outcome.state for outcome in run_due()] == [QueueState.FAILED]
    recipient = Recipient.objects.get()
    assert (recipient.state, recipient.given_up) == ("failed", True)
    assert recipient.detail == "The supplied authentication is invalid"
    school.config.refresh_from_db()
    assert school.config.status == "needs_attention"

    school.config.set_secrets(good)
    school.config.save()
    retry_item(queue_items()[0].pk, tenant_id=school.tenant.pk, by="admin")
    assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    recipient.refresh_from_db()
    assert (recipient.state, recipient.given_up, recipient.detail) == ("sent", False, "")
    assert [state for state, _ in story(recipient)] == ["queued", "failed", "queued", "sent"]
    assert [event.type for event in emitted] == ["message.failed"]
    assert len(sends()) == 2


def test_a_cancelled_text_is_not_sent(school: Account, run_due: RunDue, sends: Sends) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu", send_at=clock.now() + timedelta(hours=1))
    cancel_item(queue_items()[0].pk, tenant_id=school.tenant.pk, by="admin")
    recipient = Recipient.objects.get()
    assert (recipient.state, recipient.provider_status, recipient.detail) == ("failed", "cancelled", "Cancelled by admin.")
    with clock.stopped_at(clock.now() + timedelta(hours=2)):
        assert run_due() == []
    assert sends() == []


def test_a_sender_that_is_not_ours_fails_without_a_retry(school: Account, run_due: RunDue) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu", sender="NOTOURS")
    assert [outcome.state for outcome in run_due()] == [QueueState.FAILED]
    recipient = Recipient.objects.get()
    assert (recipient.state, recipient.provider_status) == ("failed", "InvalidSenderId")


def test_each_tenant_sends_with_its_own_account(
    school: Account, studio: Account, simulator: running_simulators, run_due: RunDue
) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="From the school")
    with scope(tenant=studio.tenant):
        send_sms(tenant=studio.tenant, to=[NUMBER], message="From the studio")
    with scopes_disabled():
        assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED] * 2
    state = requests.get(f"{simulator.url}/control/{SLUG}/state", timeout=10).json()
    sent: list[dict[str, Any]] = state["messages"]
    assert {(each["account"], each["text"]) for each in sent} == {("school", "From the school"), ("studio", "From the studio")}
    assert Recipient.objects.count() == 1
    assert Recipient.unscoped.count() == 2


def test_the_balance_is_the_accounts_own(school: Account, run_due: RunDue) -> None:
    provider, before = get_balance(tenant=school.tenant)
    send_sms(tenant=school.tenant, to=[f"+25471100012{n}" for n in range(5)], message="Hi")
    run_due()
    _, after = get_balance(tenant=school.tenant)
    assert (provider, before.currency, before.amount - after.amount) == (SLUG, "KES", Decimal(4))
