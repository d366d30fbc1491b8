"""What GetTransactionStatus says, as the hub's payment state. Only `status_code` decides; its description varies in case.

Source: developer.pesapal.com, API 3.0, "Get Transaction Status"; recorded sandbox answers of 18 March 2024 (fixtures).
"""

from __future__ import annotations

from dataclasses import replace

from integrations.contracts.failures import Failure
from integrations.contracts.money import InvalidMoney, Money
from integrations.contracts.payment import CaptureFact, PaymentResult, PaymentState, RefundFact, RefundState
from integrations.contracts.wire import Wire, WireError
from integrations.providers.pesapal.calls import Answer
from integrations.providers.pesapal.codes import PENDING, UNKNOWN_ORDER_CODES, decline
from integrations.providers.pesapal.formats import one_line, payment_id_of
from integrations.providers.pesapal.money import from_decimal

UNPAID, COMPLETED, FAILED, REVERSED = 0, 1, 2, 3


def reversal_ref(tracking_id: str) -> str:
    """Return the id of a payment's one refund: Pesapal takes one request per payment, ever, and gives it no id."""
    return f"{tracking_id}:reversed"


def read_status(answer: Answer, tracking: str, payment_id: str) -> PaymentResult:
    """Return the payment as Pesapal has it now. Raises `WireError` where the answer is none.

    An answer about another order, or one whose amount can't be read, is UNKNOWN with a failure that says so: nothing is
    ever booked on it. `refunds` is None until the payment is reversed, since a refund under way does not show.
    """
    code = _status_code(answer)
    if code is None or (code == UNPAID and _unknown_order(answer)):
        told = answer.error.code if answer.error else ""
        return _unclear(tracking, "Pesapal does not know this order.", "not_found", told)
    told_tracking, reference = _text(answer.body, "order_tracking_id"), _text(answer.body, "merchant_reference")
    if told_tracking and told_tracking.lower() != tracking.lower():
        return _unclear(tracking, "Pesapal answered about another order.", "unknown_result", str(code))
    if payment_id_of(reference) != payment_id:
        return _unclear(tracking, "Pesapal's order carries another reference than ours.", "unknown_result", str(code))
    if code == UNPAID:
        return PaymentResult(PaymentState.REQUIRES_ACTION, tracking, provider_code=str(code))
    if code == FAILED:
        failure = decline(_text(answer.body, "description"))
        return replace(_method(answer, PaymentState.FAILED, tracking, code), failure=failure)
    if code in (COMPLETED, REVERSED):
        return _paid(answer, tracking, code)
    return _unclear(tracking, "Pesapal's answer has no known meaning.", "unknown_result", str(code))


def _paid(answer: Answer, tracking: str, code: int) -> PaymentResult:
    try:
        money = from_decimal(answer.body["amount"].decimal(), answer.body["currency"].text(max_length=10))
    except (InvalidMoney, WireError):
        return _unclear(tracking, "Pesapal's answer states no readable amount.", "unknown_result", str(code))
    receipt = _text(answer.body, "confirmation_code")
    return replace(
        _method(answer, PaymentState.SUCCEEDED, tracking, code),
        receipt=receipt,
        money=money,
        captures=_captures(receipt, money),
        refunds=(RefundFact(reversal_ref(tracking), None, RefundState.SUCCEEDED),) if code == REVERSED else None,
    )


def _captures(receipt: str, money: Money) -> tuple[CaptureFact, ...] | None:
    """Return the one capture; None while its receipt is not told, which is the only id it has."""
    return (CaptureFact(receipt, money, RefundState.SUCCEEDED, receipt=receipt),) if receipt else None


def _method(answer: Answer, state: PaymentState, tracking: str, code: int) -> PaymentResult:
    name, account = _text(answer.body, "payment_method"), _text(answer.body, "payment_account")
    return PaymentResult(
        state, tracking, provider_code=str(code), method_name=name, method_detail=f"{name} {account}".strip()[:100]
    )


def _status_code(answer: Answer) -> int | None:
    found = answer.body.get("status_code")
    if found is not None:
        return found.integer()
    if answer.error is None:
        raise WireError("status_code is missing")
    return UNPAID if answer.error.code == PENDING else None


def _unknown_order(answer: Answer) -> bool:
    """Tell whether "0, nothing paid" is really "no such order": an error that is not the documented one for unpaid orders."""
    if answer.error is None or answer.error.code == PENDING:
        return False
    return answer.error.code.lower() in UNKNOWN_ORDER_CODES or not _text(answer.body, "merchant_reference")


def _unclear(tracking: str, text: str, code: str, provider_code: str) -> PaymentResult:
    failure = Failure.of(code, text, provider_code=provider_code)
    return PaymentResult(PaymentState.UNKNOWN, tracking, failure=failure, provider_code=provider_code)


def _text(body: Wire, name: str) -> str:
    found = body.get(name)
    return one_line(found.text(), 300) if found is not None else ""
