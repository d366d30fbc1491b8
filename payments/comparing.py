"""Writes the lines of a reconciliation: what the gateway's books say, what they should say and don't, what they can't say.

All of it runs in the caller's transaction with the run's row locked, and is harmless to repeat: a line of the gateway's is
written once in a run. Amounts of the ledger are never changed here; where the gateway knows more than we do, it is asked,
and its answer is booked in the ordinary way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from integrations.contracts import clock
from integrations.contracts.errors import ProviderError
from integrations.contracts.money import Money
from integrations.contracts.payment import (
    CaptureFact,
    GatewayTransaction,
    PaymentResult,
    PaymentState,
    RefundFact,
    RefundState,
    TransactionKind,
)
from integrations.contracts.payment_features import GatewayOperation
from payments.books import Books, Found, failed_refund, is_named, named_operations, note_name, takes_money
from payments.gateway import features_of, main_operation
from payments.models import (
    LineKind,
    Operation,
    OperationKind,
    OperationOrigin,
    OperationStatus,
    Payment,
    ReconciliationLine,
    ReconciliationRun,
)
from payments.reconciliation import MARGIN, WENT_WRONG, Coverage, coverage, money_operations, operations_within
from payments.schedule import schedule_question

ASKED = "the gateway is asked"
NOT_FOUND = "The gateway's books do not have it"


def write_lines(
    run: ReconciliationRun, transactions: Sequence[GatewayTransaction], *, within: Collection[str] | None = None
) -> None:
    """Write a line for each of the gateway's transactions of the window that has none in this run.

    With `within` the transactions are what the gateway told of single payments, undated: those of operations that succeeded
    here and are not among these ids belong to another window and are left out.
    """
    dated = within is None
    fresh = _fresh(run, [each for each in transactions if not dated or run.since <= each.occurred_at < run.until])
    books, questions = Books(run, fresh), _Questions(run)
    for transaction in fresh:
        found = books.find(transaction)
        if within is not None and _elsewhere(run, found, within):
            continue
        line = _compare(run, transaction, found, dated=dated)
        if found.operation is not None:
            note_name(run, line, found.operation)
            _fill_fee(books, found, transaction)
        if _heals(line, found):
            questions.ask(line, found, books)
        line.save(force_insert=True)


def _fresh(run: ReconciliationRun, transactions: Sequence[GatewayTransaction]) -> list[GatewayTransaction]:
    refs = [each.provider_ref for each in transactions]
    seen = set(run.lines.filter(provider_ref__in=refs).values_list("transaction_kind", "provider_ref"))
    fresh = []
    for each in transactions:
        if (each.kind.value, each.provider_ref) not in seen:
            seen.add((each.kind.value, each.provider_ref))
            fresh.append(each)
    return fresh


def _elsewhere(run: ReconciliationRun, found: Found, within: Collection[str]) -> bool:
    if found.dispute is not None:
        return not run.since <= found.dispute.created < run.until
    operation = found.operation
    return operation is not None and operation.status == OperationStatus.SUCCEEDED and operation.pk not in within


def _compare(run: ReconciliationRun, transaction: GatewayTransaction, found: Found, *, dated: bool) -> ReconciliationLine:
    kind, ours, detail = _verdict(transaction, found)
    settled = next((each.currency for each in (transaction.net, transaction.fee) if each is not None), "")
    return ReconciliationLine(
        tenant_id=run.tenant_id,
        run=run,
        kind=kind,
        transaction_kind=transaction.kind.value,
        payment=found.payment,
        provider_ref=transaction.provider_ref,
        gateway_amount=transaction.money.minor_units,
        ledger_amount=ours.minor_units if ours is not None else None,
        currency=transaction.money.currency,
        fee=transaction.fee.minor_units if transaction.fee is not None else None,
        net=transaction.net.minor_units if transaction.net is not None else None,
        settlement_currency=settled,
        occurred_at=transaction.occurred_at if dated else None,
        detail=detail[:300],
    )


def _verdict(transaction: GatewayTransaction, found: Found) -> tuple[LineKind, Money | None, str]:
    """Return what kind of line it is, our amount, and a sentence for people."""
    if transaction.kind is TransactionKind.FEE:
        return LineKind.FEE, None, transaction.description
    if transaction.kind is TransactionKind.OTHER:
        return LineKind.UNCHECKED, None, f"Neither charge, refund, dispute nor fee: {transaction.description}"
    if found.dispute is not None:
        ours = Money(found.dispute.amount, found.dispute.currency)
        return _same_amount(transaction.money, ours)
    if found.operation is None or found.payment is None:
        if found.payment is None:
            return LineKind.MISSING_HERE, None, "No payment here has any of its ids"
        return LineKind.MISSING_HERE, None, f"{found.payment.pk} is {found.payment.status} and has no such {transaction.kind}"
    ours = Money(found.operation.amount, found.payment.currency)
    match found.operation.status:
        case OperationStatus.SUCCEEDED:
            return _same_amount(transaction.money, ours)
        case OperationStatus.PENDING if found.operation.kind == OperationKind.REFUND and ours == transaction.money:
            # Gateways list a refund once they have accepted it; until the payer has it, it is pending here.
            return LineKind.MATCHED, ours, "Still under way here"
        case status:
            return LineKind.STATUS_DIFFERS, ours, f"Here it is {status}, and the payment {found.payment.status}"


def _same_amount(theirs: Money, ours: Money) -> tuple[LineKind, Money, str]:
    if theirs == ours:
        return LineKind.MATCHED, ours, ""
    return LineKind.AMOUNT_DIFFERS, ours, f"Here it is {ours}, at the gateway {theirs}"


# --- the truth heals ------------------------------------------------------------------------------------------------------


def _heals(line: ReconciliationLine, found: Found) -> bool:
    if found.payment is None:
        return False
    moved_otherwise = line.transaction_kind == TransactionKind.OTHER.value
    under_way = found.operation is not None and found.operation.status == OperationStatus.PENDING
    return line.kind in (LineKind.MISSING_HERE, LineKind.STATUS_DIFFERS) or moved_otherwise or under_way


class _Questions:
    """Plans that the gateway is asked about a payment, at most once in a run."""

    def __init__(self, run: ReconciliationRun) -> None:
        self._run = run
        self._possible: bool | None = None

    def ask(self, line: ReconciliationLine, found: Found, books: Books | None = None) -> None:
        if found.payment is None or not self._can():
            return
        elsewhere = found.payment.config_id != self._run.config_id
        # The money of an earlier try, whose payment went on to another gateway: asked for where that try was made.
        earlier = books.operation_at(found.payment) if elsewhere and books is not None else None
        schedule_question(found.payment, key=f"reconciliation:{self._run.pk}", operation=earlier)
        line.detail = f"{line.detail}; {ASKED}"[:300]

    def _can(self) -> bool:
        if self._possible is None:
            try:
                self._possible = GatewayOperation.SYNC in features_of(self._run.config, self._run.provider).operations
            except ProviderError:
                self._possible = False
        return self._possible


def _fill_fee(books: Books, found: Found, transaction: GatewayTransaction) -> None:
    """Note what the gateway kept, where nobody had told us; a locked payment's amounts stay as they are."""
    fee, payment, operation = transaction.fee, found.payment, found.operation
    if payment is None or operation is None:
        return
    takes = takes_money(operation)
    if fee is None or fee.minor_units < 0 or (not takes and fee.minor_units == 0):
        return
    if operation.fee_amount is None:
        operation.fee_amount, operation.fee_currency = fee.minor_units, fee.currency
        operation.save(update_fields=["fee_amount", "fee_currency"])
    if not takes or payment.fee_amount is not None:
        return
    taken = books.captures_of(payment)
    known = [each.fee_amount for each in taken if each.fee_amount is not None and each.fee_currency == fee.currency]
    if taken and len(known) == len(taken):
        payment.fee_amount, payment.fee_currency, payment.updated = sum(known), fee.currency, clock.now()
        payment.save(update_fields=["fee_amount", "fee_currency", "updated"])


