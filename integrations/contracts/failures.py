"""Why money did not move, in one vocabulary for all gateways: code, type, and what to do next.

Each provider maps its own codes to these in one table of its folder; whatever it has no entry for is `gateway_refused`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FailureType(StrEnum):
    """Whose matter it is: the payer's card, the payer (or his phone), the request, the gateway, or the tenant's account."""

    CARD = "card_error"
    PAYER = "payer_error"
    VALIDATION = "validation_error"
    API = "api_error"
    CONFIGURATION = "configuration_error"


class Decision(StrEnum):
    """What may be done about a failure.

    RETRY: the same request, here, with the same key. OTHER_GATEWAY: nothing was charged and another gateway may do it.
    ASK_PAYER: a new attempt needs the payer (another card, a PIN, a confirmation). NEVER: asking again can't help.
    """

    RETRY = "retry"
    OTHER_GATEWAY = "other_gateway"
    ASK_PAYER = "ask_payer"
    NEVER = "never"


_T, _D = FailureType, Decision

VOCABULARY: dict[str, tuple[FailureType, Decision, str]] = {
    # the card or the payer's account said no
    "declined": (_T.CARD, _D.ASK_PAYER, "The payment was declined."),
    "insufficient_funds": (_T.CARD, _D.ASK_PAYER, "The payer's balance is too low."),
    "expired_card": (_T.CARD, _D.ASK_PAYER, "The card has expired."),
    "incorrect_cvc": (_T.CARD, _D.ASK_PAYER, "The card's security code is wrong."),
    "incorrect_number": (_T.CARD, _D.ASK_PAYER, "The card number is wrong."),
    "card_not_supported": (_T.CARD, _D.ASK_PAYER, "This card can't be used for this payment."),
    "authentication_required": (_T.CARD, _D.ASK_PAYER, "The payer's bank wants the payer to confirm."),
    "authentication_failed": (_T.CARD, _D.ASK_PAYER, "The payer did not pass the bank's confirmation."),
    "lost_or_stolen_card": (_T.CARD, _D.NEVER, "The payment was declined."),
    "fraud_suspected": (_T.CARD, _D.NEVER, "The payment was declined."),
    "payment_method_unusable": (_T.CARD, _D.ASK_PAYER, "The stored payment method can't be used any more."),
    "limit_reached": (_T.PAYER, _D.ASK_PAYER, "The payer's limit is reached."),
    "cancelled_by_payer": (_T.PAYER, _D.ASK_PAYER, "The payer cancelled."),
    "payment_expired": (_T.PAYER, _D.ASK_PAYER, "The payer did not pay in time."),
    "payer_unreachable": (_T.PAYER, _D.ASK_PAYER, "The payer's phone could not be reached, or nobody answered."),
    "payer_locked": (_T.PAYER, _D.ASK_PAYER, "The payer has another payment open; wait a few minutes."),
    "payer_account_restricted": (_T.PAYER, _D.ASK_PAYER, "The payer's account is restricted."),
    "wrong_pin": (_T.PAYER, _D.ASK_PAYER, "The payer entered a wrong PIN."),
    "recipient_not_registered": (_T.PAYER, _D.NEVER, "The recipient is not registered."),
    # the request
    "invalid_request": (_T.VALIDATION, _D.NEVER, "The gateway found the request invalid."),
    "amount_too_small": (_T.VALIDATION, _D.OTHER_GATEWAY, "The amount is below the gateway's minimum."),
    "amount_too_large": (_T.VALIDATION, _D.OTHER_GATEWAY, "The amount is above the gateway's maximum."),
    "currency_not_supported": (_T.VALIDATION, _D.OTHER_GATEWAY, "The gateway does not take this currency."),
    "unsupported_operation": (_T.VALIDATION, _D.OTHER_GATEWAY, "The gateway can't do that."),
    "duplicate_reference": (_T.VALIDATION, _D.NEVER, "The gateway knows this reference already."),
    "invalid_state": (_T.VALIDATION, _D.NEVER, "The payment is in a state that does not allow this."),
    "not_found": (_T.VALIDATION, _D.NEVER, "The gateway does not know this payment."),
    "receipt_not_found": (_T.VALIDATION, _D.NEVER, "The gateway does not know this receipt."),
    "receipt_not_confirmed": (_T.VALIDATION, _D.NEVER, "The gateway did not confirm this receipt."),
    "expired": (_T.VALIDATION, _D.ASK_PAYER, "Too late: the request was only valid for a short time."),
    # the gateway
    "processing_error": (_T.API, _D.OTHER_GATEWAY, "The gateway could not process the payment; nothing was charged."),
    "provider_error": (_T.API, _D.OTHER_GATEWAY, "The gateway failed internally; nothing was charged."),
    "provider_busy": (_T.API, _D.OTHER_GATEWAY, "The gateway was too busy; nothing was charged."),
    "prompt_not_sent": (_T.API, _D.OTHER_GATEWAY, "The prompt could not be sent to the phone."),
    "gateway_unavailable": (_T.API, _D.OTHER_GATEWAY, "The gateway can't be reached; nothing was charged."),
    "gateway_refused": (_T.API, _D.NEVER, "The gateway refused, for a reason that has no known meaning."),
    "never_arrived": (_T.API, _D.OTHER_GATEWAY, "The request never reached the gateway; nothing was charged."),
    "queue_timeout": (_T.API, _D.NEVER, "The gateway's own queue timed out."),
    "unknown_result": (_T.API, _D.NEVER, "The gateway answered something that has no known meaning."),
    "not_paid": (_T.API, _D.ASK_PAYER, "A person found that this was not paid."),
    # the tenant's account at the gateway
    "credentials_refused": (_T.CONFIGURATION, _D.OTHER_GATEWAY, "The gateway refused the credentials."),
    "credentials_locked": (_T.CONFIGURATION, _D.OTHER_GATEWAY, "The credentials are locked at the gateway."),
    "permission_missing": (_T.CONFIGURATION, _D.OTHER_GATEWAY, "The account at the gateway is not allowed to do this."),
    "account_state": (_T.CONFIGURATION, _D.OTHER_GATEWAY, "The account at the gateway is restricted."),
    "provider_configuration": (_T.CONFIGURATION, _D.OTHER_GATEWAY, "The account is not set up for this at the gateway."),
    "not_configured": (_T.CONFIGURATION, _D.OTHER_GATEWAY, "No active account serves this."),
    # refunds
    "already_refunded": (_T.VALIDATION, _D.NEVER, "This was refunded already."),
    "refund_declined": (_T.API, _D.NEVER, "The gateway declined the refund."),
    "refund_window_closed": (_T.VALIDATION, _D.NEVER, "It is too late for a refund."),
    "refund_failed_later": (_T.API, _D.NEVER, "The payer's bank sent the refund back."),
    "merchant_balance_low": (_T.CONFIGURATION, _D.RETRY, "The balance at the gateway is too low for this refund."),
    "disputed": (_T.VALIDATION, _D.NEVER, "The payer disputes this payment."),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why money did not move. `code` is a key of `VOCABULARY`; `provider_code` and `decline_code` are the gateway's own words.

    `retryable`: a new attempt, here or by the payer, may work. Build it with `Failure.of`, so that type and decision fit.
    """

    code: str
    message: str
    type: str = FailureType.API.value
    provider_code: str = ""
    decline_code: str = ""
    retryable: bool = False
    decision: str = Decision.NEVER.value

    @classmethod
    def of(cls, code: str, message: str = "", *, provider_code: str = "", decline_code: str = "", type: str = "") -> Failure:
        """Return the failure of this code, with the vocabulary's text unless `message` is given. KeyError for an unknown code.

        `type` differs from the vocabulary's only where the same thing happens to somebody else (the tenant's own balance).
        """
        kind, decision, text = VOCABULARY[code]
        return cls(
            code=code,
            message=message or text,
            type=type or kind.value,
            provider_code=provider_code[:100],
            decline_code=decline_code[:100],
            retryable=decision in (Decision.RETRY, Decision.ASK_PAYER, Decision.OTHER_GATEWAY),
            decision=decision.value,
        )
