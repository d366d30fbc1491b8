"""The account finds what it is there to find: each kind of fault is put into the books by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.audit import Account, audit
from tests.chaos.books import Books
from tests.chaos.load import AMOUNT, Item
from tests.chaos.receivers import WANTED, Wanted

PHONE, NUMBER = "254710000001", "+254720000679"
EVENT, PAID = "evt_1", "evt_2"


class Receiver:
    """What the audit asks of one."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted, self.name, self.endpoint_id = wanted, wanted.name, f"we_{wanted.name}"
        self.problems: list[str] = []
        self.order: list[str] = []

    def order_taken(self) -> list[str]:
        return self.order


def delivery(state: str = "delivered", tries: tuple[str, ...] = ("",)) -> dict[str, Any]:
    return {"state": state, "tries": list(tries), "dead_reason": "", "last_error": "", "order_key": "", "position": 1}


@pytest.fixture
def world() -> SimpleNamespace:
    """A published event, a text and a payment, each as it should be."""
    receivers = [Receiver(wanted) for wanted in WANTED]
    books = Books()
    event = {"id": EVENT, "type": "order.created", "object_id": "", "item": "event-1"}
    books.events_of["event-1"], books.events[EVENT] = [event], event
    for name in ("books", "shop"):
        books.deliveries[EVENT, f"we_{name}"] = delivery()
    books.deliveries[PAID, "we_books"] = delivery()
    books.taken = {"books": {EVENT: 1, PAID: 1}, "shop": {EVENT: 1}, "warehouse": {}, "stock": {}}
    row = {"state": "delivered", "detail": "", "message": "msg_1"}
    books.texts[NUMBER], books.texts[f"+{PHONE}"] = [row], [row]
    books.at_phones.update([NUMBER, f"+{PHONE}"])
    books.payments["payment-1"] = [{"id": "pay_1", "status": "succeeded", "amount_captured": AMOUNT, "failure": None}]
    books.completed["pay_1"] = [PAID]
    books.pushes[PHONE], books.money[PHONE] = [{}], [{}]
    items = [
        Item("event", 1, 0.0, answer={"id": EVENT}, tries=1),
        Item("sms", 1, 0.0, numbers=(NUMBER,), answer={}, tries=1),
        Item("payment", 1, 0.0, phone=PHONE, answer={}, tries=1),
    ]
    house: dict[str, Any] = {"leaks": {"leases": 0}, "queue": {"sms.send completed": 1}, "receipts": {"processed": 1}}
    return SimpleNamespace(items=items, books=books, receivers=receivers, house=house)


def account_of(world: SimpleNamespace) -> Account:
    return audit(world.items, world.books, world.receivers, world.house)


def test_nothing_is_wrong_with_a_world_that_is_right(world: SimpleNamespace) -> None:
    account = account_of(world)
    assert account.faults() == {}
    assert {kind: dict(ends) for kind, ends in account.ends.items()} == {
        "event": {"delivered": 1},
        "sms": {"delivered": 1},
        "payment": {"succeeded": 1},
        "receipt by text": {"delivered": 1},
    }


def _no_event(world: SimpleNamespace) -> None:
    world.books.events_of.clear()


def _never_arrived(world: SimpleNamespace) -> None:
    del world.books.taken["shop"][EVENT]


def _owed_to_nobody(world: SimpleNamespace) -> None:
    del world.books.deliveries[EVENT, "we_shop"]
    del world.books.taken["shop"][EVENT]


def _given_up(world: SimpleNamespace) -> None:
    world.books.deliveries[EVENT, "we_shop"] = delivery("failed", ("http_status",))
    del world.books.taken["shop"][EVENT]


def _given_up_though_it_arrived(world: SimpleNamespace) -> None:
    world.books.deliveries[EVENT, "we_shop"] = delivery("failed", ("http_status",))


def _two_events(world: SimpleNamespace) -> None:
    world.books.events_of["event-1"] *= 2


def _a_copy_too_many(world: SimpleNamespace) -> None:
    world.books.taken["shop"][EVENT] = 2


def _still_waiting(world: SimpleNamespace) -> None:
    world.books.deliveries[EVENT, "we_shop"] = delivery("pending", ("http_status",))


def _a_text_twice(world: SimpleNamespace) -> None:
    world.books.at_phones[NUMBER] = 2


def _a_text_that_never_was(world: SimpleNamespace) -> None:
    world.books.at_phones[NUMBER] = 0


def _a_text_called_failed(world: SimpleNamespace) -> None:
    world.books.texts[NUMBER] = [{"state": "failed", "detail": "", "message": "msg_1"}]


def _a_text_unknown_without_a_reason(world: SimpleNamespace) -> None:
    world.books.texts[NUMBER] = [{"state": "unknown", "detail": "", "message": "msg_1"}]


def _asked_for_money_twice(world: SimpleNamespace) -> None:
    world.books.pushes[PHONE] *= 2


def _paid_and_called_failed(world: SimpleNamespace) -> None:
    world.books.payments["payment-1"][0]["status"] = "failed"


