"""PayPal's issues and statuses in the hub's vocabulary: one table, and the few issues that mean "look at the order again".

Source: error lists of checkout_orders_v2 2.13 and payments_payment_v2 2.5 (OpenAPI files of February 2024, read 2026-11).
PayPal asks to decide on the issue and never on the text.
"""

from __future__ import annotations

from integrations.contracts.failures import Failure

BACK_TO_PAYER = frozenset({"INSTRUMENT_DECLINED", "PAYER_ACTION_REQUIRED", "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING"})
"""The payer has to choose another way to pay, on the same order's page."""

READ_AGAIN = frozenset(
    {
        "AUTHORIZATION_ALREADY_CAPTURED", "CAPTURE_FULLY_REFUNDED", "DUPLICATE_INVOICE_ID", "ORDER_ALREADY_AUTHORIZED",
        "ORDER_ALREADY_CAPTURED", "ORDER_ALREADY_COMPLETED", "ORDER_COMPLETED_OR_VOIDED", "ORDER_COMPLETION_IN_PROGRESS",
        "ORDER_EXPIRED", "ORDER_NOT_APPROVED", "PREVIOUSLY_CAPTURED", "PREVIOUSLY_VOIDED", "AUTHORIZATION_VOIDED",
        "AUTHORIZATION_EXPIRED",
    }
)  # fmt: skip
"""Something else happened to the object before: the truth is read, never guessed from the refusal."""

ISSUES = {
    # the payer, his funding source
    "INSTRUMENT_DECLINED": "declined",
    "PAYMENT_SOURCE_DECLINED_BY_PROCESSOR": "declined",
    "DECLINED_DUE_TO_RELATED_TXN": "declined",
    "PAYER_CANNOT_PAY": "declined",
    "TRANSACTION_REFUSED": "declined",
    "TRANSACTION_BLOCKED_BY_PAYEE": "declined",
    "PAYEE_BLOCKED_TRANSACTION": "declined",
    "AUTHORIZATION_DENIED": "declined",
    "CARD_EXPIRED": "expired_card",
    "CARD_BRAND_NOT_SUPPORTED": "card_not_supported",
    "PAYER_ACTION_REQUIRED": "authentication_required",
    "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING": "authentication_required",
    "PAYER_ACCOUNT_RESTRICTED": "payer_account_restricted",
    "PAYER_ACCOUNT_LOCKED_OR_CLOSED": "payer_account_restricted",
    "TRANSACTION_LIMIT_EXCEEDED": "limit_reached",
    "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED": "limit_reached",
    "COMPLIANCE_VIOLATION": "fraud_suspected",
    "AGREEMENT_ALREADY_CANCELLED": "payment_method_unusable",
    "BILLING_AGREEMENT_NOT_FOUND": "payment_method_unusable",
    "MISMATCHED_VAULT_ID_TO_PAYMENT_SOURCE": "payment_method_unusable",
    "PAYMENT_SOURCE_CANNOT_BE_USED": "payment_method_unusable",
    "PAYMENT_SOURCE_INFO_CANNOT_BE_VERIFIED": "payment_method_unusable",
    "TOKEN_EXPIRED": "payment_method_unusable",
    "TOKEN_ID_NOT_FOUND": "payment_method_unusable",
    "TOKEN_NOT_FOUND": "payment_method_unusable",
    # time and state
    "ORDER_EXPIRED": "payment_expired",
    "ORDER_NOT_APPROVED": "invalid_state",
    "ACTION_DOES_NOT_MATCH_INTENT": "invalid_state",
    "AUTHORIZATION_EXPIRED": "expired",
    "AUTHORIZATION_VOIDED": "invalid_state",
    "AUTHORIZATION_ALREADY_CAPTURED": "invalid_state",
    "PREVIOUSLY_CAPTURED": "invalid_state",
    "CANNOT_BE_VOIDED": "invalid_state",
    "PENDING_CAPTURE": "invalid_state",
    "INVALID_RESOURCE_ID": "not_found",
    # the request
    "DUPLICATE_INVOICE_ID": "duplicate_reference",
    "CANNOT_BE_ZERO_OR_NEGATIVE": "amount_too_small",
    "MAX_VALUE_EXCEEDED": "amount_too_large",
    "MAX_CAPTURE_AMOUNT_EXCEEDED": "amount_too_large",
    "REFUND_AMOUNT_EXCEEDED": "amount_too_large",
    "REFUND_AMOUNT_TOO_LOW": "amount_too_small",
    "INVALID_CURRENCY_CODE": "currency_not_supported",
    "AUTH_CAPTURE_CURRENCY_MISMATCH": "currency_not_supported",
    "REFUND_CAPTURE_CURRENCY_MISMATCH": "currency_not_supported",
    "CURRENCY_MISMATCH": "currency_not_supported",
    "DECIMAL_PRECISION": "invalid_request",
    "DECIMALS_NOT_SUPPORTED": "invalid_request",
    "AMOUNT_MISMATCH": "invalid_request",
    "UNSUPPORTED_INTENT": "unsupported_operation",
    "MAX_CAPTURE_COUNT_EXCEEDED": "unsupported_operation",
    "REAUTHORIZATION_NOT_SUPPORTED": "unsupported_operation",
    # the tenant's account
    "PERMISSION_DENIED": "permission_missing",
    "AUTH_CAPTURE_NOT_ENABLED": "provider_configuration",
    "NOT_ENABLED_TO_VAULT_PAYMENT_SOURCE": "provider_configuration",
    "NOT_ENABLED_FOR_CARD_PROCESSING": "provider_configuration",
    "PAYEE_ACCOUNT_RESTRICTED": "account_state",
    "PAYEE_ACCOUNT_INVALID": "account_state",
    "PAYEE_ACCOUNT_LOCKED_OR_CLOSED": "account_state",
    "TRANSACTION_RECEIVING_LIMIT_EXCEEDED": "account_state",
    # refunds
    "CAPTURE_FULLY_REFUNDED": "already_refunded",
    "REFUND_NOT_ALLOWED": "refund_declined",
    "REFUND_IS_RESTRICTED": "refund_declined",
    "PARTIAL_REFUND_NOT_ALLOWED": "refund_declined",
    "MAX_NUMBER_OF_REFUNDS_EXCEEDED": "refund_declined",
    "REFUND_TIME_LIMIT_EXCEEDED": "refund_window_closed",
    "REFUND_FAILED_INSUFFICIENT_FUNDS": "merchant_balance_low",
    "TRANSACTION_DISPUTED": "disputed",
    "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK": "disputed",
}

STATUSES = {"DECLINED": "declined", "DENIED": "declined", "FAILED": "processing_error"}
"""Status of a capture or authorization that says no."""


def failure_of(issue: str) -> Failure:
    """Return the failure for an issue; an issue without an entry is `gateway_refused` with PayPal's word kept."""
    return Failure.of(ISSUES.get(issue, "gateway_refused"), provider_code=issue)


def status_failure(status: str, reason: str = "") -> Failure:
    """Return the failure for a capture or authorization of this status; `reason` is its `status_details.reason`."""
    return Failure.of(STATUSES.get(status, "gateway_refused"), provider_code=status, decline_code=reason)
