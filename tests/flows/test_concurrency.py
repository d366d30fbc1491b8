"""Many at once: refunds of one payment, one request fifty times, capture against cancel, a refund against its own webhook,
two workers and one item. Each caller is a thread with a connection of its own, over real HTTP to the live server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from django.db import connections

from integrations.models import Attempt, QueueItem, QueueState
from integrations.runtime.worker import claim, run
from payments.models import Operation, OperationKind, OperationStatus
from tests.factories import work_off
from tests.flows.faults.checks import check_agreement, check_events, check_ledger, ledger
from tests.flows.faults.conftest import hub_at, shared_clock, simulators
from tests.flows.faults.hub import Hub
from tests.flows.faults.lanes import PHONE

__all__ = ["hub_at", "shared_clock", "simulators"]

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
MANY = 50
WORKERS = 10

Caller = Callable[[], Any]


def at_once(callers: Sequence[Caller]) -> list[Any]:
    """Let all begin at the same moment, each in a thread of its own; return what each returned, in their order."""
    start = threading.Barrier(len(callers))

    def call(caller: Caller) -> Any:
        start.wait(30)
        try:
            return caller()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(callers)) as pool:
        return [each.result() for each in [pool.submit(call, caller) for caller in callers]]


@pytest.fixture
def post(live_server: Any) -> Callable[..., requests.Response]:
    """`post(hub, path, key="", **body)`: over the wire, as another program would."""
    live_server.thread.httpd.socket.listen(2 * MANY)  # Django's test server lets ten wait and cuts the others off

    def send(hub: Hub, path: str, *, key: str = "", **body: Any) -> requests.Response:
        authorization = hub.school.api._credentials["HTTP_AUTHORIZATION"]
        headers = {"Authorization": authorization, **({"Idempotency-Key": key} if key else {})}
        return requests.post(f"{live_server.url}/api/v1/payments/{path}", json=body, headers=headers, timeout=60)

    return send


Post = Callable[..., requests.Response]


def paid(hub: Hub, **more: Any) -> str:
    payment_id = str(hub.ask(**more)["id"])
    hub.rest(payment_id)
    return payment_id


def refunds(hub: Hub, payment_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hub.shown(payment_id)["refunds"]
    return found


@pytest.mark.parametrize(("lane", "each", "possible"), [("stripe", 400, 12), ("flutterwave", 12_000, 12), ("paypal", 400, 12)])
def test_fifty_refunds_never_give_back_more_than_came_in(
    hub_at: Callable[[str], Hub], post: Post, lane: str, each: int, possible: int
) -> None:
    hub = hub_at(lane)
    payment_id = paid(hub)

    answers = at_once([lambda: post(hub, "refund", payment=payment_id, amount=each)] * MANY)

    assert Counter(answer.status_code for answer in answers) == {201: possible, 400: MANY - possible}
    assert {answer.json()["errors"][0]["attr"] for answer in answers if answer.status_code == 400} == {"amount"}
    hub.rest(payment_id)
    assert [refund["status"] for refund in refunds(hub, payment_id)] == ["succeeded"] * possible
    assert hub.money(payment_id).refunded == possible * each
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, [])
    check_events(hub, ["payment.completed"] + ["payment.refunded"] * possible)


@pytest.mark.parametrize("lane", ["stripe", "mpesa", "pesapal"])
def test_fifty_refunds_of_all_that_is_left_are_one(hub_at: Callable[[str], Hub], post: Post, lane: str) -> None:
    hub = hub_at(lane)
    payment_id = paid(hub)

    answers = at_once([lambda: post(hub, "refund", payment=payment_id)] * MANY)

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: MANY - 1}
    hub.rest(payment_id)
    assert [refund["status"] for refund in refunds(hub, payment_id)] == ["succeeded"]
    assert (hub.money(payment_id).refunded, len(hub.seen("refund"))) == (hub.lane.amount, 1)
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, [])
    check_events(hub, ["payment.completed", "payment.refunded"])


@pytest.mark.parametrize("lane", ["stripe", "mpesa", "flutterwave-prompt"])
def test_fifty_requests_with_one_key_are_one_payment(hub_at: Callable[[str], Hub], post: Post, lane: str) -> None:
    """While the first is under way the others hear 409 `idempotency_key_in_use`, and the answer when they ask again."""
    hub = hub_at(lane)
    body = {**hub.lane.body, "provider": hub.lane.slug}

    def ask() -> requests.Response:
        return post(hub, "authorize", key="the-one-order", **body)

    answers = at_once([ask] * MANY)

    turned_away = [answer for answer in answers if answer.status_code == 409]
    assert {answer.json()["errors"][0]["code"] for answer in turned_away} <= {"idempotency_key_in_use"}
    assert all(answer.headers["Retry-After"] == "1" for answer in turned_away)
    again = at_once([ask] * max(1, len(turned_away)))
    told = [answer for answer in [*answers, *again] if answer.status_code != 409]
    assert {answer.status_code for answer in told} == {201}
    assert all(answer.json() == told[0].json() for answer in told)
    assert sum("Idempotent-Replayed" not in answer.headers for answer in told) == 1
    assert len(hub.seen("authorize")) == 1
    payment_id = told[0].json()["id"]
    hub.rest(payment_id)
    assert hub.money(payment_id).captured == hub.lane.amount
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, [])
    check_events(hub, ["payment.completed"])


@pytest.mark.parametrize("lane", ["stripe", "paypal"])
def test_a_hold_is_captured_or_released_never_both(hub_at: Callable[[str], Hub], post: Post, lane: str) -> None:
    hub = hub_at(lane)
    payment_id = paid(hub, capture="manual")
    assert hub.shown(payment_id)["status"] == "authorized"

    capture: Caller = lambda: post(hub, "capture", payment=payment_id)  # noqa: E731 callers are many, and of two kinds
    cancel: Caller = lambda: post(hub, f"{payment_id}/cancel")  # noqa: E731
    answers = at_once([capture, cancel] * 5)

    won = [answer.json()["status"] for answer in answers if answer.status_code in (200, 201)]
    assert len(won) == 1
    assert [answer.status_code for answer in answers if answer.status_code not in (200, 201)] == [409] * 9
    hub.rest(payment_id)
    found = hub.shown(payment_id)
    assert found["status"] == won[0]
    amount = hub.lane.amount
    taken, released = found["amount_captured"], found["amount_voided"]
    assert (taken, released) == ((amount, 0) if found["status"] == "succeeded" else (0, amount))
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, [])
    last = ["payment.captured", "payment.completed"] if taken else ["payment.failed"]
    check_events(hub, ["payment.authorized", *last])


@pytest.mark.parametrize("lane", ["stripe", "paypal", "flutterwave", "mpesa"])
def test_a_refund_races_its_own_webhook(hub_at: Callable[[str], Hub], lane: str) -> None:
    """Our answer and the webhook of the same refund are applied at the same moment, by two workers: booked once."""
    hub = hub_at(lane)
    payment_id = paid(hub)
    hub.fault("refund", "delay", seconds=0.15)
    hub.fault("refund", "duplicate_callback", times=-1)
    before = ledger(hub, payment_id)

    with hub.working():
        answer = hub.post("refund", payment_id)
    hub.rest(payment_id)

    assert answer.status_code == 201, answer.json()
    assert [(each["status"], each["amount"]) for each in refunds(hub, payment_id)] == [("succeeded", hub.lane.amount)]
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, before)
    check_events(hub, ["payment.completed", "payment.refunded"])


def test_a_refund_in_the_dashboard_races_ours(hub_at: Callable[[str], Hub], post: Post) -> None:
    """Both want all of it: the gateway gives it back once, and the hub books what it did."""
    hub = hub_at("stripe")
    payment_id = paid(hub)

    def by_hand() -> int:
        url = f"{hub.school.simulator_url}/control/stripe/dashboard"
        body = {"ref": payment_id, "action": "refund", "amount": hub.lane.amount}
        return requests.post(url, json=body, timeout=10).status_code

    with hub.working():
        ours, theirs = at_once([lambda: post(hub, "refund", payment=payment_id), by_hand])
    hub.rest(payment_id)

    assert (ours.status_code, theirs) in ((201, 200), (201, 400), (409, 200))
    booked = [each for each in refunds(hub, payment_id) if each["status"] == "succeeded"]
    assert [each["amount"] for each in booked] == [hub.lane.amount]
    assert booked[0]["origin"] == ("gateway" if theirs == 200 else "hub")
    assert hub.money(payment_id).refunded == hub.lane.amount
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, [])


def test_a_refund_in_the_dashboard_beats_ours(hub_at: Callable[[str], Hub]) -> None:
    """Seen while ours is still to be made, it is more than is left: a person is told. Once ours is refused it is booked."""
    hub = hub_at("stripe")
    payment_id = paid(hub)
    with hub.unreachable():  # a 429 would keep the question after the notice waiting too
        assert hub.post("refund", payment_id).json()["status"] == "pending"
    hub.control("POST", "dashboard", ref=payment_id, action="refund")

    hub.quiet()

    assert [(each["status"], each["origin"]) for each in refunds(hub, payment_id)] == [("pending", "hub")]
    assert hub.alerts() == ["payment_report_mismatch"]
    hub.rest(payment_id)
    ends = [("failed", "hub"), ("succeeded", "gateway")]
    assert [(each["status"], each["origin"]) for each in refunds(hub, payment_id)] == ends
    assert hub.money(payment_id).refunded == hub.lane.amount
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, [])
    check_events(hub, ["payment.completed", "payment.refund_failed", "payment.refunded"])


def test_two_workers_and_one_item(hub_at: Callable[[str], Hub]) -> None:
    """The same due refund is claimed by one of ten workers only, and sent once, to a gateway that would do it twice."""
    hub = hub_at("flutterwave")
    payment_id = paid(hub)
    part = hub.lane.part or 0
    with hub.unreachable():
        assert hub.post("refund", payment_id, amount=part).json()["status"] == "pending"
    item = QueueItem.unscoped.get(kind="payment.refund")
    hub.clock.advance_to(item.due_at)

    outcomes = at_once([lambda: [run(each).state for each in claim(1, kinds=["payment.refund"])]] * WORKERS)

    assert sorted(outcomes) == [[]] * (WORKERS - 1) + [[QueueState.COMPLETED]]
    assert len(hub.seen("refund")) == 1
    hub.rest(payment_id)
    assert hub.money(payment_id).refunded == part
    check_agreement(hub, payment_id)
    check_events(hub, ["payment.completed", "payment.refunded"])


def test_a_worker_whose_lease_was_taken_over_does_not_send_again(hub_at: Callable[[str], Hub]) -> None:
    """One claims and stops for minutes before sending; another recovers the item and does it. The first must not, too."""
    hub = hub_at("mpesa")
    payment_id = str(hub.ask(method={"type": "mobile_money", "phone": PHONE})["id"])
    hub.rest(payment_id)
    with hub.unreachable():
        assert hub.post("refund", payment_id).json()["status"] == "pending"
    item = QueueItem.unscoped.get(kind="payment.refund")
    hub.clock.advance_to(item.due_at)
    (asleep,) = claim(1, kinds=["payment.refund"])
    assert asleep.lease_until is not None
    hub.clock.advance_to(asleep.lease_until)
    hub.clock.advance_to(hub.clock() + (asleep.lease_until - asleep.due_at))

    work_off()
    late = run(asleep)

    assert late.state == QueueState.COMPLETED, "told how it stands, not what it did"
    assert len(hub.seen("refund")) == 1
    assert Attempt.unscoped.filter(item=item).count() == 2, "the one that never left, and the one that did"
    hub.rest(payment_id)
    refund = Operation.unscoped.get(payment_id=payment_id, kind=OperationKind.REFUND)
    assert refund.status == OperationStatus.SUCCEEDED
    check_agreement(hub, payment_id)
    check_ledger(hub, payment_id, [])
