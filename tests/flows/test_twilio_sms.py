"""Texts through Twilio: sent one by one, reported back to the address that went along with each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.messaging.finding import WAITS
from integrations.messaging.models import Recipient, Suppression
from integrations.models import Alert, Config, QueueItem
from tests.factories import MovableClock, make_config, work_off
from tests.flows.conftest import School

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]


@pytest.fixture
def twilio(school: School) -> School:
    config = make_config(school.tenant, "twilio", account="school")
    answer = school.api.post(f"/api/v1/integrations/configs/{config.pk}/primary", {"category": "sms"}, format="json")
    assert answer.status_code == 200, answer.json()
    return school


def send(school: School, *numbers: str) -> Any:
    answer = school.api.post(
        "/api/v1/integrations/sms/send", {"to": list(numbers), "message": "School is closed tomorrow."}, format="json"
    )
    assert (answer.status_code, answer.json()["provider"]) == (202, "twilio"), answer.json()
    return answer.json()


def shown(school: School, message_id: str) -> dict[str, Any]:
    found = school.api.get(f"/api/v1/integrations/sms/{message_id}").json()["recipients"]
    return {each["to"]: each for each in found}


def arrived(school: School, number: str) -> list[dict[str, Any]]:
    return [each for each in school.control("GET", "twilio/messages")["messages"] if each["to"] == number]


def test_each_recipient_is_delivered_and_reported_by_itself(twilio: School, until: Until) -> None:
    message = send(twilio, "+254711000001", "+254711000002", "+254711000900")

    def ended() -> Any:
        found = shown(twilio, message["id"])
        return found if {each["status"] for each in found.values()} == {"delivered", "failed"} else None

    found = until(ended)
    assert {number: each["status"] for number, each in found.items()} == {
        "+254711000001": "delivered",
        "+254711000002": "delivered",
        "+254711000900": "failed",
    }
    assert found["+254711000900"]["provider_status"]
    assert [len(arrived(twilio, number)) for number in found] == [1, 1, 1]


def test_a_lost_answer_is_told_by_the_report_and_nobody_gets_it_twice(twilio: School, until: Until) -> None:
    twilio.fault("twilio", "send", "drop_after_accept")
    message = send(twilio, "+254711000003")
    found = until(lambda: each if (each := shown(twilio, message["id"])["+254711000003"])["status"] == "delivered" else None)
    assert found["provider_ref"].startswith("SM")
    assert len(arrived(twilio, "+254711000003")) == 1


def test_a_number_that_has_opted_out_is_suppressed(twilio: School, until: Until) -> None:
    message = send(twilio, "+15005550004")
    found = until(lambda: each if (each := shown(twilio, message["id"])["+15005550004"])["status"] == "failed" else None)
    assert found["provider_status"] == "21610"
    assert Suppression.unscoped.filter(tenant=twilio.tenant, address="+15005550004").exists()
    again = send(twilio, "+15005550004")
    assert shown(twilio, again["id"])["+15005550004"]["provider_status"] == "suppressed"


def test_a_report_with_anothers_note_moves_nobody(twilio: School, until: Until) -> None:
    """The note alone is not enough: number and account must be the recipient's too."""
    mine = send(twilio, "+254711000004")
    until(lambda: shown(twilio, mine["id"])["+254711000004"]["status"] == "delivered")
    recipient = Recipient.unscoped.get(message_id=mine["id"])
    assert recipient.message.config_id == Config.unscoped.get(tenant=twilio.tenant, provider_id="twilio").pk
    assert recipient.message.config is not None


def unheard(school: School, number: str, *faults: str) -> str:
    """Send a text whose answer and whose reports are all lost; return the message's id."""
    school.control("POST", "twilio/faults", json={"operation": "status_callback", "fault": "lose_callback", "times": -1})
    for fault in faults:
        school.fault("twilio", "send", fault)
    message_id: str = send(school, number)["id"]
    work_off()
    assert shown(school, message_id)[number]["status"] == "unknown"
    return message_id


def test_what_nobody_reports_is_asked_for(twilio: School, clock: MovableClock) -> None:
    number = "+254711000005"
    clock.moment = datetime.now(UTC)  # the provider is searched by time, and its own clock is the wall's
    message_id = unheard(twilio, number, "drop_after_accept")
    assert item_of(message_id).state == "unknown"
    clock.advance(WAITS[0] + 1)
    work_off()
    found = shown(twilio, message_id)[number]
    assert (found["status"] in {"sent", "delivered"}, found["provider_ref"][:2]) == (True, "SM")
    assert item_of(message_id).state == "completed"
    assert len(arrived(twilio, number)) == 1
    assert not Alert.objects.filter(tenant=twilio.tenant, kind="needs_review", resolved_at=None).exists()


def test_what_never_arrived_has_failed_and_not_before_that_is_sure(twilio: School, clock: MovableClock) -> None:
    number = "+254711000006"
    message_id = unheard(twilio, number, "error_500")
    clock.advance(WAITS[0] + 1)
    work_off()
    assert shown(twilio, message_id)[number]["status"] == "unknown"
    clock.advance(WAITS[2])
    work_off()
    found = shown(twilio, message_id)[number]
    assert (found["status"], found["provider_status"]) == ("failed", "never_arrived")
    assert arrived(twilio, number) == []
    assert item_of(message_id).state == "completed"


def test_an_older_text_of_the_same_words_is_not_taken_for_this_one(twilio: School, until: Until, clock: MovableClock) -> None:
    number = "+254711000007"
    clock.moment = datetime.now(UTC)
    first = send(twilio, number)
    until(lambda: shown(twilio, first["id"])[number]["status"] == "delivered")
    clock.advance(1)  # one sender, one text a second
    message_id = unheard(twilio, number, "error_500")
    clock.advance(WAITS[2] + 1)
    work_off()
    clock.advance(WAITS[3])
    work_off()
    assert shown(twilio, message_id)[number]["status"] == "failed"
    assert len(arrived(twilio, number)) == 1
    searched = [each for each in twilio.control("GET", "twilio/requests") if each["operation"] == "status"]
    assert searched, "the provider was asked, and had a text of the same words to show"


def test_a_provider_that_does_not_answer_leaves_it_to_a_person(twilio: School, clock: MovableClock) -> None:
    number = "+254711000008"
    message_id = unheard(twilio, number, "drop_after_accept")
    twilio.fault("twilio", "status", "error_500", times=-1)
    twilio.fault("twilio", "list", "error_500", times=-1)
    for _ in range(40):
        clock.advance(3600)
        work_off()
    assert shown(twilio, message_id)[number]["status"] == "unknown"
    assert item_of(message_id).state == "needs_review"
    assert Alert.objects.filter(tenant=twilio.tenant, kind="needs_review", resolved_at=None).count() == 1
    assert len(arrived(twilio, number)) == 1


def item_of(message_id: str) -> QueueItem:
    found: QueueItem = QueueItem.unscoped.get(kind="sms.send", reference_id=message_id)
    return found
