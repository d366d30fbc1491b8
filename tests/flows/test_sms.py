"""An SMS by the API, and every way in which the simulated Africa's Talking can spoil it: each ends in a defined state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.factories import MovableClock, work_off
from tests.flows.conftest import School

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick_simulator(school: School) -> None:
    school.control("PUT", "africastalking/settings", json={"dlr_delay": 0.1})


def send(school: School, tail: str = "000") -> str:
    answer = school.api.post("/api/v1/integrations/sms/send", {"to": f"+254711000{tail}", "message": "Karibu"}, format="json")
    assert answer.status_code == 202, answer.json()
    return str(answer.json()["id"])


def recipient(school: School, message: str) -> dict[str, Any]:
    (only,) = school.api.get(f"/api/v1/integrations/sms/{message}").json()["recipients"]
    return dict(only)


def sends(school: School) -> int:
    return len([r for r in school.control("GET", "africastalking/requests") if r["operation"] == "sms_send"])


@pytest.mark.parametrize(
    ("tail", "status", "copies"),
    [
        ("000", "delivered", 1),
        ("401", "failed", 0),
        ("402", "failed", 0),
        ("403", "failed", 0),
        ("404", "failed", 0),
        ("406", "failed", 0),
        ("407", "failed", 0),
        ("900", "failed", 1),
        ("901", "failed", 1),
        ("902", "sent", 1),
        ("903", "delivered", 1),
        ("904", "delivered", 1),
    ],
)
def test_each_number_ends_in_its_state_with_one_request(
    school: School, until: Until, tail: str, status: str, copies: int
) -> None:
    message = send(school, tail)

    until(lambda: recipient(school, message)["status"] == status)

    assert sends(school) == 1
    assert len(school.inbox(f"+254711000{tail}")) <= copies


@pytest.mark.parametrize("tail", ["405", "409", "500", "501", "502"])
def test_a_passing_refusal_is_tried_again_and_given_up_in_the_end(school: School, clock: MovableClock, tail: str) -> None:
    message = send(school, tail)
    work_off()
    assert recipient(school, message)["status"] == "queued"

    for _ in range(40):
        clock.advance(hours=2)
        work_off()

    assert recipient(school, message)["status"] == "failed"
    assert sends(school) > 1
    assert school.inbox(f"+254711000{tail}") == []


def test_a_text_whose_answer_was_lost_is_not_sent_again(school: School, until: Until, clock: MovableClock) -> None:
    school.fault("africastalking", "sms_send", "drop_after_accept")
    school.fault("africastalking", "delivery_report", "lose_callback", times=-1)  # there are two of each text
    message = send(school)
    until(lambda: recipient(school, message)["status"] == "unknown")

    clock.advance(hours=3)
    work_off()

    assert (sends(school), len(school.inbox("+254711000000"))) == (1, 1)
    assert recipient(school, message)["status"] == "unknown"


def test_a_refused_connection_and_a_429_are_tried_again_and_sent_once(school: School, clock: MovableClock) -> None:
    school.fault("africastalking", "sms_send", "error_429")
    message = send(school)
    work_off()
    assert school.inbox("+254711000000") == []

    clock.advance(minutes=5)
    work_off()

    assert len(school.inbox("+254711000000")) == 1
    assert recipient(school, message)["status"] in {"sent", "delivered"}
