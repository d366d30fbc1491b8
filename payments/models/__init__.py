"""The tables of payments. A payment's totals follow from its operations; the ledger keeps every change."""

from payments.models.dispute import Dispute, DisputeStatus
from payments.models.numbering import AllocationRule, ReceiptCounter
from payments.models.operation import LedgerEntry, Operation, OperationKind, OperationOrigin, OperationStatus
from payments.models.payment import Origin, Payment, Status
from payments.models.receipt import DeliveryState, ReceiptChannel, ReceiptDelivery, ReceiptReason
from payments.models.reconciliation import LineKind, ReconciliationLine, ReconciliationRun, RunStatus
from payments.models.routing import RoutingRule, RoutingStep
from payments.models.stored import PayerMethod, SetupIntent, SetupStatus

__all__ = [
    "AllocationRule",
    "DeliveryState",
    "Dispute",
    "DisputeStatus",
    "LedgerEntry",
    "LineKind",
    "Operation",
    "OperationKind",
    "OperationOrigin",
    "OperationStatus",
    "Origin",
    "PayerMethod",
    "Payment",
    "ReceiptChannel",
    "ReceiptCounter",
    "ReceiptDelivery",
    "ReceiptReason",
    "ReconciliationLine",
    "ReconciliationRun",
    "RoutingRule",
    "RoutingStep",
    "RunStatus",
    "SetupIntent",
    "SetupStatus",
    "Status",
]
