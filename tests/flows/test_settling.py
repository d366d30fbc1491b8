"""A text whose answer was lost, by a provider that can't be asked: a person decides, and then it goes another way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from integrations.models import Alert, QueueItem, QueueState
from tests.factories import MovableClock, make_fallback_policy, work_off
from tests.flows.conftest import School
from tests.flows.test_fallback import both, copies, send, states

__all__ = ["both"]
pytestmark = pytest.mark.django_db(transaction=True)
NUMBER = "+254711000012"


@pytest.mark.parametrize("arrived", [False, True])
def test_a_person_ends_the_doubt_and_only_then_the_next_carries_it(both: School, clock: MovableClock, arrived: bool) -> None:
    clock.moment = datetime.now(UTC)
    make_fallback_policy(both.tenant, "sms:twilio", after_minutes=1)
    both.control("POST", "africastalking/faults", json={"operation": "callback", "fault": "lose_callback", "times": -1})
    both.fault("africastalking", "sms_send", "drop_after_accept" if arrived else "error_500")
    first = send(both, NUMBER)
    work_off()
    item = QueueItem.unscoped.get(kind="sms.send")
    assert (states(both), item.state) == ([("sms", "africastalking", "unknown")], QueueState.NEEDS_REVIEW)
    clock.advance(3600)
    work_off()
    assert copies(both, NUMBER) == {"africastalking": int(arrived), "twilio": 0}, "nobody has said anything yet"

    answer = both.api.post(f"/api/v1/integrations/messages/{first}/settle", {"arrived": arrived}, format="json")
    assert (answer.status_code, answer.json()["settled"]) == (200, 1), answer.json()
    item.refresh_from_db()
    assert item.state == QueueState.COMPLETED
    assert not Alert.objects.filter(kind="needs_review", resolved_at__isnull=True).exists()
    for _ in range(3):
        work_off()
        clock.advance(3600)
    # One copy, whoever carried it.
    assert copies(both, NUMBER) == {"africastalking": int(arrived), "twilio": int(not arrived)}
    if arrived:
        assert states(both) == [("sms", "africastalking", "sent")]
    else:
        assert states(both)[0] == ("sms", "africastalking", "failed")
        assert states(both)[1][:2] == ("sms", "twilio")
