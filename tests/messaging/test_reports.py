from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection, transaction
from django_scopes import scope, scopes_disabled

from integrations.contracts import clock
from integrations.contracts.inbound import InboundRequest, MessageReported, Origin, Trust
from integrations.contracts.messaging import MessageState, RecipientResult, SendResult, SuppressReason
from integrations.events import DomainEvent, Unmatched
from integrations.messaging import reports
from integrations.messaging.handlers import on_message_reported
from integrations.messaging.jobs.sending import SendJob
from integrations.messaging.models import Channel, MessageEvent, Recipient, Suppression, UnmatchedReport
from integrations.messaging.sms.services import send_sms
from integrations.models import Alert, QueueItem, QueueState, Tenant
from integrations.registry import get_provider, sync_rows
from integrations.runtime.worker import Outcome
from integrations.simulators import running_simulators
from tests.messaging.conftest import SLUG, Account, make_account, queue_items, report

RunDue = Callable[[], list[Outcome]]
Fault = Callable[..., None]
NUMBER = "+254711000123"
REF = "ATXid_1"


@pytest.fixture
def sent(school: Account, run_due: RunDue) -> Recipient:
    """A text that the provider has accepted."""
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    run_due()
    return Recipient.objects.get()


@pytest.fixture
def lost(school: Account, run_due: RunDue, fault: Fault) -> Recipient:
    """A text that the provider has accepted, and its answer got lost."""
    fault("drop_after_accept")
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    run_due()
    return Recipient.objects.get()


def story(recipient: Recipient) -> list[tuple[str, str, str]]:
    return list(MessageEvent.objects.filter(recipient=recipient).values_list("state", "source", "detail"))


def state_of(recipient: Recipient) -> str:
    recipient.refresh_from_db()
    return recipient.state


def test_delivered(school: Account, sent: Recipient, emitted: list[DomainEvent]) -> None:
    moment = clock.now() + timedelta(seconds=3)
    with clock.stopped_at(moment):
        on_message_reported(report(school, sent.provider_ref, NUMBER))
    assert state_of(sent) == "delivered"
    assert (sent.delivered_at, sent.provider_status) == (moment, "Success")
    (event,) = emitted
    assert (event.type, event.object_type, event.object_id) == ("message.delivered", "message", sent.message_id)
    assert (event.tenant_id, event.key) == (school.tenant.pk, f"{sent.pk}:delivered")
    assert event.object == {
        "id": sent.message_id,
        "channel": "sms",
        "to": NUMBER,
        "status": "delivered",
        "provider": SLUG,
        "provider_ref": sent.provider_ref,
        "sender": "",
        "segments": 1,
        "encoding": "GSM-7",
        "category": "",
        "reference": None,
        "continues": None,
        "fallback": None,
        "cost": {"value": "0.8", "currency": "KES"},
        "error": None,
        "created": sent.message.created.isoformat().replace("+00:00", "Z"),
        "sent_at": sent.sent_at.isoformat().replace("+00:00", "Z") if sent.sent_at else None,
        "delivered_at": moment.isoformat().replace("+00:00", "Z"),
    }


def test_a_report_that_comes_twice_has_one_effect(school: Account, sent: Recipient, emitted: list[DomainEvent]) -> None:
    for _ in range(3):
        on_message_reported(report(school, sent.provider_ref, NUMBER))
    assert state_of(sent) == "delivered"
    assert [state for state, _, _ in story(sent)] == ["queued", "sent", "delivered"]
    assert len(emitted) == 1
    assert UnmatchedReport.objects.count() == 0


@pytest.mark.parametrize("late", ["Sent", "Failed", "AbsentSubscriber"])
def test_delivered_is_final(school: Account, sent: Recipient, emitted: list[DomainEvent], late: str) -> None:
    on_message_reported(report(school, sent.provider_ref, NUMBER))
    delivered_at = sent.delivered_at
    on_message_reported(report(school, sent.provider_ref, NUMBER, late))
    assert state_of(sent) == "delivered"
    assert (sent.provider_status, sent.delivered_at) == ("Success", sent.delivered_at or delivered_at)
    assert story(sent)[-1] == ("", "report", f"{late} came too late: stays delivered")
    assert [event.type for event in emitted] == ["message.delivered"]


