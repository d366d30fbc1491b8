"""Pesapal's error codes, refund rejections and failure texts in the hub's vocabulary.

Pesapal publishes no list. `invalid_consumer_key_or_secret_provided`, `consumer_key_unknown`, `InvalidIpnId`,
`amount_exceeds_default_limit`, `maximum_amount_limit_exceeded`, `test_transactions_exceeded`,
`invalid_api_request_parameters` and `payment_details_not_found` are what public integrations recorded (read November 2026).
For the rest the text is searched for words; whatever has no entry stays a plain refusal with Pesapal's own words beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from integrations.contracts.failures import Failure

PENDING = "payment_details_not_found"
"""The order exists and nothing was paid yet; comes with body status 500."""

CREDENTIAL_CODES = frozenset({"invalid_consumer_key_or_secret_provided", "consumer_key_unknown"})
TOKEN_CODES = frozenset({"invalid_token", "token_expired", "invalid_access_token", "unauthorized"})
"""Names for a refused access token beside HTTP 401; unconfirmed, and harmless where they never come."""

UNKNOWN_ORDER_CODES = frozenset({"invalid_order_tracking_id", "order_not_found", "transaction_not_found"})

_REGISTER = "Pesapal does not know this config's notification id: register its webhooks again."
_RAISE = "The account's own limit at Pesapal is below this amount; Pesapal raises it on request."

_ORDER: dict[str, tuple[str, str]] = {
    "amount_exceeds_default_limit": ("amount_too_large", _RAISE),
    "maximum_amount_limit_exceeded": ("amount_too_large", _RAISE),
    "test_transactions_exceeded": ("amount_too_large", "The test account's limit at Pesapal is used up."),
    "invalidipnid": ("provider_configuration", _REGISTER),
    "invalid_ipn_id": ("provider_configuration", _REGISTER),
    "invalid_api_request_parameters": ("invalid_request", ""),
}

# (all of these words, failure code, text): the first that fits
_ORDER_WORDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("ipn",), "provider_configuration", _REGISTER),
    (("notification", "id"), "provider_configuration", _REGISTER),
    (("limit",), "amount_too_large", _RAISE),
    (("duplicate",), "duplicate_reference", ""),
    (("already", "exist"), "duplicate_reference", ""),
    (("currency",), "currency_not_supported", ""),
)

_DECLINE_WORDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("insufficient",), "insufficient_funds", ""),
    (("balance",), "insufficient_funds", ""),
    (("expired", "card"), "expired_card", ""),
    (("cvv",), "incorrect_cvc", ""),
    (("cvc",), "incorrect_cvc", ""),
    (("3d",), "authentication_failed", ""),
    (("authenticat",), "authentication_failed", ""),
    (("wrong", "pin"), "wrong_pin", ""),
    (("invalid", "pin"), "wrong_pin", ""),
    (("cancel",), "cancelled_by_payer", ""),
    (("time",), "payment_expired", ""),
    (("limit",), "limit_reached", ""),
)

_REFUND_WORDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("already",), "already_refunded", "Pesapal takes one refund request for each payment, and it has had one."),
    (("duplicate",), "already_refunded", "Pesapal takes one refund request for each payment, and it has had one."),
    (("insufficient",), "merchant_balance_low", ""),
    (("confirmation",), "receipt_not_found", ""),
    (("not found",), "receipt_not_found", ""),
    (("amount",), "invalid_request", ""),
    (("partial",), "invalid_request", ""),
)

# Pesapal's free text for how the payer paid: `MpesaKE`, `Visa`, `MTN`, ... (status documentation, recorded samples).
_MOBILE_WORDS = ("mpesa", "m-pesa", "airtel", "mtn", "tigo", "mixx", "vodacom", "halopesa", "equitel", "momo", "mobile")


def order_failure(code: str, message: str) -> Failure:
    """Return why an order was not created; nothing was charged."""
    name, text = _ORDER.get(code.lower(), ("", ""))
    if name in ("", "invalid_request"):  # one code covers many things: its text may tell
        name, text = _by_words(_ORDER_WORDS, f"{code} {message}") or (name or "gateway_refused", text)
    return _failure(name, text or _quoted("Pesapal refused the order", message), code)


def decline(description: str) -> Failure:
    """Return why an attempt to pay failed, from the status' `description`; without a word that we know, "declined"."""
    name, text = _by_words(_DECLINE_WORDS, description) or ("declined", "")
    return Failure.of(name, text, provider_code="2", decline_code=description)


def refund_failure(code: str, message: str) -> Failure:
    """Return why a refund request was rejected."""
    name, text = _by_words(_REFUND_WORDS, f"{code} {message}") or ("refund_declined", "")
    return _failure(name, text or _quoted("Pesapal rejected the refund", message), code)


def is_mobile_money(method_name: str) -> bool:
    """Tell whether the payment is certainly one by mobile money; an unknown word is not."""
    lowered = method_name.lower()
    return any(word in lowered for word in _MOBILE_WORDS)


def _by_words(table: Sequence[tuple[tuple[str, ...], str, str]], told: str) -> tuple[str, str] | None:
    lowered = told.lower()
    return next(((name, text) for words, name, text in table if all(word in lowered for word in words)), None)


def _failure(name: str, text: str, code: str) -> Failure:
    return Failure.of(name, text, provider_code=code)


def _quoted(what: str, message: str) -> str:
    told = " ".join(message.split())[:200].rstrip(".")
    return f"{what}: {told}." if told and "<" not in told else ""