# --- what single payments are told of ------------------------------------------------------------------------------------


def write_answer(run: ReconciliationRun, payment: Payment, result: PaymentResult) -> None:
    """Write the lines of one payment from the gateway's whole word on it."""
    operations = list(operations_within(run).filter(payment=payment))
    within = {operation.pk for operation in operations}
    told = _told(payment, result)
    write_lines(run, told, within=within)
    if payment.status in WENT_WRONG and not any(each.kind is TransactionKind.CHARGE for each in told):
        _write_state(run, payment, result)
    charges = [each for each in operations if each.kind != OperationKind.REFUND]
    refunds = [each for each in operations if each.kind == OperationKind.REFUND]
    if result.state in (PaymentState.UNKNOWN, PaymentState.PROCESSING, PaymentState.APPROVED):
        why = result.failure.message if result.failure is not None else f"The gateway calls it {result.state.value}"
        write_unchecked(run, operations, why)
    elif result.state in (PaymentState.SUCCEEDED, PaymentState.AUTHORIZED):
        if result.captures is None and result.money is None:
            write_unchecked(run, charges, "The gateway states no amount when it is asked")
        if result.refunds is None:
            write_unchecked(run, refunds, "The gateway does not tell of refunds when it is asked")


def _write_state(run: ReconciliationRun, payment: Payment, result: PaymentResult) -> None:
    """Write that the gateway has taken or holds money of a payment that came to nothing here, without saying how much."""
    operation = main_operation(payment)
    if operation is None or result.state not in (PaymentState.SUCCEEDED, PaymentState.AUTHORIZED):
        return
    detail = f"Here the payment is {payment.status}, at the gateway {result.state.value}"
    line = _ours(run, operation, LineKind.STATUS_DIFFERS, detail)
    if not run.lines.filter(transaction_kind=line.transaction_kind, provider_ref=line.provider_ref).exists():
        _Questions(run).ask(line, Found(payment, operation))
        line.save(force_insert=True)


