"""The check for each operation that a gateway declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from integrations.contracts.payment_features import GatewayOperation as O
from tests.contracts.payments import keeping, moving
from tests.contracts.payments.bench import Bench

WORKS: Mapping[O, Callable[[Bench], None]] = {
    O.AUTHORIZE: moving.authorize,
    O.CAPTURE: moving.capture,
    O.PARTIAL_CAPTURE: moving.partial_capture,
    O.MULTIPLE_CAPTURE: moving.multiple_capture,
    O.VOID: moving.void,
    O.CANCEL: moving.cancel,
    O.REFUND: moving.refund,
    O.PARTIAL_REFUND: moving.partial_refund,
    O.MULTIPLE_REFUND: moving.multiple_refund,
    O.SETUP: keeping.setup,
    O.OFF_SESSION: keeping.off_session,
    O.SYNC: keeping.sync,
    O.TRANSACTIONS: keeping.transactions,
    O.RECEIPT: keeping.receipt,
    O.DISPUTES: keeping.disputes,
}
