"""Recipients of whom nobody else can tell what became of them: a person does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import Max
from django_scopes import scope

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.contracts.messaging import MessageState
from integrations.events import DomainEvent
from integrations.messaging import settling, steering
from integrations.messaging.api.settling import MessageSettleView
from integrations.messaging.fallback.fallback import GO_ON_KIND, RECEIPTS_KIND
from integrations.messaging.handlers import on_message_reported
from integrations.messaging.models import Message, MessageEvent, Recipient
from integrations.messaging.reports import lock_addresses
from integrations.messaging.sms.services import send_sms
from integrations.messaging.transitions import advance
from integrations.models import Alert, QueueItem, QueueState, Role
from integrations.runtime.alerts import raise_alert
from integrations.runtime.worker import Outcome
from tests.factories import make_fallback_policy
from tests.messaging.conftest import Account, report
from tests.messaging.test_api import BASE, client

pytestmark = pytest.mark.django_db(transaction=True)
FIRST, SECOND = "+254711000123", "+254711000124"
Drop = Callable[..., Message]


@pytest.fixture
def drop(school: Account, run_due: Callable[[], list[Outcome]], fault: Callable[..., None]) -> Drop:
    """Send a text to these whose answer gets lost."""

    def dropped(*to: str) -> Message:
        fault("drop_after_accept")
        message = send_sms(tenant=school.tenant, to=list(to) or [FIRST, SECOND], message="Karibu")
        run_due()
        assert set(Recipient.objects.filter(message=message).values_list("state", flat=True)) == {"unknown"}
        return message

    return dropped


def states() -> dict[str, str]:
    return dict(Recipient.objects.values_list("address", "state"))


def sending() -> QueueItem:
    item: QueueItem = QueueItem.objects.get(kind="sms.send")
    return item


def open_alerts() -> set[str]:
    return set(Alert.objects.filter(resolved_at__isnull=True).values_list("kind", flat=True))


@pytest.mark.parametrize(
    ("arrived", "state", "detail", "told"),
    [(True, "sent", "jane: arrived", []), (False, "failed", "jane: did not arrive", ["message.failed"])],
)
def test_a_person_decides_all_of_a_message(
    drop: Drop, emitted: list[DomainEvent], arrived: bool, state: str, detail: str, told: list[str]
) -> None:
    message = drop()
    assert (sending().state, open_alerts()) == (QueueState.NEEDS_REVIEW, {"needs_review"})
    moment = clock.now() + timedelta(hours=1)
    with clock.stopped_at(moment):
        assert settling.settle(message=message, arrived=arrived, by="jane") == 2
    assert states() == {FIRST: state, SECOND: state}
    for each in Recipient.objects.all():
        assert (each.detail, each.provider_status, each.given_up) == (detail, "" if arrived else "not_arrived", False)
        assert each.sent_at == (moment if arrived else None)
        last = MessageEvent.objects.filter(recipient=each).latest("id")
        assert (last.at, last.state, last.source, last.detail) == (moment, state, "person", detail)
    assert [each.type for each in emitted] == told * 2
    assert (sending().state, sending().finished_at) == (QueueState.COMPLETED, moment)
    assert open_alerts() == set()
    with pytest.raises(Conflict):
        settling.settle(message=message, arrived=not arrived, by="jane")
    assert states() == {FIRST: state, SECOND: state}


def test_one_of_two_leaves_the_item_in_review(drop: Drop) -> None:
    message = drop()
    (first,) = settling.recipients_at(message, [f" {FIRST} "])
    assert settling.settle(message=message, arrived=False, by="jane", recipients=[first]) == 1
    assert states() == {FIRST: "failed", SECOND: "unknown"}
    assert (sending().state, open_alerts()) == (QueueState.NEEDS_REVIEW, {"needs_review"})
    with pytest.raises(Conflict):
        settling.settle(message=message, arrived=True, by="jane", recipients=[first])
    assert settling.settle(message=message, arrived=True, by="jane", recipients=[first, first + 1]) == 1
    assert states() == {FIRST: "failed", SECOND: "sent"}
    assert (sending().state, open_alerts()) == (QueueState.COMPLETED, set())


def test_only_recipients_of_this_message_can_be_named(drop: Drop) -> None:
    message, other = drop(FIRST), drop(SECOND)
    with pytest.raises(InvalidRequest, match=r"\+254711000124") as caught:
        settling.recipients_at(message, [FIRST, SECOND])
    assert caught.value.attr == "to"
    theirs = settling.recipients_at(other, [SECOND])
    with pytest.raises(Conflict):
        settling.settle(message=message, arrived=True, by="jane", recipients=theirs)
    assert states() == {FIRST: "unknown", SECOND: "unknown"}


def test_a_device_is_named_as_it_is_shown(school: Account) -> None:
    push = Message.objects.create(tenant=school.tenant, channel="push", provider="fcm")
    tokens = ["device-token-number-one-1", "device-token-number-two-2"]
    first, second = (Recipient.objects.create(tenant=school.tenant, message=push, address=each) for each in tokens)
    assert settling.recipients_at(push, ["…er-two-2"]) == [second.pk]
    assert settling.recipients_at(push, [tokens[0], "…er-two-2"]) == [first.pk, second.pk]
    with pytest.raises(InvalidRequest):
        settling.recipients_at(push, ["er-two-2"])


def test_the_provider_that_did_not_say_is_an_alert_no_more(drop: Drop, school: Account) -> None:
    message = drop()
    kind = "message_outcome_unknown"
    for subject in (message.pk, "msg_another"):
        raise_alert(tenant_id=school.tenant.pk, kind=kind, subject=subject, message="Who knows?")
    settling.settle(message=message, arrived=True, by="jane", recipients=settling.recipients_at(message, [FIRST]))
    assert Alert.objects.filter(kind=kind, resolved_at__isnull=True).count() == 2
    settling.settle(message=message, arrived=True, by="jane")
    assert Alert.objects.get(kind=kind, resolved_at__isnull=True).subject == "msg_another"


def test_what_did_not_arrive_may_be_sent_again(drop: Drop) -> None:
    message = drop()
    with pytest.raises(Conflict):
        steering.resend_to_failed(message, by="jane")
    settling.settle(message=message, arrived=False, by="jane", recipients=settling.recipients_at(message, [SECOND]))
    again = steering.resend_to_failed(message, by="jane")
    assert list(Recipient.objects.filter(message=again).values_list("address", flat=True)) == [SECOND]


def test_many_are_settled_part_by_part(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "AT_ONCE", 1)
    message = drop()
    assert settling.settle(message=message, arrived=True, by="jane") == 1
    assert states() == {FIRST: "sent", SECOND: "unknown"}
    assert settling.settle(message=message, arrived=True, by="jane") == 1
    assert settling.unknown_of(message).count() == 0


class TestOtherWays:
    def test_they_are_taken_where_it_did_not_arrive(self, drop: Drop, school: Account) -> None:
        make_fallback_policy(school.tenant, "sms:twilio", after_minutes=5)
        message = drop()
        settling.settle(message=message, arrived=False, by="jane")
        ours = set(Recipient.objects.values_list("pk", flat=True))
        assert set(QueueItem.objects.get(kind=GO_ON_KIND).payload["recipients"]) == ours

    def test_they_are_not_taken_where_it_arrived_and_no_receipt_comes(self, drop: Drop, school: Account) -> None:
        make_fallback_policy(school.tenant, "sms:twilio", after_minutes=5)
        message = drop()
        before = QueueItem.objects.aggregate(last=Max("id"))["last"]
        settling.settle(message=message, arrived=True, by="jane")
        assert not QueueItem.objects.filter(pk__gt=before).exists()

    def test_somebody_elses_receipts_are_still_missed(self, drop: Drop, school: Account) -> None:
        """The provider's own word that it took the text is watched as ever."""
        make_fallback_policy(school.tenant, "sms:twilio", after_minutes=5)
        message = drop()
        second = Recipient.objects.select_related("message").get(address=SECOND)
        advance(second, MessageState.SENT, at=clock.now(), source="provider")
        settling.settle(message=message, arrived=True, by="jane")
        assert QueueItem.objects.get(kind=RECEIPTS_KIND).payload["recipients"] == [second.pk]


