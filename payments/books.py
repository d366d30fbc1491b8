"""A gateway's own books against ours: which line belongs to which operation, and what differs.

All of it runs in the caller's transaction with the run's row locked; the payments that are found are locked too, in the
order of their ids. Nothing outside of the run's tenant and account is ever found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from integrations.contracts.payment import GatewayTransaction, TransactionKind
from integrations.models import ExternalReference
from payments.models import (
    Dispute,
    Operation,
    OperationKind,
    OperationStatus,
    Payment,
    ReconciliationLine,
    ReconciliationRun,
)

_TAKES = (OperationKind.AUTHORIZE, OperationKind.CAPTURE, OperationKind.INCOMING)
_KINDS = (*_TAKES, OperationKind.REFUND)
_NOT_A_PAYMENTS = ("refund", "dispute", "hook_token")
"""Kinds of references that name something else than the payment itself; such an id may look like a payment's."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a line of the gateway's is about, as far as we have it."""

    payment: Payment | None = None
    operation: Operation | None = None
    dispute: Dispute | None = None


def book_kind(kind: str) -> str:
    """Return the kind of reference under which the gateway's books name an operation."""
    return f"book_{kind}"


def ids_of(transaction: GatewayTransaction) -> tuple[str, ...]:
    """Return the ids of a line, best first."""
    return tuple(dict.fromkeys(each for each in (*transaction.refs, transaction.provider_ref) if each))


class Books:
    """Our side of some of the gateway's lines, read at once."""

    def __init__(self, run: ReconciliationRun, transactions: Sequence[GatewayTransaction]) -> None:
        self._run = run
        ids = {each for transaction in transactions for each in ids_of(transaction)}
        named = {transaction.payment_id for transaction in transactions if transaction.payment_id}
        referred = self._referred(ids)
        found = named | set(referred.values()) | self._payments_by_id(ids) | self._payments_of_operations(ids)
        locked = Payment.objects.select_for_update().filter(tenant_id=run.tenant_id, pk__in=found).order_by("pk")
        payments = {payment.pk: payment for payment in locked}
        self._operations: dict[str, list[Operation]] = defaultdict(list)
        rows = Operation.objects.filter(tenant_id=run.tenant_id, payment_id__in=payments, kind__in=_KINDS)
        for operation in rows.order_by("created", "pk"):
            operation.payment = payments[operation.payment_id]
            if (operation.config_id or operation.payment.config_id) == run.config_id:
                self._operations[operation.payment_id].append(operation)
        here = {pk: each for pk, each in payments.items() if each.config_id == run.config_id or pk in self._operations}
        self._payments = here
        self._by_id = self._index(here, referred)
        disputes = Dispute.objects.filter(tenant_id=run.tenant_id, provider=run.provider, payment_id__in=here)
        self._disputes = {dispute.provider_ref: dispute for dispute in disputes}
        self._spoken_for = self._named_before()

    # --- reading ----------------------------------------------------------------------------------------------------------

    def _payments_by_id(self, ids: Collection[str]) -> set[str]:
        names = Q(provider_ref__in=ids) | Q(hold_ref__in=ids) | Q(receipt__in=ids)
        mine = Payment.objects.filter(names, tenant_id=self._run.tenant_id, provider=self._run.provider)
        disputed = Dispute.objects.filter(
            tenant_id=self._run.tenant_id, provider=self._run.provider, provider_ref__in=ids
        ).values_list("payment_id", flat=True)
        return {*mine.values_list("pk", flat=True), *disputed}

    def _payments_of_operations(self, ids: Collection[str]) -> set[str]:
        names = Q(provider_ref__in=ids) | Q(receipt__in=ids) | Q(pk__in=ids)
        mine = Operation.objects.filter(names, tenant_id=self._run.tenant_id, kind__in=_KINDS)
        return set(mine.values_list("payment_id", flat=True))

    def _referred(self, ids: Collection[str]) -> dict[str, str]:
        rows = ExternalReference.objects.filter(
            tenant_id=self._run.tenant_id,
            provider=self._run.provider,
            config_id=self._run.config_id,
            external_id__in=ids,
            object_type="payment",
        ).exclude(kind__in=_NOT_A_PAYMENTS)
        return dict(rows.order_by("pk").values_list("external_id", "object_id"))

    def _index(self, payments: dict[str, Payment], referred: dict[str, str]) -> dict[str, Payment]:
        index = {external: payments[pk] for external, pk in referred.items() if pk in payments}
        for payment in payments.values():
            for operation in self._operations[payment.pk]:
                if operation.kind in _TAKES:
                    index |= {each: payment for each in (operation.provider_ref, operation.receipt) if each}
        for payment in payments.values():
            index |= {each: payment for each in (payment.receipt, payment.hold_ref, payment.provider_ref) if each}
        return index

    def _named_before(self) -> set[str]:
        """Return the operations that earlier lines of this run have named."""
        mine = [operation.pk for operations in self._operations.values() for operation in operations]
        return set(named_operations([self._run.pk], self._run, mine))

    # --- matching ---------------------------------------------------------------------------------------------------------

    def find(self, transaction: GatewayTransaction) -> Found:
        """Return what the line is about. An operation is given away once in a run: a second line of it is other money."""
        payment = self._payment(transaction)
        match transaction.kind:
            case TransactionKind.CHARGE:
                operation = self._charge(transaction, payment)
            case TransactionKind.REFUND:
                operation = self._refund(transaction, payment)
            case TransactionKind.DISPUTE:
                known = (self._disputes.get(each) for each in ids_of(transaction))
                dispute = next((each for each in known if each is not None), None)
                return Found(payment or (self._payments[dispute.payment_id] if dispute else None), dispute=dispute)
            case _:
                return Found(payment)
        if operation is None:
            return Found(payment)
        self._spoken_for.add(operation.pk)
        return Found(operation.payment, operation)

    def operation_at(self, payment: Payment) -> Operation | None:
        """Return the try of this payment that was made at the run's account."""
        return next((each for each in self._operations[payment.pk] if each.kind in _TAKES), None)

    def captures_of(self, payment: Payment) -> list[Operation]:
        """Return what was taken of the payment at the run's account."""
        return [each for each in self._operations[payment.pk] if takes_money(each) and each.status == OperationStatus.SUCCEEDED]

    def _payment(self, transaction: GatewayTransaction) -> Payment | None:
        if transaction.payment_id in self._payments:
            return self._payments[transaction.payment_id]
        # A refund's or dispute's own id may be the number of some other payment.
        own = transaction.provider_ref if transaction.kind is not TransactionKind.CHARGE else ""
        return next((self._by_id[each] for each in ids_of(transaction) if each != own and each in self._by_id), None)

    def _charge(self, transaction: GatewayTransaction, payment: Payment | None) -> Operation | None:
        ids = ids_of(transaction)
        every = [each for operations in self._operations.values() for each in operations if takes_money(each)]
        exact = [each for each in every if _named(each, ids)]
        if exact:
            return self._best(transaction, exact)
        if payment is None:
            return None
        mine = [each for each in every if each.payment_id == payment.pk]
        if payment.capture == "manual":
            mine = [each for each in mine if each.amount == transaction.money.minor_units and not each.provider_ref]
        return self._best(transaction, mine)

    def _refund(self, transaction: GatewayTransaction, payment: Payment | None) -> Operation | None:
        ids = ids_of(transaction)
        refunds = [
            each
            for operations in self._operations.values()
            for each in operations
            if each.kind == OperationKind.REFUND and (payment is None or each.payment_id == payment.pk)
        ]
        exact = [each for each in refunds if _named(each, ids)]
        if exact or payment is None:
            return self._best(transaction, exact)
        amount = transaction.money.minor_units
        return self._best(transaction, [each for each in refunds if not each.provider_ref and each.amount == amount])

    def _best(self, transaction: GatewayTransaction, candidates: Iterable[Operation]) -> Operation | None:
        free = [each for each in candidates if each.pk not in self._spoken_for]

        def fitness(operation: Operation) -> tuple[bool, bool]:
            return operation.amount != transaction.money.minor_units, operation.status != OperationStatus.SUCCEEDED

        return min(free, key=fitness, default=None)