def test_failed_is_final(school: Account, sent: Recipient, emitted: list[DomainEvent]) -> None:
    on_message_reported(report(school, sent.provider_ref, NUMBER, "Failed", detail="DeliveryFailure"))
    on_message_reported(report(school, sent.provider_ref, NUMBER))
    assert (state_of(sent), sent.detail, sent.delivered_at) == ("failed", "DeliveryFailure", None)
    assert [event.type for event in emitted] == ["message.failed"]
    assert emitted[0].object["error"] == {"code": "Failed", "message": "DeliveryFailure"}


def test_a_status_nobody_knows_is_kept_in_the_story(school: Account, sent: Recipient, emitted: list[DomainEvent]) -> None:
    on_message_reported(report(school, sent.provider_ref, NUMBER, "Teleported"))
    assert state_of(sent) == "sent"
    assert story(sent)[-1] == ("", "report", "unknown status Teleported")
    assert emitted == []


def test_a_number_that_is_gone_is_suppressed(school: Account, studio: Account, sent: Recipient) -> None:
    event = report(school, sent.provider_ref, NUMBER, "Failed", detail="UserDoesNotExist", suppress=SuppressReason.INVALID)
    on_message_reported(event)
    on_message_reported(event)
    assert [(s.tenant_id, s.address, s.detail) for s in Suppression.unscoped.all()] == [
        (school.tenant.pk, NUMBER, "UserDoesNotExist")
    ]


def test_an_unsigned_hint_moves_the_state_but_suppresses_nobody(school: Account, sent: Recipient) -> None:
    event = report(
        school, sent.provider_ref, NUMBER, "Failed", detail="UserInBlackList", suppress=SuppressReason.OPT_OUT, trust=Trust.HINT
    )
    on_message_reported(event)
    assert state_of(sent) == "failed"
    assert story(sent)[-1] == ("failed", "hint", "UserInBlackList")
    assert Suppression.objects.count() == 0


@pytest.mark.parametrize(
    "changes", [{"provider_ref": "ATXid_guessed"}, {"address": "+254711000999"}, {"provider": "another"}, {"config_id": 0}]
)
def test_a_hint_that_does_not_fit_changes_nothing(school: Account, sent: Recipient, changes: dict[str, Any]) -> None:
    before = story(sent)
    given = {"provider_ref": sent.provider_ref, "address": NUMBER, **changes}
    ref, number = given.pop("provider_ref"), given.pop("address")
    with pytest.raises(Unmatched):
        on_message_reported(report(school, ref, number, trust=Trust.HINT, **given))
    assert state_of(sent) == "sent"
    assert story(sent) == before
    assert UnmatchedReport.objects.count() == 0


def test_a_report_with_the_wrong_number_is_kept_aside(school: Account, sent: Recipient) -> None:
    on_message_reported(report(school, sent.provider_ref, "+254711000999"))
    assert state_of(sent) == "sent"
    assert UnmatchedReport.objects.get().matched_at is None


def test_another_tenants_report_does_not_reach_our_message(school: Account, studio: Account, sent: Recipient) -> None:
    with scope(tenant=studio.tenant):
        on_message_reported(report(studio, sent.provider_ref, NUMBER))
        assert UnmatchedReport.objects.count() == 1
    assert state_of(sent) == "sent"
    assert UnmatchedReport.objects.count() == 0


def accept(item: QueueItem, *refs: str) -> None:
    """Settle the item as if the provider had accepted its recipients under these ids."""
    numbers = Recipient.objects.filter(pk__in=item.payload["recipients"]).order_by("id").values_list("address", flat=True)
    results = [RecipientResult(n, MessageState.SENT, ref, "101") for n, ref in zip(numbers, refs, strict=True)]
    with transaction.atomic():
        SendJob(Channel.SMS).succeeded(item, SendResult(tuple(results)))