class TestAtTheSameMomentAsAReport:
    """Each runs on a connection of its own, and is held where it has written and not committed."""

    def held(self, school: Account, act: Callable[[], Any]) -> tuple[threading.Thread, threading.Event]:
        written, may_commit = threading.Event(), threading.Event()

        def work() -> None:
            try:
                with scope(tenant=school.tenant), transaction.atomic():
                    act()
                    written.set()
                    assert may_commit.wait(15)
            finally:
                connection.close()

        thread = threading.Thread(target=work)
        thread.start()
        assert written.wait(15)
        return thread, may_commit

    def test_the_report_was_first(self, drop: Drop, school: Account) -> None:
        message = drop(FIRST)
        thread, may_commit = self.held(school, lambda: on_message_reported(report(school, "ATXid_1", FIRST)))
        threading.Timer(0.3, may_commit.set).start()
        with pytest.raises(Conflict):
            settling.settle(message=message, arrived=False, by="jane")
        thread.join(15)
        assert states() == {FIRST: "delivered"}
        assert not QueueItem.objects.filter(kind=GO_ON_KIND).exists()
        assert (sending().state, open_alerts()) == (QueueState.COMPLETED, set())

    def test_the_person_was_first(self, drop: Drop, school: Account) -> None:
        message = drop(FIRST)
        (only,) = Recipient.objects.all()
        thread, may_commit = self.held(school, lambda: settling.settle(message=message, arrived=False, by="jane"))
        threading.Timer(0.3, may_commit.set).start()
        with transaction.atomic():
            on_message_reported(report(school, "ATXid_1", FIRST, ref=f"r{only.pk}"))
        thread.join(15)
        assert states() == {FIRST: "failed"}, "what a person decided is final"
        assert MessageEvent.objects.latest("id").detail == "Success came too late: stays failed"
        assert (sending().state, open_alerts()) == (QueueState.COMPLETED, set())

    def test_who_holds_the_address_is_waited_for(self, drop: Drop, school: Account) -> None:
        """A report that is being placed has its address before it has found whom it is about."""
        message = drop(FIRST)
        thread, may_commit = self.held(school, lambda: lock_addresses(school.tenant.pk, [FIRST]))
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '200ms'")
            with pytest.raises(OperationalError, match="lock timeout"):
                settling.settle(message=message, arrived=False, by="jane")
        may_commit.set()
        thread.join(15)
        assert states() == {FIRST: "unknown"}

    def test_two_people_at_once_decide_once(self, drop: Drop, school: Account) -> None:
        message = drop(FIRST)
        thread, may_commit = self.held(school, lambda: settling.settle(message=message, arrived=True, by="jane"))
        threading.Timer(0.3, may_commit.set).start()
        with pytest.raises(Conflict):
            settling.settle(message=message, arrived=False, by="john")
        thread.join(15)
        assert states() == {FIRST: "sent"}


