"""What an adapter is asked for an operation that its account does not declare: to be refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from integrations.contracts.ids import new_id, new_token
from integrations.contracts.payment import (
    PaymentResult,
    PaymentState,
    ReceiptQuery,
    RefundRequest,
    StoredMethod,
    TransactionsQuery,
)
from integrations.contracts.payment_features import GatewayOperation
from tests.contracts.payments.bench import Bench
from tests.contracts.payments.drivers import features_of
from tests.contracts.payments.flow import AMOUNT, Flow
from tests.contracts.payments.keeping import setup_request

Call = Callable[[], object]
O = GatewayOperation  # noqa: E741


def _known(bench: Bench, **changed: Any) -> Flow:
    """Return a payment with an id of the gateway's form, so that a call could be sent."""
    flow = Flow.of(bench, **changed)
    flow.known = PaymentResult(PaymentState.AUTHORIZED, bench.driver.unknown_ref)
    return flow


def _holding(bench: Bench) -> list[Call]:
    flow = _known(bench, capture=False)
    return [flow.start, lambda: flow.capture(AMOUNT), lambda: bench.adapter().capture_status(flow.capture_request(AMOUNT))]


def _partly(bench: Bench) -> list[Call]:
    flow = _known(bench, capture=False)
    return [lambda: flow.capture(60_000)]


def _severally(bench: Bench) -> list[Call]:
    flow = _known(bench, capture=False)
    return [lambda: flow.capture(30_000, final=False)]


def _releasing(bench: Bench) -> list[Call]:
    flow = _known(bench)
    return [lambda: flow.void(held=True)]


def _calling_off(bench: Bench) -> list[Call]:
    flow = _known(bench)
    return [lambda: flow.void(held=False)]


def _refunding(bench: Bench, minor: int, earlier: int = 0) -> list[Call]:
    """A refund of a payment of which everything is known."""
    flow = Flow.of(bench)
    refund = new_id("re")
    request = RefundRequest(
        refund, refund, "UGA3K7P2QX", bench.driver.unknown_ref, flow.money(minor), f"{bench.hooks.url}/hooks/{new_token()}",
        payment_id=flow.id, capture_ref="4193428", captured=flow.request.money, earlier=earlier, method_name="Visa",
        asked_at=bench.now(),
    )  # fmt: skip
    return [lambda: bench.adapter().refund(request)]


def _storing(bench: Bench) -> list[Call]:
    """Where only this account lacks it, who was stored before may still be asked about and removed."""
    request, method = setup_request(bench), StoredMethod("token-1", customer_ref="customer-1")
    begin: list[Call] = [lambda: bench.adapter().setup(request)]
    if O.SETUP in features_of(bench.driver.slug).operations:
        return begin
    return [
        *begin,
        lambda: bench.adapter().complete_setup(request),
        lambda: bench.adapter().setup_status(request),
        lambda: bench.adapter().forget(method),
    ]


def _charging_stored(bench: Bench) -> list[Call]:
    flow = Flow.of(bench, token="token-1", customer_ref="customer-1", off_session=True)
    return [flow.start]


def _listing(bench: Bench) -> list[Call]:
    query = TransactionsQuery(bench.now() - timedelta(days=1), bench.now())
    return [lambda: bench.adapter().transactions(query)]


def _looking_up(bench: Bench) -> list[Call]:
    return [lambda: bench.adapter().receipt_status(ReceiptQuery("UGA3K7P2QX", f"{bench.hooks.url}/hooks/{new_token()}"))]


CALLS: Mapping[GatewayOperation, Callable[[Bench], list[Call]]] = {
    O.CAPTURE: _holding,
    O.PARTIAL_CAPTURE: _partly,
    O.MULTIPLE_CAPTURE: _severally,
    O.VOID: _releasing,
    O.CANCEL: _calling_off,
    O.REFUND: lambda bench: _refunding(bench, AMOUNT),
    O.PARTIAL_REFUND: lambda bench: _refunding(bench, 40_000),
    O.MULTIPLE_REFUND: lambda bench: _refunding(bench, 40_000, earlier=1),
    O.SETUP: _storing,
    O.OFF_SESSION: _charging_stored,
    O.TRANSACTIONS: _listing,
    O.RECEIPT: _looking_up,
}
"""Of the others, every gateway can `authorize` and `sync`, and disputes are told, not asked for."""
