from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django_scopes import scope

from integrations.contracts import clock
from integrations.messaging.closing import SECOND_LOOK
from integrations.messaging.handlers import on_message_reported
from integrations.messaging.models import Recipient
from integrations.messaging.sms.services import send_sms
from integrations.models import QueueItem, QueueState
from integrations.runtime.worker import Outcome, claim, run
from tests.messaging.conftest import Account, report

pytestmark = pytest.mark.django_db(transaction=True)
FIRST, SECOND = "+254711000123", "+254711000124"


def test_two_reports_at_one_moment_close_the_item_that_waited_for_both(
    school: Account, run_due: Callable[[], list[Outcome]], fault: Callable[..., None]
) -> None:
    fault("drop_after_accept")
    send_sms(tenant=school.tenant, to=[FIRST, SECOND], message="Karibu")
    run_due()
    item = QueueItem.objects.get()
    assert item.state == QueueState.NEEDS_REVIEW
    written, may_commit = threading.Event(), threading.Event()

    def slow_report() -> None:
        try:
            with scope(tenant=school.tenant), transaction.atomic():
                on_message_reported(report(school, "ATXid_1", FIRST))
                written.set()
                assert may_commit.wait(15)
        finally:
            connection.close()

    thread = threading.Thread(target=slow_report)
    thread.start()
    assert written.wait(15)
    threading.Timer(0.3, may_commit.set).start()
    with transaction.atomic():
        on_message_reported(report(school, "ATXid_2", SECOND))
    thread.join(15)
    assert set(Recipient.objects.values_list("state", flat=True)) == {"delivered"}
    with clock.stopped_at(clock.now() + SECOND_LOOK * 2):
        for found in claim(10, kinds=["message.close"]):
            run(found)
    item.refresh_from_db()
    assert item.state == QueueState.COMPLETED


def test_one_report_of_two_leaves_the_item_in_review(
    school: Account, run_due: Callable[[], list[Outcome]], fault: Callable[..., None]
) -> None:
    fault("drop_after_accept")
    send_sms(tenant=school.tenant, to=[FIRST, SECOND], message="Karibu")
    run_due()
    with transaction.atomic():
        on_message_reported(report(school, "ATXid_1", FIRST))
    later: Any = clock.now() + SECOND_LOOK * 2
    with clock.stopped_at(later):
        assert [run(found).state for found in claim(10, kinds=["message.close"])] == [QueueState.COMPLETED]
    assert QueueItem.objects.get(kind="sms.send").state == QueueState.NEEDS_REVIEW
