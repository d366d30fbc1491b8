"""What parents write to the school's shortcode, and who opts out at the SMS provider: over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from integrations.messaging.models import InboundMessage, Suppression
from tests.factories import work_off
from tests.flows.conftest import School

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
PARENT = "+254711000001"


@pytest.fixture
def shortcode(school: School) -> School:
    setup = school.api.get("/api/v1/integrations/setup/africastalking").json()["urls"]
    urls = {"inbox_url": setup["inbox"]["url"], "optout_url": setup["optout"]["url"]}
    school.control("PUT", f"africastalking/accounts/{school.sms.values['username']}", json=urls)
    return school


def write(school: School, text: str) -> None:
    said = {"username": school.sms.values["username"], "from": PARENT, "text": text}
    school.control("POST", "africastalking/incoming", json=said)


def received() -> list[tuple[str, str, str]]:
    work_off()
    return list(InboundMessage.unscoped.order_by("received_at", "id").values_list("address", "text", "opted"))


def send(school: School) -> dict[str, Any]:
    answer = school.api.post("/api/v1/integrations/sms/send", {"to": PARENT, "message": "Fees are due."}, format="json")
    assert answer.status_code == 202, answer.json()
    recipient: dict[str, Any] = answer.json()["recipients"][0]
    return recipient


def test_a_text_is_kept_and_stop_is_obeyed_until_start(shortcode: School, until: Until) -> None:
    write(shortcode, "Is school closed?")
    until(lambda: received() == [(PARENT, "Is school closed?", "")])
    write(shortcode, " Stop.")
    until(lambda: len(received()) == 2)
    assert received()[1] == (PARENT, " Stop.", "out")
    assert (send(shortcode)["status"], send(shortcode)["provider_status"]) == ("failed", "suppressed")
    write(shortcode, "START")
    until(lambda: len(received()) == 3)
    assert send(shortcode)["status"] == "queued"


def test_an_opt_out_at_the_provider_counts_here(shortcode: School, until: Until) -> None:
    for _ in range(2):
        given = {"username": shortcode.sms.values["username"], "number": PARENT}
        shortcode.control("POST", "africastalking/optout", json=given)
    until(lambda: len(received()) == 1)
    listed = Suppression.unscoped.get(address=PARENT)
    assert (listed.reason, listed.released_at) == ("opt_out", None)
    assert send(shortcode)["provider_status"] == "suppressed"