class TestApi:
    def url(self, message: Message) -> str:
        return f"{BASE}/messages/{message.pk}/settle"

    def test_an_admin_settles_once_per_key(self, drop: Drop, school: Account) -> None:
        message, admin = drop(), client(school, Role.ADMIN)
        body, key = {"arrived": False, "to": [SECOND]}, {"Idempotency-Key": "s"}
        first = admin.post(self.url(message), body, format="json", headers=key)
        again = admin.post(self.url(message), body, format="json", headers=key)
        assert (first.status_code, first.json()["settled"], first.json()["left"]) == (200, 1, 1)
        assert first.json()["message"]["counts"] == {"failed": 1, "unknown": 1}
        assert again.json() == first.json()
        rest = admin.post(self.url(message), {"arrived": True}, format="json")
        assert (rest.json()["settled"], rest.json()["left"]) == (1, 0)
        assert states() == {FIRST: "sent", SECOND: "failed"}
        assert Recipient.objects.get(address=FIRST).detail == "key test: arrived"

    def test_a_request_whose_answer_was_lost_is_answered_from_what_it_did(
        self, drop: Drop, school: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        message, admin = drop(), client(school, Role.ADMIN)
        real = MessageSettleView._answer

        def broken(*_: Any) -> None:
            raise RuntimeError("the process ends here")

        monkeypatch.setattr(MessageSettleView, "_answer", staticmethod(broken))
        key = {"Idempotency-Key": "s"}
        assert admin.post(self.url(message), {"arrived": True}, format="json", headers=key).status_code == 500
        monkeypatch.setattr(MessageSettleView, "_answer", staticmethod(real))
        again = admin.post(self.url(message), {"arrived": True}, format="json", headers=key)
        assert (again.status_code, again.json()["settled"], again.json()["message"]["id"]) == (200, 2, message.pk)

    def test_nobody_unknown_is_409(self, drop: Drop, school: Account) -> None:
        message, admin = drop(), client(school, Role.ADMIN)
        assert admin.post(self.url(message), {"arrived": True}, format="json").status_code == 200
        again = admin.post(self.url(message), {"arrived": False}, format="json")
        assert (again.status_code, again.json()["errors"][0]["code"]) == (409, "provider_conflict")

    @pytest.mark.parametrize(
        ("body", "attr"),
        [
            ({}, "arrived"),
            ({"arrived": None}, "arrived"),
            ({"arrived": "perhaps"}, "arrived"),
            ({"arrived": True, "to": []}, "to"),
            ({"arrived": True, "to": "+254711000123"}, "to"),
            ({"arrived": True, "to": ["+254711000999"]}, "to"),
            ({"arrived": True, "to": ["nobody\u0000"]}, "to.0"),
            ({"arrived": True, "at": "noon"}, "at"),
        ],
    )
    def test_a_wrong_body_is_400_and_changes_nothing(
        self, drop: Drop, school: Account, body: dict[str, Any], attr: str
    ) -> None:
        message = drop()
        answer = client(school, Role.ADMIN).post(self.url(message), body, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)
        assert states() == {FIRST: "unknown", SECOND: "unknown"}

    @pytest.mark.parametrize(("role", "scopes"), [(Role.STAFF, None), (Role.AUDITOR, None), (Role.ADMIN, ["payments"])])
    def test_it_is_for_admins(self, drop: Drop, school: Account, role: str, scopes: list[str] | None) -> None:
        message = drop()
        assert client(school, role, scopes).post(self.url(message), {"arrived": True}, format="json").status_code == 403
        assert states() == {FIRST: "unknown", SECOND: "unknown"}

    def test_another_tenants_message_is_not_there(self, drop: Drop, school: Account, studio: Account) -> None:
        message = drop()
        other = client(studio, Role.ADMIN)
        assert other.post(self.url(message), {"arrived": True}, format="json").status_code == 404
        assert states() == {FIRST: "unknown", SECOND: "unknown"}
