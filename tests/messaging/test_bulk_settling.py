"""A call for many recipients is written down in as many statements as one for few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.events import MessageMoved, _handlers, subscribe
from integrations.messaging.models import MessageEvent, Recipient, UnmatchedReport
from integrations.messaging.sms.services import send_sms
from integrations.messaging.transitions import advance_sent
from integrations.models import ExternalReference, QueueState
from integrations.runtime.worker import Outcome
from tests.messaging.conftest import SLUG, Account

RunDue = Callable[[], list[Outcome]]


def numbers(first: int, count: int) -> list[str]:
    return [f"+2547110{number:05d}" for number in range(first, first + count)]


def statements_for(school: Account, run_due: RunDue, to: list[str]) -> int:
    send_sms(tenant=school.tenant, to=to, message="Karibu")
    with CaptureQueriesContext(connection) as captured:
        assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    return len(captured)


def test_forty_cost_as_many_statements_as_two(school: Account, run_due: RunDue) -> None:
    statements_for(school, run_due, numbers(1, 2))  # what is only read or made the first time
    few = statements_for(school, run_due, numbers(10, 2))
    many = statements_for(school, run_due, numbers(20, 40))
    assert many == few
    assert set(Recipient.objects.values_list("state", flat=True)) == {"sent"}
    refs = set(Recipient.objects.values_list("provider_ref", flat=True))
    assert len(refs) == 44
    assert set(ExternalReference.objects.filter(kind="message").values_list("external_id", flat=True)) == refs
    assert MessageEvent.objects.filter(state="sent", source="provider").count() == 44


def test_each_recipient_is_told_of(school: Account, run_due: RunDue) -> None:
    moved: list[MessageMoved] = []
    subscribe(MessageMoved, moved.append)
    try:
        statements_for(school, run_due, numbers(1, 3))
    finally:
        _handlers[MessageMoved].remove(moved.append)
    sent = [each for each in moved if each.state == "sent"]
    assert [each.recipient_id for each in sent] == list(Recipient.objects.values_list("pk", flat=True))
    assert {each.before for each in sent} == {"queued"}


def test_a_report_that_came_first_is_applied_to_its_own_recipient_alone(
    school: Account, run_due: RunDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from integrations.messaging import reports

    real = reports.publish_references

    def early(recipients: Any) -> None:
        real(recipients)
        of = recipients[1]
        report = reports.Report(MessageState.DELIVERED, "Success", "", None, clock.now(), trusted=True)
        UnmatchedReport.unscoped.create(
            tenant=school.tenant,
            config=school.config,
            provider=SLUG,
            provider_ref=of.provider_ref,
            address=of.address,
            payload=report.payload(),
        )

    monkeypatch.setattr(reports, "publish_references", early)
    statements_for(school, run_due, numbers(1, 3))
    assert list(Recipient.objects.order_by("pk").values_list("state", flat=True)) == ["sent", "delivered", "sent"]
    assert UnmatchedReport.objects.get().matched_at is not None


def test_only_what_may_be_sent_is_moved_to_sent(school: Account, run_due: RunDue) -> None:
    statements_for(school, run_due, numbers(1, 1))
    recipient = Recipient.objects.select_related("message").get()
    with pytest.raises(ValueError, match="from sent no way"):
        advance_sent([recipient], at=clock.now(), source="provider")
