"""A text whose first way fails, over real sockets: another provider or another channel carries it, and nobody gets it twice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connections

from integrations import registry
from integrations.contracts.capabilities import Environment
from integrations.contracts.provider import Provider
from integrations.messaging.fallback.fallback import GO_ON_KIND
from integrations.messaging.finding import WAITS
from integrations.messaging.models import Message, Recipient
from integrations.models import QueueItem, QueueState
from integrations.runtime.worker import claim_one, run
from tests.factories import MovableClock, make_config, make_fallback_policy, work_off
from tests.flows.conftest import School

pytestmark = pytest.mark.django_db(transaction=True)
Until = Callable[..., Any]
PARENT = "jane@example.org"


@pytest.fixture
def both(school: School) -> School:
    """Africa's Talking first; Twilio and a mail server beside it."""
    make_config(school.tenant, "twilio", account="school")
    make_config(school.tenant, "smtp", account="school")
    school.control("PUT", "africastalking/settings", json={"dlr_delay": 0.1})
    return school


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`down(slug)`: nobody listens at this provider's address any more."""
    taken = socket.socket()  # held for the whole test: nobody else can listen there meanwhile
    taken.bind(("127.0.0.1", 0))
    port = taken.getsockname()[1]

    def break_off(slug: str) -> None:
        real = registry.base_url

        def address(provider: Provider, environment: Environment) -> str:
            return f"http://127.0.0.1:{port}" if provider.slug == slug else real(provider, environment)

        monkeypatch.setattr(registry, "base_url", address)

    yield break_off
    taken.close()


def send(school: School, number: str, provider: str | None = None, **where: str) -> str:
    body = {"to": number, "message": "School is closed tomorrow.", "fallback": where, "provider": provider}
    answer = school.api.post("/api/v1/integrations/sms/send", body, format="json")
    assert answer.status_code == 202, answer.json()
    return str(answer.json()["id"])


def states(school: School) -> list[tuple[str, str, str]]:
    """Return (channel, provider, state) of every recipient, in the order in which they came to be."""
    rows = Recipient.unscoped.filter(tenant=school.tenant).select_related("message").order_by("id")
    return [(each.message.channel, each.message.provider, each.state) for each in rows]


def copies(school: School, number: str) -> dict[str, int]:
    """Return how many texts to this number each provider has."""
    twilio = [each for each in school.control("GET", "twilio/messages")["messages"] if each["to"] == number]
    africastalking = [each for each in school.control("GET", "africastalking/state")["messages"] if each["number"] == number]
    return {"africastalking": len(africastalking), "twilio": len(twilio)}


def mails(school: School) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = school.control("GET", "smtp/messages")["messages"]
    return found


def test_a_provider_that_is_down_is_left_for_the_next(both: School, clock: MovableClock, down: Callable[[str], None]) -> None:
    clock.moment = datetime.now(UTC)
    make_fallback_policy(both.tenant, "sms:twilio", tries=2)
    down("africastalking")
    first = send(both, "+254711000011")
    work_off()
    assert states(both) == [("sms", "africastalking", "queued")], "one try is none"
    clock.advance(60)
    work_off()
    assert states(both)[0][2] == "failed"
    assert states(both)[1][:2] == ("sms", "twilio")
    assert states(both)[1][2] in {"sent", "delivered"}
    assert copies(both, "+254711000011") == {"africastalking": 0, "twilio": 1}
    shown = both.api.get("/api/v1/integrations/messages?limit=5").json()["results"]
    assert [each["continues"] for each in shown] == [first, None]


def test_what_the_first_may_have_sent_is_sent_by_nobody_else(both: School, clock: MovableClock) -> None:
    """Africa's Talking can't be asked: a person has to look, and no policy may do it for him."""
    clock.moment = datetime.now(UTC)
    make_fallback_policy(both.tenant, "sms:twilio", "email", after_minutes=1)
    both.control("POST", "africastalking/faults", json={"operation": "callback", "fault": "lose_callback", "times": -1})
    both.fault("africastalking", "sms_send", "drop_after_accept")
    send(both, "+254711000012", email=PARENT)
    for _ in range(30):
        work_off()
        clock.advance(3600)
    assert states(both) == [("sms", "africastalking", "unknown")]
    assert copies(both, "+254711000012") == {"africastalking": 1, "twilio": 0}
    assert QueueItem.unscoped.get(kind="sms.send").state == QueueState.NEEDS_REVIEW