def test_a_report_that_overtook_our_commit_is_applied_with_it(school: Account, emitted: list[DomainEvent]) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    recipient = Recipient.objects.get()
    on_message_reported(report(school, REF, NUMBER, "Sent"))
    on_message_reported(report(school, REF, NUMBER))
    on_message_reported(report(school, "ATXid_other", NUMBER, "Failed"))
    assert state_of(recipient) == "queued"
    accept(queue_items()[0], REF)
    assert state_of(recipient) == "delivered"
    assert [state for state, _, _ in story(recipient) if state] == ["queued", "sent", "delivered"]
    kept = UnmatchedReport.objects.order_by("id")
    assert [(row.provider_ref, row.matched_at is None) for row in kept] == [
        (REF, False),
        (REF, False),
        ("ATXid_other", True),
    ]
    assert [event.type for event in emitted] == ["message.delivered"]


def test_after_ten_minutes_a_kept_report_stays_unmatched(school: Account) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    on_message_reported(report(school, REF, NUMBER))
    with clock.stopped_at(clock.now() + reports.REPLAY_WINDOW + timedelta(seconds=1)):
        accept(queue_items()[0], REF)
    assert Recipient.objects.get().state == "sent"
    assert UnmatchedReport.objects.get().matched_at is None


def test_a_lost_answer_is_settled_by_the_report(school: Account, lost: Recipient, emitted: list[DomainEvent]) -> None:
    assert state_of(lost) == "unknown"
    assert Alert.objects.get().resolved_at is None
    on_message_reported(report(school, REF, NUMBER, "Sent"))
    assert (state_of(lost), lost.provider_ref) == ("sent", REF)
    (item,) = queue_items()
    assert (item.state, item.finished_at is None) == (QueueState.COMPLETED, False)
    assert Alert.objects.get().resolved_at is not None
    on_message_reported(report(school, REF, NUMBER))
    assert state_of(lost) == "delivered"
    assert [event.type for event in emitted] == ["message.delivered"]


def test_a_report_that_came_before_the_answer_was_given_up_settles_it_at_once(
    school: Account, run_due: RunDue, fault: Fault, emitted: list[DomainEvent]
) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu")
    on_message_reported(report(school, REF, NUMBER))
    fault("drop_after_accept")
    assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    recipient = Recipient.objects.get()
    assert (recipient.state, recipient.provider_ref) == ("delivered", REF)
    assert UnmatchedReport.objects.get().matched_at is not None
    assert Alert.objects.count() == 0
    assert [event.type for event in emitted] == ["message.delivered"]


def test_a_hint_is_not_adopted(school: Account, lost: Recipient) -> None:
    with pytest.raises(Unmatched):
        on_message_reported(report(school, REF, NUMBER, trust=Trust.HINT))
    assert (state_of(lost), lost.provider_ref) == ("unknown", "")
    assert UnmatchedReport.objects.count() == 0


def test_a_report_after_a_day_is_not_adopted(school: Account, lost: Recipient) -> None:
    with clock.stopped_at(clock.now() + reports.ADOPTION_WINDOW + timedelta(seconds=1)):
        on_message_reported(report(school, REF, NUMBER))
    assert state_of(lost) == "unknown"
    assert UnmatchedReport.objects.count() == 1


def test_between_two_lost_answers_nobody_guesses(school: Account, lost: Recipient, run_due: RunDue, fault: Fault) -> None:
    fault("drop_after_accept")
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu tena")
    run_due()
    on_message_reported(report(school, REF, NUMBER))
    assert set(Recipient.objects.values_list("state", flat=True)) == {"unknown"}
    assert UnmatchedReport.objects.count() == 1


def test_a_report_for_a_text_on_its_way_is_not_adopted_by_a_lost_one(school: Account, lost: Recipient) -> None:
    send_sms(tenant=school.tenant, to=[NUMBER], message="Karibu tena")
    on_message_reported(report(school, "ATXid_second", NUMBER))
    on_message_reported(report(school, "ATXid_first", NUMBER))
    assert state_of(lost) == "unknown"
    accept(queue_items()[1], "ATXid_second")
    second = Recipient.objects.exclude(pk=lost.pk).get()
    assert (second.state, second.provider_ref) == ("delivered", "ATXid_second")
    # With the second one's id known, the other report can only be about the lost one.
    assert (state_of(lost), lost.provider_ref) == ("delivered", "ATXid_first")