def _told(payment: Payment, result: PaymentResult) -> list[GatewayTransaction]:
    lines = [_charge(payment, result, fact) for fact in result.captures or () if fact.state is RefundState.SUCCEEDED]
    if result.captures is None and result.state is PaymentState.SUCCEEDED and result.money is not None:
        ref = result.receipt or result.provider_ref
        fact = CaptureFact(ref, result.money, RefundState.SUCCEEDED, receipt=result.receipt, fee=result.fee)
        lines.append(_charge(payment, result, fact))
    given = (_refund(payment, fact) for fact in result.refunds or () if fact.state is RefundState.SUCCEEDED)
    lines += [each for each in given if each is not None]
    for dispute in result.disputes or ():
        lines.append(
            GatewayTransaction(
                TransactionKind.DISPUTE,
                dispute.provider_ref,
                dispute.money,
                clock.now(),
                refs=(dispute.provider_ref,),
                payment_id=payment.pk,
            )
        )
    return lines


def _charge(payment: Payment, result: PaymentResult, fact: CaptureFact) -> GatewayTransaction:
    alone = result.captures is None or len(result.captures) == 1
    return GatewayTransaction(
        TransactionKind.CHARGE,
        fact.provider_ref,
        fact.money,
        clock.now(),
        refs=tuple(each for each in (fact.operation_id, fact.provider_ref, fact.receipt) if each),
        payment_id=payment.pk,
        fee=fact.fee or (result.fee if alone else None),
    )


def _refund(payment: Payment, fact: RefundFact) -> GatewayTransaction | None:
    """Return the line of a refund; one that states no amount is of all that was left, which is what we have booked of it."""
    money = fact.money
    if money is None:
        refunds = payment.operations.filter(kind=OperationKind.REFUND).exclude(status=OperationStatus.FAILED)
        ours = refunds.filter(provider_ref=fact.provider_ref).first() or refunds.filter(provider_ref="").first()
        amount = ours.amount if ours is not None else payment.amount_captured - payment.amount_refunded
        if amount <= 0:
            return None
        money = Money(amount, payment.currency)
    refs = tuple(each for each in (fact.operation_id, fact.provider_ref, fact.receipt) if each)
    return GatewayTransaction(TransactionKind.REFUND, fact.provider_ref, money, clock.now(), refs=refs, payment_id=payment.pk)


# --- what the gateway's books do not say ----------------------------------------------------------------------------------


