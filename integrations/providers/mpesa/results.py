"""M-Pesa's result codes in the hub's vocabulary. Codes are compared as strings: the provider switches between the two.

Sources: developer portal (captured August 2026), the public tables daraja-error-codes and daraja-js ERROR_CODES (2026);
`SFC_IC0003` in STK callbacks: GitHub osen-wc-mpesa issue 48 (June 2021), SmoDav/mpesa issue 50 (2021-2024).
ResultDesc varies for one code: nothing here looks at it.
"""

from __future__ import annotations

from dataclasses import replace

from integrations.contracts.failures import Failure
from integrations.contracts.payment import (
    ALREADY_REFUNDED,
    PaymentState,
    RefundState,
)

PAID = "0"
STILL_RUNNING = "4999"
ALREADY_REVERSED = "R000001"
PAYER = "payer_error"
PROVIDER = "api_error"
CONFIG = "configuration_error"

# code: (state, failure code, type, text for the tenant, may the payer try again)
_STK: dict[str, tuple[PaymentState, str, str, str, bool]] = {
    "1": (PaymentState.FAILED, "insufficient_funds", PAYER, "The payer's balance is too low.", True),
    "17": (
        PaymentState.FAILED,
        "provider_error",
        PROVIDER,
        "M-Pesa failed internally, or the same amount was asked of this number less than two minutes ago.",
        True,
    ),
    "26": (PaymentState.FAILED, "provider_busy", PROVIDER, "M-Pesa was too busy.", True),
    "1001": (PaymentState.FAILED, "payer_locked", PAYER, "The payer has another M-Pesa session open; wait 1-3 minutes.", True),
    "1019": (PaymentState.EXPIRED, "payment_expired", PAYER, "The payment expired before it was confirmed.", True),
    "1025": (PaymentState.FAILED, "prompt_not_sent", PROVIDER, "M-Pesa could not send the prompt to the phone.", True),
    "9999": (PaymentState.FAILED, "prompt_not_sent", PROVIDER, "M-Pesa could not send the prompt to the phone.", True),
    "1032": (PaymentState.CANCELLED, "cancelled_by_payer", PAYER, "The payer cancelled the prompt.", True),
    "1037": (PaymentState.EXPIRED, "payer_unreachable", PAYER, "The phone could not be reached, or nobody answered.", True),
    "2001": (PaymentState.FAILED, "wrong_pin", PAYER, "The payer entered a wrong PIN.", True),
    "SFC_IC0003": (
        PaymentState.FAILED,
        "provider_configuration",
        CONFIG,
        "M-Pesa does not know this till or operator: check product, shortcode and store number.",
        False,
    ),
}

# code: (failure code, type, text, may it be tried again)
_REFUSED: dict[str, tuple[str, str, str, bool]] = {
    "1": ("insufficient_funds", CONFIG, "The shortcode's own balance is too low.", True),
    "2": ("amount_too_small", PROVIDER, "The amount is below M-Pesa's minimum.", False),
    "3": ("amount_too_large", PROVIDER, "The amount is above M-Pesa's maximum.", False),
    "4": ("limit_reached", PROVIDER, "The daily limit is reached.", False),
    "8": ("limit_reached", PAYER, "The recipient's wallet would exceed its ceiling.", False),
    "11": ("account_state", CONFIG, "The debited account is in a state that does not allow it.", False),
    "17": ("provider_error", PROVIDER, "M-Pesa failed internally.", False),
    "18": ("credentials_refused", CONFIG, "The initiator's credentials were refused.", False),
    "20": ("credentials_refused", CONFIG, "M-Pesa does not know the initiator.", False),
    "21": ("permission_missing", CONFIG, "The initiator lacks the role for this.", False),
    "24": ("invalid_request", PROVIDER, "A parameter is missing.", False),
    "25": ("invalid_request", PROVIDER, "A parameter is malformed.", False),
    "26": ("provider_busy", PROVIDER, "M-Pesa was too busy.", True),
    "29": ("invalid_request", PROVIDER, "M-Pesa does not know the command.", False),
    "2001": ("credentials_refused", CONFIG, "Initiator name, password or certificate is wrong.", False),
    "2006": ("account_state", CONFIG, "The account is inactive.", False),
    "2028": ("permission_missing", CONFIG, "The shortcode is not permitted to do this.", False),
    "2040": ("recipient_not_registered", PAYER, "The recipient is not registered.", False),
    "8006": ("credentials_locked", CONFIG, "The initiator's credential is locked: unlock it in the M-Pesa portal.", False),
    "SFC_IC0003": ("provider_configuration", CONFIG, "M-Pesa does not know the operator or receiver.", False),
    "R000002": ("receipt_not_found", PROVIDER, "M-Pesa does not know the receipt that was to be reversed.", False),
}

_FINAL_TRANSACTION_STATES = {"completed": True, "cancelled": False, "declined": False, "expired": False}


def _unknown(code: str) -> Failure:
    return Failure.of("unknown_result", f"M-Pesa answered {code[:40]}, which has no known meaning.", provider_code=code)


def stk_outcome(code: str) -> tuple[PaymentState, Failure | None]:
    """Return what an STK result code says of the payment. A code that is not in the table is UNKNOWN, not FAILED."""
    if code == PAID:
        return PaymentState.SUCCEEDED, None
    if code == STILL_RUNNING:
        return PaymentState.PROCESSING, None
    if code not in _STK:
        return PaymentState.UNKNOWN, _unknown(code)
    state, name, kind, message, retryable = _STK[code]
    return state, replace(Failure.of(name, message, provider_code=code, type=kind), retryable=retryable)


def refund_outcome(code: str) -> tuple[RefundState, Failure | None]:
    """Return what the result code of a reversal says of the refund.

    "Already reversed" and "duplicate" are UNKNOWN: something went back to the payer, but a person must see by which request.
    """
    if code == PAID:
        return RefundState.SUCCEEDED, None
    if code == ALREADY_REVERSED:
        return RefundState.UNKNOWN, Failure.of(
            ALREADY_REFUNDED,
            "M-Pesa says that this receipt is reversed already: check by which request.",
            provider_code=code,
        )
    failure = initiator_failure(code)
    return (RefundState.FAILED if code in _REFUSED else RefundState.UNKNOWN), failure


def initiator_failure(code: str) -> Failure:
    """Return the failure that a non-zero result code of an initiator API stands for."""
    if code not in _REFUSED:
        return _unknown(code)
    name, kind, message, retryable = _REFUSED[code]
    return replace(Failure.of(name, message, provider_code=code, type=kind), retryable=retryable)


def transaction_completed(status: str) -> bool | None:
    """Return whether a TransactionStatus is final and good, final and bad, or (None) neither or unheard of."""
    return _FINAL_TRANSACTION_STATES.get(status.strip().lower())
