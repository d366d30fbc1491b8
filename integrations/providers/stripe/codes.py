"""Stripe's error and decline codes in the hub's vocabulary: one table.

Source: docs.stripe.com/error-codes and /declines/codes (provider sheet, November 2026). What is not listed is `declined` for
a card error and `gateway_refused` for the rest. Stripe's own text is shown to people only for card errors, as it asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integrations.contracts.failures import Failure

# A decline code says more than the error code beside it, and goes first.
DECLINES: Mapping[str, str] = {
    "approve_with_id": "declined",
    "authentication_not_handled": "authentication_failed",
    "authentication_required": "authentication_required",
    "call_issuer": "declined",
    "card_not_supported": "card_not_supported",
    "card_velocity_exceeded": "limit_reached",
    "currency_not_supported": "card_not_supported",
    "do_not_honor": "declined",
    "do_not_try_again": "declined",
    "duplicate_transaction": "declined",
    "expired_card": "expired_card",
    "fraudulent": "fraud_suspected",
    "generic_decline": "declined",
    "highest_risk_level": "fraud_suspected",
    "incorrect_cvc": "incorrect_cvc",
    "incorrect_number": "incorrect_number",
    "incorrect_pin": "wrong_pin",
    "insufficient_funds": "insufficient_funds",
    "invalid_account": "payer_account_restricted",
    "invalid_amount": "limit_reached",
    "invalid_cvc": "incorrect_cvc",
    "invalid_expiry_month": "expired_card",
    "invalid_expiry_year": "expired_card",
    "invalid_number": "incorrect_number",
    "invalid_pin": "wrong_pin",
    "issuer_not_available": "processing_error",
    "lost_card": "lost_or_stolen_card",
    "merchant_blacklist": "fraud_suspected",
    "new_account_information_available": "payment_method_unusable",
    "no_action_taken": "declined",
    "not_permitted": "card_not_supported",
    "offline_pin_required": "authentication_required",
    "online_or_offline_pin_required": "authentication_required",
    "pickup_card": "lost_or_stolen_card",
    "processing_error": "processing_error",
    "reenter_transaction": "processing_error",
    "restricted_card": "lost_or_stolen_card",
    "revocation_of_all_authorizations": "payment_method_unusable",
    "revocation_of_authorization": "payment_method_unusable",
    "security_violation": "declined",
    "service_not_allowed": "card_not_supported",
    "stolen_card": "lost_or_stolen_card",
    "stop_payment_order": "payment_method_unusable",
    "test_mode_live_card": "card_not_supported",
    "transaction_not_allowed": "card_not_supported",
    "try_again_later": "processing_error",
    "withdrawal_count_limit_exceeded": "limit_reached",
}

ERRORS: Mapping[str, str] = {
    "account_closed": "account_state",
    "account_country_invalid_address": "account_state",
    "account_invalid": "permission_missing",
    "amount_too_large": "amount_too_large",
    "amount_too_small": "amount_too_small",
    "authentication_required": "authentication_required",
    "balance_insufficient": "merchant_balance_low",
    "capture_charge_authorization_expired": "expired",
    "card_declined": "declined",
    "card_decline_rate_limit_exceeded": "limit_reached",
    "charge_already_captured": "invalid_state",
    "charge_already_refunded": "already_refunded",
    "charge_disputed": "disputed",
    "charge_exceeds_source_limit": "limit_reached",
    "charge_exceeds_transaction_limit": "limit_reached",
    "charge_expired_for_capture": "expired",
    "charge_not_refundable": "refund_declined",
    "country_unsupported": "account_state",
    "currency_not_supported": "currency_not_supported",
    "email_invalid": "invalid_request",
    "expired_card": "expired_card",
    "incorrect_cvc": "incorrect_cvc",
    "incorrect_number": "incorrect_number",
    "incorrect_zip": "declined",
    "insufficient_funds": "merchant_balance_low",
    "invalid_card_type": "card_not_supported",
    "invalid_charge_amount": "invalid_request",
    "invalid_charge_amount_no_decimal_compatible": "invalid_request",
    "invalid_cvc": "incorrect_cvc",
    "invalid_expiry_month": "expired_card",
    "invalid_expiry_year": "expired_card",
    "invalid_number": "incorrect_number",
    "livemode_mismatch": "provider_configuration",
    "missing": "invalid_request",
    "not_allowed_on_standard_account": "permission_missing",
    "payment_intent_authentication_failure": "authentication_failed",
    "payment_intent_incompatible_payment_method": "card_not_supported",
    "payment_intent_invalid_parameter": "invalid_request",
    "payment_intent_payment_attempt_expired": "payment_expired",
    "payment_intent_payment_attempt_failed": "declined",
    "payment_intent_unexpected_state": "invalid_state",
    "payment_method_currency_mismatch": "card_not_supported",
    "payment_method_customer_decline": "cancelled_by_payer",
    "payment_method_invalid_parameter": "invalid_request",
    "payment_method_not_available": "processing_error",
    "payment_method_provider_decline": "declined",
    "payment_method_provider_timeout": "processing_error",
    "payment_method_unactivated": "provider_configuration",
    "payment_method_unexpected_state": "payment_method_unusable",
    "payment_method_unsupported_type": "card_not_supported",
    "processing_error": "processing_error",
    "refund_disputed_payment": "disputed",
    "setup_attempt_failed": "declined",
    "setup_intent_authentication_failure": "authentication_failed",
    "setup_intent_setup_attempt_expired": "payment_expired",
    "setup_intent_unexpected_state": "invalid_state",
    "testmode_charges_only": "account_state",
    "token_already_used": "payment_method_unusable",
    "transfers_not_allowed": "permission_missing",
}

MISUSED_METHOD = "This PaymentMethod was previously used"
"""Stripe gives no code for a payment method that can't be used again, only a text that begins like this (docs, 2026)."""