def write_unchecked(run: ReconciliationRun, operations: Sequence[Operation], why: str) -> None:
    """Write that these could not be compared, and why."""
    for operation in operations:
        line = _ours(run, operation, LineKind.UNCHECKED, why)
        if not run.lines.filter(transaction_kind=line.transaction_kind, provider_ref=line.provider_ref).exists():
            line.save(force_insert=True)
            note_name(run, line, operation)


def write_missing(run: ReconciliationRun, *, listed: bool) -> None:
    """Write what succeeded here and no line of the gateway's has named.

    Of a listed account only what lies far enough inside of what was listed: in this run's window, or around its beginning
    where an earlier run has listed what came before. What succeeded shortly before the end is for the next run to miss.
    """
    _match_returned(run)
    covered = coverage(run) if listed else Coverage(run.since, (run.pk,))
    if listed:
        begin = max(covered.since + MARGIN, run.since - MARGIN)
        ours = money_operations(run).filter(
            updated__gte=begin, updated__lt=run.until - MARGIN, created__gte=covered.since + MARGIN
        )
    else:
        ours = operations_within(run)
    named = set(named_operations(covered.runs, run, ours.order_by().values("pk")))
    unnamed = [each for each in ours.iterator() if each.pk not in named]
    healed = _Healed(run, covered.runs, {each.payment_id for each in unnamed})
    # What was seen at the gateway is the likelier to be what a line told us of.
    likely = sorted(unnamed, key=lambda each: (each.origin != OperationOrigin.GATEWAY, each.created, each.pk))
    known = {each.pk for each in likely if healed.take(each)}
    missing = [each for each in unnamed if each.pk not in known]
    lines = [_ours(run, operation, LineKind.MISSING_THERE, NOT_FOUND) for operation in missing]
    ReconciliationLine.objects.bulk_create(lines, batch_size=500)


def _match_returned(run: ReconciliationRun) -> None:
    """A refund that failed later stands in the gateway's books twice: gone, and come back. Together that is what we have."""
    back = list(run.lines.filter(kind=LineKind.UNCHECKED, transaction_kind=TransactionKind.OTHER.value, net__gt=0))
    for line in run.lines.filter(kind=LineKind.STATUS_DIFFERS, transaction_kind=TransactionKind.REFUND.value):
        mine = (line.payment_id, line.gateway_amount, line.currency)
        returned = next((each for each in back if (each.payment_id, each.gateway_amount, each.currency) == mine), None)
        if returned is None or line.payment_id is None or not failed_refund(run, line):
            continue
        back.remove(returned)
        for each, detail in ((line, "It failed later, and the money came back"), (returned, "The money of a failed refund")):
            each.kind, each.detail = LineKind.MATCHED, detail
            each.save(update_fields=["kind", "detail"])


class _Healed:
    """Lines of money that we had not known of, and that is booked here since: such an operation does have its line."""

    def __init__(self, run: ReconciliationRun, runs: Collection[int], payments: Collection[str]) -> None:
        self._run = run
        lines = ReconciliationLine.objects.filter(tenant_id=run.tenant_id, run_id__in=runs, kind=LineKind.MISSING_HERE)
        self._free = [line for line in lines.filter(payment_id__in=payments).order_by("pk") if not is_named(run, line)]

    def take(self, operation: Operation) -> bool:
        """Return whether there was such a line for the operation, which is then spoken for."""
        ours = _ours(self._run, operation, LineKind.MATCHED, "")
        for line in self._free:
            same = (line.payment_id, line.transaction_kind) == (ours.payment_id, ours.transaction_kind)
            if same and (line.gateway_amount, line.currency) == (ours.ledger_amount, ours.currency):
                self._free.remove(line)
                note_name(self._run, line, operation)
                return True
        return False


def _ours(run: ReconciliationRun, operation: Operation, kind: LineKind, detail: str) -> ReconciliationLine:
    refund = operation.kind == OperationKind.REFUND
    return ReconciliationLine(
        tenant_id=run.tenant_id,
        run=run,
        kind=kind,
        transaction_kind=(TransactionKind.REFUND if refund else TransactionKind.CHARGE).value,
        payment=operation.payment,
        provider_ref=operation.provider_ref or operation.receipt or operation.pk,
        ledger_amount=operation.amount,
        currency=operation.payment.currency,
        occurred_at=operation.updated,
        detail=detail[:300],
    )