def takes_money(operation: Operation) -> bool:
    """Tell whether it takes money (or is to): a hold does not, until something of it is captured."""
    if operation.kind == OperationKind.AUTHORIZE:
        return operation.payment is not None and operation.payment.capture == "automatic"
    return operation.kind in _TAKES


def _named(operation: Operation, ids: Collection[str]) -> bool:
    return operation.provider_ref in ids or operation.receipt in ids or operation.pk in ids


def named_operations(
    runs: Collection[int], run: ReconciliationRun, operations: Collection[str] | QuerySet[Operation, Any]
) -> list[str]:
    """Return those of these operations (ids, or a query for them) that lines of these runs have named."""
    found: list[str] = []
    for kind in (TransactionKind.CHARGE.value, TransactionKind.REFUND.value):
        lines = ReconciliationLine.objects.filter(tenant_id=run.tenant_id, run_id__in=runs, transaction_kind=kind)
        names = ExternalReference.objects.filter(
            tenant_id=run.tenant_id,
            provider=run.provider,
            kind=book_kind(kind),
            config_id=run.config_id,
            object_type="operation",
            external_id__in=lines.order_by().values("provider_ref"),
            object_id__in=operations,
        )
        found += names.values_list("object_id", flat=True)
    return found


def note_name(run: ReconciliationRun, line: ReconciliationLine, operation: Operation) -> None:
    """Remember under which id the gateway's books have the operation; harmless to repeat."""
    ExternalReference.objects.get_or_create(
        tenant_id=run.tenant_id,
        provider=run.provider,
        kind=book_kind(line.transaction_kind),
        external_id=line.provider_ref,
        object_type="operation",
        object_id=operation.pk,
        defaults={"config_id": run.config_id},
    )


def is_named(run: ReconciliationRun, line: ReconciliationLine) -> bool:
    """Tell whether an operation of ours is known to be this line of the gateway's."""
    return bool(
        ExternalReference.objects.filter(
            tenant_id=run.tenant_id,
            provider=run.provider,
            kind=book_kind(line.transaction_kind),
            external_id=line.provider_ref,
            config_id=run.config_id,
            object_type="operation",
        ).exists()
    )


def failed_refund(run: ReconciliationRun, line: ReconciliationLine) -> bool:
    """Tell whether the line's refund has failed here."""
    names = ExternalReference.objects.filter(
        tenant_id=run.tenant_id,
        provider=run.provider,
        kind=book_kind(TransactionKind.REFUND.value),
        external_id=line.provider_ref,
        config_id=run.config_id,
        object_type="operation",
    )
    failed = Operation.objects.filter(tenant_id=run.tenant_id, kind=OperationKind.REFUND, status=OperationStatus.FAILED)
    return bool(failed.filter(payment_id=line.payment_id, pk__in=names.values("object_id")).exists())
