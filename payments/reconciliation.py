"""What a reconciliation compares and what came of it: windows, our side of the books, differences, totals. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum

from django.db.models import Q, QuerySet

from integrations.contracts import clock
from integrations.contracts.payment import TransactionKind
from integrations.contracts.payment_features import GatewayOperation, PaymentFeatures
from integrations.models import Tenant
from payments.models import (
    LineKind,
    Operation,
    OperationKind,
    OperationStatus,
    Payment,
    ReconciliationLine,
    ReconciliationRun,
    RunStatus,
    Status,
)

DIFFERENCES = (LineKind.MISSING_HERE, LineKind.MISSING_THERE, LineKind.AMOUNT_DIFFERS, LineKind.STATUS_DIFFERS)
MARGIN = timedelta(hours=1)
"""How far the gateway's time of a thing may lie from ours; what is nearer to an edge that nothing covers isn't missed."""
LONGEST_LOOK_BACK = 40
"""How many earlier runs are taken together with one, where each begins no later than the other ends."""
MONEY_IN = (OperationKind.CAPTURE, OperationKind.INCOMING)
WENT_WRONG = (
    Status.FAILED, Status.CANCELLED, Status.EXPIRED, Status.UNKNOWN, Status.NEEDS_REVIEW, Status.CONFLICTED,
)  # fmt: skip


class Way(StrEnum):
    """How a gateway's books are read: as a list, payment by payment, or not at all."""

    LISTED = "listed"
    ASKED = "asked"
    UNCHECKED = "unchecked"


def way_of(features: PaymentFeatures) -> Way:
    """Return how this account can be reconciled. One that tells of money by receipt number does so in a callback: what it
    answers when it is asked for a payment states no amount, and there is nothing to compare."""
    if GatewayOperation.TRANSACTIONS in features.operations:
        return Way.LISTED
    answers = GatewayOperation.SYNC in features.operations and GatewayOperation.RECEIPT not in features.operations
    return Way.ASKED if answers else Way.UNCHECKED


def yesterday(tenant: Tenant) -> tuple[datetime, datetime]:
    """Return the tenant's last whole day, from midnight to before midnight by its own clocks."""
    zone = tenant.zone
    today = clock.now().astimezone(zone).date()
    return (
        datetime.combine(today - timedelta(days=1), time.min, tzinfo=zone),
        datetime.combine(today, time.min, tzinfo=zone),
    )


# --- our side of the books ------------------------------------------------------------------------------------------------


def money_operations(run: ReconciliationRun) -> QuerySet[Operation]:
    """Return the operations at the run's account that moved money for good: what was taken or came in, what went back."""
    mine = Q(config_id=run.config_id) | Q(config__isnull=True, payment__config_id=run.config_id)
    moves = Q(kind__in=[*MONEY_IN, OperationKind.REFUND]) | Q(kind=OperationKind.AUTHORIZE, payment__capture="automatic")
    done: QuerySet[Operation] = Operation.objects.filter(mine, moves, tenant_id=run.tenant_id, status=OperationStatus.SUCCEEDED)
    return done.select_related("payment").order_by("created", "pk")


def operations_within(run: ReconciliationRun) -> QuerySet[Operation]:
    """Return those that succeeded here inside the run's window."""
    return money_operations(run).filter(updated__gte=run.since, updated__lt=run.until)


def next_to_ask(run: ReconciliationRun, after: str = "") -> Payment | None:
    """Return the next payment, by id, that an account without a list is asked about: one of which money moved inside the
    window, or that ended there without money although the gateway had accepted it."""
    moved = operations_within(run).order_by().values("payment_id")
    went_wrong = Q(status__in=WENT_WRONG, updated__gte=run.since, updated__lt=run.until) & ~Q(provider_ref="")
    mine = Payment.objects.filter(tenant_id=run.tenant_id, config_id=run.config_id, pk__gt=after)
    found: Payment | None = mine.filter(Q(pk__in=moved) | went_wrong).order_by("pk").first()
    return found


@dataclass(frozen=True, slots=True)
class Coverage:
    """From when on the gateway's books were read without a gap, by which runs."""

    since: datetime
    runs: tuple[int, ...]


def coverage(run: ReconciliationRun) -> Coverage:
    """Return how far back the listed books reach without a gap: this run, and the completed ones of its account before it."""
    since, runs = run.since, [run.pk]
    before = ReconciliationRun.objects.filter(
        tenant_id=run.tenant_id, config_id=run.config_id, status=RunStatus.COMPLETED
    ).exclude(pk=run.pk)
    for _ in range(LONGEST_LOOK_BACK):
        earlier = before.filter(since__lt=since, until__gte=since).order_by("since").first()
        if earlier is None:
            break
        since = earlier.since
        runs.append(earlier.pk)
    return Coverage(since, tuple(runs))


# --- what came of it ------------------------------------------------------------------------------------------------------


def differences(run: ReconciliationRun) -> QuerySet[ReconciliationLine]:
    """Return the lines that differ, whether a person has explained them or not."""
    found: QuerySet[ReconciliationLine] = run.lines.filter(kind__in=DIFFERENCES)
    return found


def count_kinds(run: ReconciliationRun) -> dict[str, int]:
    """Return {kind: number of lines}, for the kinds that occur."""
    return dict(Counter(run.lines.order_by().values_list("kind", flat=True)))


def in_words(counts: dict[str, int], kinds: Iterable[LineKind] = LineKind) -> str:
    """Return `2 matched, 1 at the gateway only`; `nothing` for none."""
    said = [f"{counts[kind.value]} {kind.label.lower()}" for kind in kinds if counts.get(kind.value)]
    return ", ".join(said) or "nothing"


@dataclass(slots=True)
class Totals:
    """The gateway's side of a window in one currency, minor units. `net` None where the gateway states none.

    Charges, refunds and disputes are in the currency paid in; fees and net in the one that is settled in. A dispute that
    was won takes off what its beginning had put on.
    """

    currency: str
    charged: int = 0
    refunded: int = 0
    disputed: int = 0
    fees: int = 0
    net: int | None = None


def totals(run: ReconciliationRun) -> list[Totals]:
    """Return the run's totals by currency, in alphabetical order."""
    found: dict[str, Totals] = {}
    columns = ("transaction_kind", "gateway_amount", "currency", "fee", "net", "settlement_currency")
    for kind, amount, currency, fee, net, settled_in in run.lines.order_by().values_list(*columns).iterator():
        if amount is not None:
            _add(found.setdefault(currency, Totals(currency)), kind, amount, returned=net is not None and net > 0)
        if settled_in and (fee or net is not None):
            settled = found.setdefault(settled_in, Totals(settled_in))
            settled.fees += fee or 0
            if net is not None:
                settled.net = (settled.net or 0) + net
    return [found[currency] for currency in sorted(found)]


def _add(total: Totals, kind: str, amount: int, *, returned: bool) -> None:
    match kind:
        case TransactionKind.CHARGE:
            total.charged += amount
        case TransactionKind.REFUND:
            total.refunded += amount
        case TransactionKind.DISPUTE:
            total.disputed += -amount if returned else amount
        case TransactionKind.FEE:
            total.fees += -amount if returned else amount