def _called_paid_and_was_not(world: SimpleNamespace) -> None:
    world.books.money.clear()


def _money_nobody_knows_of(world: SimpleNamespace) -> None:
    world.books.payments.clear()
    world.items[2] = replace(world.items[2], answer=None, patient=False)


def _payment_still_open(world: SimpleNamespace) -> None:
    world.books.payments["payment-1"][0]["status"] = "processing"


def _two_payments(world: SimpleNamespace) -> None:
    world.books.payments["payment-1"] *= 2


def _no_event_of_the_payment(world: SimpleNamespace) -> None:
    world.books.completed.clear()


def _a_lease_left(world: SimpleNamespace) -> None:
    world.house["leaks"]["leases"] = 1


def _work_left(world: SimpleNamespace) -> None:
    world.house["queue"]["sms.send processing"] = 1


def _a_wrong_signature(world: SimpleNamespace) -> None:
    world.receivers[0].problems.append("wrong signature")


def _a_refusal(world: SimpleNamespace) -> None:
    world.items[0] = replace(world.items[0], refused=422)


def _out_of_order(world: SimpleNamespace) -> None:
    """The second was asked for when the first had been answered, and arrived before it."""
    for number, (event_id, asked, accepted) in enumerate((("evt_3", 1.0, 2.0), ("evt_4", 3.0, 4.0)), start=1):
        event = {"id": event_id, "type": "stock.changed", "object_id": "shelf", "item": f"stock-{number}"}
        world.books.events[event_id], world.books.events_of[f"stock-{number}"] = event, [event]
        world.books.deliveries[event_id, "we_stock"] = delivery()
        world.books.taken["stock"][event_id] = 1
        item = Item("stock", number, 0.0, answer={"id": event_id}, asked_at=asked, accepted_at=accepted, tries=1)
        world.items.append(item)
    world.receivers[3].order = ["evt_4", "evt_3"]


def _never_asked_for(world: SimpleNamespace) -> None:
    world.items.append(Item("inbound", 7, 0.0))


def _asked_for_to_the_end(world: SimpleNamespace) -> None:
    world.items.append(Item("sms", 7, 0.0, numbers=("+254720000001",), tries=40))


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (_no_event, ["lost"]),
        (_never_arrived, ["lost"]),
        (_owed_to_nobody, ["lost"]),
        (_given_up, ["lost"]),
        (_given_up_though_it_arrived, ["false"]),
        (_two_events, ["doubled"]),
        (_a_copy_too_many, ["doubled"]),
        (_still_waiting, ["stuck"]),
        (_a_text_twice, ["doubled"]),
        (_a_text_that_never_was, ["lost"]),
        (_a_text_called_failed, ["false"]),
        (_a_text_unknown_without_a_reason, ["false"]),
        (_asked_for_money_twice, ["money"]),
        (_paid_and_called_failed, ["money"]),
        (_called_paid_and_was_not, ["money"]),
        (_money_nobody_knows_of, ["money"]),
        (_payment_still_open, ["stuck"]),
        (_two_payments, ["money"]),
        (_no_event_of_the_payment, ["lost"]),
        (_a_lease_left, ["leaks"]),
        (_work_left, ["stuck"]),
        (_a_wrong_signature, ["forged"]),
        (_a_refusal, ["refused"]),
        (_out_of_order, ["disordered"]),
        (_never_asked_for, ["unaccepted"]),
        (_asked_for_to_the_end, ["unaccepted"]),
    ],
)
def test_each_fault_is_found(world: SimpleNamespace, harm: Any, found: list[str]) -> None:
    harm(world)
    assert list(account_of(world).faults()) == found


def test_a_copy_too_many_is_excused_by_an_attempt_that_was_cut_off(world: SimpleNamespace) -> None:
    world.books.taken["shop"][EVENT] = 3
    world.books.deliveries[EVENT, "we_shop"] = delivery(tries=("lost", "http_status", "broken", ""))
    account = account_of(world)
    assert account.faults() == {}
    assert dict(account.copies_too_many) == {"lost": 1, "broken": 1}


def test_what_nobody_can_know_is_counted_apart(world: SimpleNamespace) -> None:
    world.books.texts[NUMBER] = [{"state": "unknown", "detail": "", "message": "msg_1"}]
    world.books.payments["payment-1"][0]["status"] = "needs_review"
    world.books.doubtful = {"msg_1", "pay_1"}
    account = account_of(world)
    assert account.faults() == {}
    assert dict(account.for_a_person) == {"text, on the phone": 1, "payment needs_review, at the provider paid": 1}


def test_what_was_never_answered_may_be_missing_but_not_twice(world: SimpleNamespace) -> None:
    world.items[0] = replace(world.items[0], answer=None, patient=False)
    assert account_of(world).faults() == {}
    _two_events(world)
    assert list(account_of(world).faults()) == ["doubled"]
    world.books.events_of.clear()
    assert account_of(world).faults() == {}