@pytest.mark.parametrize(("fault", "expected"), [("drop_after_accept", 0), ("error_500", 1)])
def test_one_that_can_be_asked_is_asked_first(both: School, clock: MovableClock, fault: str, expected: int) -> None:
    clock.moment = datetime.now(UTC)
    make_fallback_policy(both.tenant, "sms:africastalking")
    both.control("POST", "twilio/faults", json={"operation": "status_callback", "fault": "lose_callback", "times": -1})
    both.fault("twilio", "send", fault)
    number = "+254711000013"
    send(both, number, provider="twilio")
    work_off()
    assert states(both) == [("sms", "twilio", "unknown")]
    for wait in WAITS[:3]:
        clock.advance(wait + 1)
        work_off()
    assert copies(both, number) == {"africastalking": expected, "twilio": 1 - expected}


def test_a_reported_failure_goes_on_by_e_mail(both: School, until: Until) -> None:
    make_fallback_policy(both.tenant, "push", "email")
    first = send(both, "+254711000900", email=PARENT)
    until(lambda: mails(both))
    assert states(both) == [("sms", "africastalking", "failed"), ("email", "smtp", "sent")]
    (mail,) = mails(both)
    assert (mail["to"], mail["subject"]) == (PARENT, "School is closed tomorrow.")
    story = both.api.get(f"/api/v1/integrations/messages/{first}").json()["recipients"][0]["events"]
    second = Message.unscoped.get(continues_id=first)
    assert f"goes on by E-mail with smtp as {second.pk}" in [each["detail"] for each in story]
    until(lambda: any(each["body"]["type"] == "message.failed" for each in both.sink()))


@pytest.mark.parametrize("where", [{}, {"email": PARENT}])
def test_who_has_opted_out_is_not_chased(both: School, where: dict[str, str], clock: MovableClock) -> None:
    make_fallback_policy(both.tenant, "sms:twilio", "email", after_minutes=1)
    send(both, "+254711000406", **where)
    for _ in range(3):
        work_off()
        clock.advance(300)
    assert states(both) == [("sms", "africastalking", "failed")]
    assert (copies(both, "+254711000406")["twilio"], mails(both)) == (0, [])


def test_later_is_not_waited_for_all_day(both: School, clock: MovableClock) -> None:
    make_fallback_policy(both.tenant, "sms:twilio", tries=1)
    send(both, "+254711000501")
    work_off()
    assert [each[:2] for each in states(both)] == [("sms", "africastalking"), ("sms", "twilio")]
    assert copies(both, "+254711000501")["twilio"] == 1


def test_without_a_receipt_in_time_the_next_way_is_taken(both: School, clock: MovableClock) -> None:
    clock.moment = datetime.now(UTC)
    make_fallback_policy(both.tenant, "email", after_minutes=10)
    first = send(both, "+254711000902", email=PARENT)
    work_off()
    clock.advance(590)
    work_off()
    assert (states(both), mails(both)) == ([("sms", "africastalking", "sent")], [])
    clock.advance(11)
    work_off()
    assert states(both) == [("sms", "africastalking", "sent"), ("email", "smtp", "sent")]
    assert len(mails(both)) == 1
    clock.advance(3600)
    work_off()
    assert Message.unscoped.filter(continues_id=first).count() == 1


def test_two_workers_at_once_take_one_way(both: School, until: Until) -> None:
    make_fallback_policy(both.tenant, "email")
    first = send(both, "+254711000403", email=PARENT)
    item = QueueItem.unscoped.get(kind="sms.send")
    run(claim_one(item.pk) or item)
    waiting = QueueItem.unscoped.get(kind=GO_ON_KIND)
    twin = QueueItem.unscoped.create(
        tenant=both.tenant,
        kind=GO_ON_KIND,
        payload=waiting.payload,
        reference_type="message",
        reference_id=first,
        key="of another report",
    )
    claimed = [claim_one(waiting.pk), claim_one(twin.pk)]
    start = threading.Barrier(2)

    def work(item: QueueItem | None) -> None:
        assert item is not None
        try:
            start.wait(10)
            run(item)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(each,)) for each in claimed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(QueueItem.unscoped.filter(kind=GO_ON_KIND).values_list("state", flat=True)) == {QueueState.COMPLETED}
    until(lambda: mails(both))
    assert (Message.unscoped.filter(continues_id=first).count(), len(mails(both))) == (1, 1)
