"""What must hold after every fault, whatever it was."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django_scopes import scope

from payments.models import LedgerEntry, OperationKind, OperationStatus
from tests.flows.faults.hub import Hub

TOTALS = ("amount_captured", "amount_voided", "amount_disputed", "amount_refunded")
Lines = list[dict[str, Any]]


def ledger(hub: Hub, payment_id: str) -> Lines:
    """Return the payment's ledger, oldest line first."""
    with scope(tenant=hub.school.tenant):
        return list(LedgerEntry.objects.filter(payment_id=payment_id).order_by("pk").values())


def check_ledger(hub: Hub, payment_id: str, before: Lines) -> None:
    """The totals are the sums of the operations; the ledger has grown only, is a chain, and ends at these totals."""
    lines, payment = ledger(hub, payment_id), hub.payment(payment_id)
    assert lines[: len(before)] == before
    assert [line["from_status"] for line in lines] == ["", *(line["to_status"] for line in lines[:-1])]
    assert lines[-1]["to_status"] == payment.status
    assert {name: lines[-1][name] for name in TOTALS} == {name: getattr(payment, name) for name in TOTALS}
    with scope(tenant=hub.school.tenant):
        done = list(payment.operations.filter(status=OperationStatus.SUCCEEDED).values_list("kind", "amount"))
    sums: Counter[str] = Counter()
    for kind, amount in done:
        sums[kind] += amount
    taken = sums[OperationKind.CAPTURE] + (sums[OperationKind.AUTHORIZE] if payment.capture == "automatic" else 0)
    assert (payment.amount_captured, payment.amount_refunded, payment.amount_voided) == (
        taken, sums[OperationKind.REFUND], sums[OperationKind.VOID],
    )  # fmt: skip


def check_agreement(hub: Hub, payment_id: str) -> None:
    """The gateway has what the hub says, of one payment."""
    (payment,) = hub.payments()
    assert payment.pk == payment_id
    money = hub.money(payment_id)
    assert (money.captured, money.refunded, money.held) == (
        payment.amount_captured, payment.amount_refunded, payment.amount_capturable,
    )  # fmt: skip


def check_events(hub: Hub, expected: list[str]) -> None:
    """Each fact was published once, and the tenant's own system got each once."""
    assert hub.events() == sorted(expected)
    received = [each["body"] for each in hub.school.sink() if each["body"]["type"].startswith("payment.")]
    assert sorted(body["type"] for body in received) == sorted(expected)
    assert len({body["id"] for body in received}) == len(received)
