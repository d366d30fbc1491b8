"""When a payment is looked at again: polls while it is open, the steps an approval leads to, warnings before a hold lapses."""

from __future__ import annotations

from datetime import timedelta

from integrations.contracts import clock
from integrations.runtime.queue import enqueue
from payments.gateway import main_operation, payment_features
from payments.models import Operation, OperationKind, OperationStatus, Payment
from payments.transitions import is_open

WARNING = timedelta(hours=24)
AFTER_LAPSE = timedelta(minutes=10)
AGAIN = timedelta(minutes=2)


def schedule_poll(payment: Payment, number: int) -> None:
    """Queue the next question to the gateway about an open payment, in the caller's transaction.

    Questions whose time has passed (nothing ran, or an answer came by another way) are not made up for: one asks now.
    """
    if not is_open(payment.status):
        return
    steps, now = payment_features(payment).polls, clock.now()
    age = (now - payment.created).total_seconds()
    while _seconds(steps, number + 1) <= age:
        number += 1
    enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.poll",
        payload={"payment": payment.pk, "number": number},
        reference=("payment", payment.pk),
        key=f"{payment.pk}:{number}",
        due_at=max(payment.created + timedelta(seconds=_seconds(steps, number)), now),
        config_id=payment.config_id,
        priority=4,
    )


def _seconds(steps: tuple[int, ...], number: int) -> int:
    """Return how long after the payment's beginning a question is due; after the last step by the same distance again."""
    return steps[number] if number < len(steps) else steps[-1] + (number - len(steps) + 1) * max(1, steps[-1])


def schedule_give_up(payment: Payment) -> None:
    """Queue the date on which a person must look at a payment that can't be asked about, should no callback have come."""
    after = timedelta(seconds=payment_features(payment).unknown_after)
    enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.give_up",
        payload={"payment": payment.pk, "number": 0},
        reference=("payment", payment.pk),
        key=f"{payment.pk}:0",
        due_at=max(payment.created + after, clock.now()),
        config_id=payment.config_id,
        priority=4,
    )


def schedule_question(
    payment: Payment, *, key: str, wait: timedelta = timedelta(0), operation: Operation | None = None
) -> None:
    """Queue a question to the gateway whatever the payment's status: something happened there, or may have."""
    asked = operation or main_operation(payment)
    enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.confirm",
        payload={"payment": payment.pk, "operation": asked.pk if asked is not None else ""},
        reference=("payment", payment.pk),
        key=f"{payment.pk}:{key}",
        due_at=clock.now() + wait,
        config_id=asked.config_id if asked is not None else payment.config_id,
        priority=3,
    )


def schedule_completion(payment: Payment) -> None:
    """Queue the second step after the payer's approval: at most once, and not after it has lost its sense."""
    now = clock.now()
    enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.complete",
        payload={"payment": payment.pk},
        reference=("payment", payment.pk),
        key=payment.pk,
        not_after=now + timedelta(seconds=payment_features(payment).validity),
        config_id=payment.config_id,
        priority=1,
    )


def schedule_expiry(payment: Payment) -> None:
    """Queue the warning before a hold lapses, and the question after it."""
    if payment.expires_at is None:
        return
    left = payment.expires_at - clock.now()
    stamp = int(payment.expires_at.timestamp())
    enqueue(
        tenant_id=payment.tenant_id,
        kind="payment.expiry_warning",
        payload={"payment": payment.pk},
        reference=("payment", payment.pk),
        key=f"{payment.pk}:{stamp}",
        due_at=max(clock.now(), payment.expires_at - min(WARNING, left / 2)),
        priority=6,
    )
    schedule_question(payment, key=f"lapse:{stamp}", wait=max(timedelta(0), left) + AFTER_LAPSE)


def under_way(payment: Payment, *kinds: OperationKind) -> Operation | None:
    """Return an operation of these kinds that the gateway has not decided, if there is one."""
    undecided = [OperationStatus.PENDING, OperationStatus.UNKNOWN, OperationStatus.NEEDS_REVIEW]
    found: Operation | None = payment.operations.filter(kind__in=kinds, status__in=undecided).first()
    return found
