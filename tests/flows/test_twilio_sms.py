"""Texts through Twilio: sent one by one, reported back to the address that went along with each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.messaging.models import Recipient, Suppression
from integrations.models import Config
from tests.factories import make_config
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