def test_the_late_answer_of_a_call_given_up_is_the_truth(school: Account, lost: Recipient) -> None:
    accept(queue_items()[0], REF)
    assert (state_of(lost), lost.provider_ref) == ("sent", REF)


class Hook(BaseHTTPRequestHandler):
    """The inbound side in short: parse with the provider's own class, handle in a transaction, acknowledge."""

    account: Account

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        adapter = get_provider(SLUG).webhook_adapter()
        assert adapter is not None
        received = InboundRequest("POST", "dlr", {}, dict(self.headers), body)
        origin = Origin(tenant_id=self.account.tenant.pk, config_id=self.account.config.pk, trust=Trust.TOKEN, receipt_id=1)
        with scope(tenant=self.account.tenant), transaction.atomic():
            for event in adapter.parse(received, origin):
                assert isinstance(event, MessageReported)
                on_message_reported(event)
        connection.close()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def hooked(transactional_db: None, simulator: running_simulators, tmp_path: Path) -> Iterator[Account]:
    """The school, with the simulator's delivery reports coming in over a socket."""
    sync_rows()
    account = make_account(Tenant.objects.create(slug="springfield", name="Springfield School"), tmp_path, "school")
    server = HTTPServer(("127.0.0.1", 0), type("BoundHook", (Hook,), {"account": account}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/dlr"
    control = f"{simulator.url}/control/{SLUG}/accounts/{account.username}"
    requests.put(control, json={"dlr_url": url}, timeout=10).raise_for_status()
    simulator.simulator(SLUG).change_settings({"dlr_delay": 0.05})
    with scope(tenant=account.tenant):
        yield account
    server.shutdown()
    thread.join()
    server.server_close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for other threads and sockets; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "final", "detail", "suppressed"),
    [
        ("+254711000123", "delivered", "", []),
        ("+254711000900", "failed", "the phone is off or out of coverage (temporary)", []),
        ("+254711000901", "failed", "UserDoesNotExist", ["+254711000901"]),
        ("+254711000903", "delivered", "", []),
        ("+254711000904", "delivered", "", []),
    ],
)
def test_reports_over_sockets(
    hooked: Account,
    run_due: RunDue,
    emitted: list[DomainEvent],
    number: str,
    final: str,
    detail: str,
    suppressed: list[str],
) -> None:
    send_sms(tenant=hooked.tenant, to=[number], message="Karibu")
    assert [outcome.state for outcome in run_due()] == [QueueState.COMPLETED]
    until(lambda: Recipient.objects.get().state == final)
    recipient = Recipient.objects.get()
    assert recipient.detail == detail
    assert list(Suppression.objects.values_list("address", flat=True)) == suppressed
    assert [event.type for event in emitted] == [f"message.{final}"]
    assert not UnmatchedReport.objects.filter(matched_at__isnull=True).exists()


def test_a_dropped_answer_over_sockets_ends_delivered(
    hooked: Account, simulator: running_simulators, run_due: RunDue, fault: Fault, sends: Callable[[], list[list[str]]]
) -> None:
    fault("drop_after_accept")
    send_sms(tenant=hooked.tenant, to=[NUMBER], message="Karibu")
    run_due()
    until(lambda: Recipient.objects.get().state == "delivered")
    until(lambda: QueueItem.objects.get().state == QueueState.COMPLETED)
    assert sends() == [[NUMBER]]


def test_a_report_waits_for_a_commit_in_progress(hooked: Account) -> None:
    """The race itself: the id is written and not yet committed when the report arrives."""
    send_sms(tenant=hooked.tenant, to=[NUMBER], message="Karibu")
    (item,) = queue_items()

    def deliver() -> None:
        with scope(tenant=hooked.tenant), transaction.atomic():
            on_message_reported(report(hooked, REF, NUMBER))
        connection.close()

    thread = threading.Thread(target=deliver)
    with transaction.atomic():
        accept(item, REF)
        thread.start()
        until(lambda: _waiting_for_a_lock() == 1)
    thread.join(timeout=60)
    with scopes_disabled():
        assert Recipient.objects.get().state == "delivered"
        assert UnmatchedReport.objects.count() == 0


def _waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        # In this database alone: other tests run beside this one in databases of their own.
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
        )
        count: int = cursor.fetchone()[0]
        return count
