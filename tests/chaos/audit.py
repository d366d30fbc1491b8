"""The account: what became of every item that was asked for, and what happened that nobody asked for.

Lost: answered with 2xx, and did not happen. Doubled: happened twice, and no attempt on record says why. Deliveries are made at
least once, so a receiver may get a copy too many for each attempt that was cut off; texts and money are never tried again
without an answer, so a second one is always a fault. What nobody can know (the answer to a call was lost, and the
provider can't be asked) waits for a person and is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.books import EVENT_TYPES, Books, Row
from tests.chaos.load import AMOUNT, Item
from tests.chaos.receivers import Receiver

EXCUSES = frozenset({"lost", "timeout", "broken", "interrupted"})
"""Attempts after which nobody knows whether the receiver took it."""

SENT = frozenset({"sent", "delivered", "read"})
NOT_SENT = frozenset({"failed", "cancelled", "expired", "bounced"})
OPEN = frozenset({"processing", "requires_action", "authorized", "partially_captured"})
NOT_PAID = frozenset({"failed", "cancelled", "expired"})


@dataclass
class Account:
    """What was found. `ends` counts by kind of item how they ended; everything else is a list of sentences."""

    ends: dict[str, Counter[str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    money: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    """What the hub says, and what is not so."""
    stuck: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unaccepted: list[str] = field(default_factory=list)
    """What the run was to be about, and the hub never took: of that nothing was tried."""
    copies_too_many: Counter[str] = field(default_factory=Counter)
    for_a_person: Counter[str] = field(default_factory=Counter)

    FAULTS = ("lost", "doubled", "money", "false", "stuck", "leaks", "disordered", "forged", "refused", "unaccepted")

    def faults(self) -> dict[str, list[str]]:
        """Return what must not be, by name."""
        return {name: found for name in self.FAULTS if (found := getattr(self, name))}

    def end(self, item: Item, how: str, times: int = 1) -> None:
        self.ends.setdefault(item.kind, Counter())[how] += times


def audit(items: Sequence[Item], books: Books, receivers: Sequence[Receiver], house: dict[str, Any]) -> Account:
    account = Account()
    _accepted(account, items)
    for item in items:
        if not item.tries:
            continue
        if item.refused:
            account.refused.append(f"{item.name}: {item.refused} {item.refusal[:200]}")
        if item.kind in EVENT_TYPES.values():
            _event(account, books, item, receivers)
        elif item.kind == "payment":
            _payment(account, books, item, receivers)
        else:
            _texts(account, books, item)
    _copies(account, books, receivers)
    for receiver in receivers:
        account.forged.extend(f"{receiver.name}: {each}" for each in receiver.problems)
        if receiver.wanted.in_order:
            _order(account, books, receiver, items)
    account.leaks.extend(f"{name}: {count}" for name, count in house["leaks"].items() if count)
    account.stuck.extend(
        f"queue item {name}: {count}" for name, count in house["queue"].items() if name.endswith(" processing")
    )
    account.stuck.extend(
        f"receipt {name}: {count}" for name, count in house["receipts"].items() if name in ("received", "failed")
    )
    return account


def _accepted(account: Account, items: Iterable[Item]) -> None:
    """A run is about all items of its plan. Without an answer end only clients who go away by that plan, and who had asked."""
    left: Counter[tuple[str, str]] = Counter()
    for item in items:
        if not item.tries:
            left[item.kind, "never asked for"] += item.size
        elif item.patient and not item.accepted and not item.refused:
            left[item.kind, "asked for, and never accepted"] += item.size
    account.unaccepted.extend(f"{kind}: {count:,} {what}" for (kind, what), count in sorted(left.items()))


def _wanted(event: Row, receivers: Iterable[Receiver]) -> list[Receiver]:
    return [each for each in receivers if _wants(each, event["type"])]


def _wants(receiver: Receiver, event_type: str) -> bool:
    return any(
        pattern == event_type or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))
        for pattern in receiver.wanted.events
    )


# --- events, and webhooks that became events


def _event(account: Account, books: Books, item: Item, receivers: Sequence[Receiver]) -> None:
    found = books.events_of.get(item.name, [])
    if len(found) > 1:
        account.doubled.append(f"{item.name}: {len(found)} events for one request: {[each['id'] for each in found]}")
    if not found:
        if item.accepted:
            account.lost.append(f"{item.name}: answered with 2xx, and there is no event")
        account.end(item, "lost" if item.accepted else "never taken")
        return
    if item.answer and item.kind != "inbound" and item.answer["id"] != found[0]["id"]:
        account.doubled.append(f"{item.name}: answered {item.answer['id']}, stored {found[0]['id']}")
    ends = {_arrived(account, books, item, found[0], receiver) for receiver in _wanted(found[0], receivers)}
    account.end(item, ends.pop() if len(ends) == 1 else "partly delivered")


def _arrived(account: Account, books: Books, item: Item, event: Row, receiver: Receiver) -> str:
    delivery = books.deliveries.get((event["id"], receiver.endpoint_id))
    arrived = books.taken[receiver.name].get(event["id"], 0)
    where = f"{item.name} ({event['id']}) for {receiver.name}"
    if delivery is None:
        account.lost.append(f"{where}: it is owed to nobody")
        return "lost"
    if delivery["state"] == "delivered":
        if not arrived:
            account.lost.append(f"{where}: called delivered, and never arrived; tries {delivery['tries']}")
            return "lost"
        return "delivered"
    if delivery["state"] == "failed":
        told = account.false if arrived else account.lost
        told.append(f"{where}: given up ({delivery['dead_reason']}: {delivery['last_error']}), tries {delivery['tries']}")
        return "given up"
    account.stuck.append(f"{where}: {delivery['state']}, tries {delivery['tries']}")
    return "stuck"


def _copies(account: Account, books: Books, receivers: Sequence[Receiver]) -> None:
    """Each copy beyond the first needs an attempt on record of which nobody knows how it ended."""
    for receiver in receivers:
        for event_id, copies in books.taken[receiver.name].items():
            delivery = books.deliveries.get((event_id, receiver.endpoint_id))
            if delivery is None:
                account.doubled.append(f"{event_id} at {receiver.name}: nobody owes it that")
                continue
            excuses = [each for each in delivery["tries"] or [] if each in EXCUSES]
            if copies - 1 > len(excuses):
                account.doubled.append(f"{event_id} at {receiver.name}: {copies} copies, tries {delivery['tries']}")
            account.copies_too_many.update(excuses[: copies - 1])


def _order(account: Account, books: Books, receiver: Receiver, items: Sequence[Item]) -> None:
    """Of what is about one object, nothing may arrive after something that was asked for when it had been accepted already.
    Between two that were asked for at the same time there is no order to keep."""
    known = {item.name: item for item in items}
    earliest: dict[str, tuple[float, str]] = {}
    for event_id in reversed(receiver.order_taken()):
        event = books.events.get(event_id)
        item = known.get(event["item"]) if event else None
        if event is None or item is None:
            continue
        later = earliest.get(event["object_id"])
        if later is not None and later[0] < item.asked_at:
            account.disordered.append(f"{item.name} ({event_id}) at {receiver.name} before {later[1]}")
        if item.accepted and (later is None or item.accepted_at < later[0]):
            earliest[event["object_id"]] = (item.accepted_at, f"{item.name} ({event_id})")


# --- texts


def _texts(account: Account, books: Books, item: Item) -> None:
    for number in item.numbers:
        account.end(item, _text(account, books, f"{item.name} to {number}", number, accepted=item.accepted))


def _text(account: Account, books: Books, where: str, number: str, *, accepted: bool) -> str:
    rows, at_phone = books.texts.get(number, []), books.at_phones[number]
    if len(rows) > 1 or at_phone > 1:
        account.doubled.append(f"{where}: {len(rows)} rows, {at_phone} texts on the phone")
        return "doubled"
    if not rows:
        if accepted:
            account.lost.append(f"{where}: answered with 2xx, and there is no recipient")
        if at_phone:
            account.false.append(f"{where}: it has a text that nobody sent")
        return "lost" if accepted else "never taken"
    state = str(rows[0]["state"])
    if state in SENT and not at_phone:
        account.lost.append(f"{where}: called {state}, and never was")
    elif state in NOT_SENT and at_phone:
        account.false.append(f"{where}: called {state} ({rows[0]['detail']}), and it has arrived")
    elif state in NOT_SENT:
        account.lost.append(f"{where}: {state} ({rows[0]['detail']})")
    elif state == "queued":
        account.stuck.append(f"{where}: still queued ({rows[0]['detail']})")
    elif state == "unknown":
        account.for_a_person[f"text, {'on the phone' if at_phone else 'not on the phone'}"] += 1
        if rows[0]["message"] not in books.doubtful:
            account.false.append(f"{where}: called unknown, and no call's outcome was")
    return state


# --- money


def _payment(account: Account, books: Books, item: Item, receivers: Sequence[Receiver]) -> None:
    rows, pushes, paid = books.payments.get(item.name, []), books.pushes.get(item.phone, []), books.money.get(item.phone, [])
    if len(rows) > 1:
        account.money.append(f"{item.name}: {len(rows)} payments for one request")
    if len(pushes) > 1 or len(paid) > 1:
        account.money.append(f"{item.name}: asked for {len(pushes)} times at the provider, paid {len(paid)} times")
    if not rows:
        if item.accepted:
            account.lost.append(f"{item.name}: answered with 2xx, and there is no payment")
        if pushes:
            account.money.append(f"{item.name}: asked for at the provider, and nobody knows")
        account.end(item, "lost" if item.accepted else "never taken")
        return
    row = rows[0]
    status = str(row["status"])
    account.end(item, status)
    where = f"{item.name} ({row['id']}), {status} {row['failure'] or ''}"
    if status == "succeeded":
        if not paid or row["amount_captured"] != AMOUNT:
            account.money.append(f"{where}: {row['amount_captured']} of {AMOUNT}, paid {len(paid)} times")
        _after_payment(account, books, item, row, receivers)
    elif status in NOT_PAID:
        if paid:
            account.money.append(f"{where}: and it was paid at the provider")
    elif status in OPEN:
        account.stuck.append(where)
    else:
        account.for_a_person[
            f"payment {status}, at the provider {'paid' if paid else 'asked for' if pushes else 'unheard of'}"
        ] += 1
        if row["id"] not in books.doubtful:
            account.false.append(f"{where}: and no call's outcome was unknown")


def _after_payment(account: Account, books: Books, item: Item, row: Row, receivers: Sequence[Receiver]) -> None:
    """The payer's receipt, and the event."""
    told = books.completed.get(row["id"], [])
    if len(told) != 1:
        (account.doubled if told else account.lost).append(f"{item.name}: {len(told)} payment.completed events")
    for event_id in told[:1]:
        for receiver in receivers:
            if _wants(receiver, "payment.completed"):
                _arrived(account, books, item, {"id": event_id}, receiver)
    how = _text(account, books, f"{item.name}'s receipt", f"+{item.phone}", accepted=True)
    account.ends.setdefault("receipt by text", Counter())[how] += 1
