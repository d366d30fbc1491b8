"""Delivery reports from the simulator's own form to the message, through the hub's inbound paths."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from django.test import Client

from integrations.messaging.models import Recipient, Suppression, UnmatchedReport
from integrations.messaging.sms.services import send_sms
from integrations.runtime.worker import Outcome, claim, run
from tests.messaging.conftest import Account

NUMBER = "+254711000123"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def sent(school: Account, run_due: Callable[[], list[Outcome]]) -> Recipient:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    run_due()
    return Recipient.objects.get()


def post(path: str, **fields: str) -> tuple[int, bytes]:
    """Post a report, let the workers handle it, and return the acknowledgement."""
    answer = Client().post(path, urlencode(fields), content_type=FORM)
    for item in claim(20, kinds=["webhook.process"]):
        run(item)
    return answer.status_code, answer.content


def test_a_report_to_the_configs_own_path(school: Account, sent: Recipient) -> None:
    fields = {"id": sent.provider_ref, "status": "Success", "phoneNumber": NUMBER, "networkCode": "63902", "retryCount": "0"}
    assert post(f"/hooks/{school.config.hook_token}/dlr", **fields) == (200, b"")
    assert post(f"/hooks/{school.config.hook_token}/dlr", **fields) == (200, b"")
    sent.refresh_from_db()
    assert sent.state == "delivered"
    assert [event.state for event in sent.events.all()] == ["queued", "sent", "delivered"]


def test_a_report_to_the_shared_path_counts_by_id_and_number_and_suppresses_nobody(school: Account, sent: Recipient) -> None:
    fields = {"id": sent.provider_ref, "status": "Rejected", "failureReason": "UserInBlackList"}
    assert post("/webhooks/sms/delivery", phoneNumber="+254711000999", **fields) == (200, b"")
    sent.refresh_from_db()
    assert sent.state == "sent"
    assert post("/webhooks/sms/delivery", phoneNumber=NUMBER, **fields) == (200, b"")
    sent.refresh_from_db()
    assert (sent.state, sent.detail) == ("failed", "UserInBlackList")
    assert (Suppression.objects.count(), UnmatchedReport.objects.count()) == (0, 0)


def test_an_unknown_path_and_a_bad_body_change_nothing(school: Account, sent: Recipient) -> None:
    fields = {"id": sent.provider_ref, "status": "Success", "phoneNumber": NUMBER}
    assert post(f"/hooks/{'0' * 40}/dlr", **fields)[0] == 404
    assert post(f"/hooks/{school.config.hook_token}/dlr", id="", status="Success", phoneNumber=NUMBER)[0] == 400
    assert post("/webhooks/sms/delivery", **{**fields, "id": "ATXid_guessed"}) == (200, b"")
    sent.refresh_from_db()
    assert sent.state == "sent"