REFUND_FAILURES: Mapping[str, str] = {
    "charge_for_pending_refund_disputed": "disputed",
    "declined": "refund_declined",
    "insufficient_funds": "merchant_balance_low",
    "merchant_request": "refund_declined",
    # lost_or_stolen_card, expired_or_canceled_card, unknown: the payer's bank sent it back
}


def known(error: Mapping[str, Any]) -> bool:
    """Tell whether the table knows what this error means for the payment; a card error always says so."""
    return error.get("type") == "card_error" or _text(error, "code") in ERRORS or _misused(error)


def failure_of(error: Mapping[str, Any]) -> Failure:
    """Return the failure that an `error` object of Stripe (or a `last_payment_error`) stands for."""
    code, decline = _text(error, "code"), _text(error, "decline_code")
    by_card = error.get("type") == "card_error"
    if _misused(error):
        ours = "payment_method_unusable"
    else:
        ours = DECLINES.get(decline) or ERRORS.get(code) or ("declined" if by_card else "gateway_refused")
    message = _text(error, "message") if by_card and ours not in HIDDEN else ""
    return Failure.of(ours, message[:300], provider_code=code or _text(error, "type"), decline_code=decline)


HIDDEN = frozenset({"lost_or_stolen_card", "fraud_suspected"})
"""Never told to the payer: a thief would learn why (docs.stripe.com/declines/codes: "treat as generic decline")."""


def refund_failure(reason: str) -> Failure:
    """Return why a refund that Stripe had accepted came back; `reason` is its `failure_reason`."""
    return Failure.of(REFUND_FAILURES.get(reason, "refund_failed_later"), provider_code=reason)


def _misused(error: Mapping[str, Any]) -> bool:
    return not _text(error, "code") and _text(error, "message").startswith(MISUSED_METHOD)


def _text(error: Mapping[str, Any], name: str) -> str:
    value = error.get(name)
    return value if isinstance(value, str) else ""
