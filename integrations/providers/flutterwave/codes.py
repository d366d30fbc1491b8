"""What Flutterwave's words mean. v3 has no error codes: `message` and `processor_response` are prose, so they are matched.

Sources: developer.flutterwave.com, pages "errors", "error timeouts", "refunds" (read 2026-11); processor texts of M-Pesa are
Daraja's own. HTTP 200 with `status: "error"` happens (same pages), so the text counts whatever the status.
"""

from __future__ import annotations

import re
from enum import StrEnum

from integrations.contracts.failures import Failure
from integrations.contracts.payment import RefundState


class Meaning(StrEnum):
    """What an answer with `status: "error"` says about the request."""

    CREDENTIALS = "credentials"
    UNDECIDED = "undecided"
    """The processing broke off: it may or may not have happened."""
    DUPLICATE = "duplicate"
    """A request with this tx_ref was taken before, and it was ours: nobody else makes our references."""
    NOT_FOUND = "not_found"
    INVALID = "invalid"
    REFUSED = "refused"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


MEANINGS: tuple[tuple[re.Pattern[str], Meaning], ...] = (
    (_pattern(r"authorization required|merchant secret key|invalid (authorization|secret|api) key|unauthori[sz]ed"),
     Meaning.CREDENTIALS),
    (_pattern(r"an error occurr?ed|contact support|timed? ?out|try again later"), Meaning.UNDECIDED),
    (_pattern(r"reference already exist|duplicate.*reference|tx_?ref.*already"), Meaning.DUPLICATE),
    (_pattern(r"no transaction was found|no refund.*found|transaction not found|refund not found"), Meaning.NOT_FOUND),
    (_pattern(r"\b(is|are) required\b|\bis invalid\b|\bis not allowed\b|\bmust (be|have|contain)\b|^invalid \w+"),
     Meaning.INVALID),
)  # fmt: skip

FAILURES: tuple[tuple[re.Pattern[str], str], ...] = (
    (_pattern(r"insufficient|balance is (too )?low|balance is insufficient"), "insufficient_funds"),
    (_pattern(r"cancel"), "cancelled_by_payer"),
    (_pattern(r"expired card|card (has )?expired"), "expired_card"),
    (_pattern(r"transaction has expired|session.*expired|payment.*expired"), "payment_expired"),
    (_pattern(r"user cannot be reached|unreachable|no response from user"), "payer_unreachable"),
    (_pattern(r"incorrect pin|wrong pin|invalid pin|initiator information is invalid"), "wrong_pin"),
    (_pattern(r"cvv|security code"), "incorrect_cvc"),
    (_pattern(r"invalid card|card number"), "incorrect_number"),
    (_pattern(r"unable to lock subscriber|already in process"), "payer_locked"),
    (_pattern(r"fraud|suspected|blacklist"), "fraud_suspected"),
    (_pattern(r"stolen|lost card|pick ?up card"), "lost_or_stolen_card"),
    (_pattern(r"authentication|3-?d ?secure|\botp\b"), "authentication_failed"),
    (_pattern(r"limit"), "limit_reached"),
    (_pattern(r"not permitted|restricted|not supported for this card"), "card_not_supported"),
    (_pattern(r"not enabled|not activated|not allowed to|permission"), "permission_missing"),
    (_pattern(r"currency.*not (supported|allowed)|unsupported currency"), "currency_not_supported"),
    (_pattern(r"below.*minimum|amount.*too (small|low)|less than.*minimum"), "amount_too_small"),
    (_pattern(r"above.*maximum|amount.*too (large|high)"), "amount_too_large"),
    (_pattern(r"system busy|system error|system internal|processing error"), "processing_error"),
    (_pattern(r"declin|do not honou?r|not honou?red"), "declined"),
)  # fmt: skip
"""Text -> code of the hub's vocabulary; the first that fits counts."""

REFUND_FAILURES: tuple[tuple[re.Pattern[str], str], ...] = (
    (_pattern(r"(already|fully) (been )?refunded|refunded already"), "already_refunded"),
    (_pattern(r"insufficient|balance"), "merchant_balance_low"),
    (_pattern(r"not enabled|not activated|permission"), "permission_missing"),
)
"""The same for refunds, where a low balance is the tenant's own; any other text is `refund_declined`."""

SUCCESSFUL, FAILED = "successful", "failed"
"""The only final words of a transaction; any other ("pending", "success-pending-validation") is still running."""


def meaning_of(message: str) -> Meaning:
    """Return what an error text says about the request; REFUSED where nothing more is known."""
    return next((meaning for pattern, meaning in MEANINGS if pattern.search(message)), Meaning.REFUSED)


def failure_of(text: str, *, otherwise: str = "gateway_refused") -> Failure:
    """Return the failure that a processor's or an error's text on a payment means, `otherwise` where no entry fits."""
    return _failure(text, FAILURES, otherwise)


def refund_failure_of(text: str) -> Failure:
    """Return the failure that a text on a refund means."""
    return _failure(text, REFUND_FAILURES, "refund_declined")


def _failure(text: str, table: tuple[tuple[re.Pattern[str], str], ...], otherwise: str) -> Failure:
    code = next((code for pattern, code in table if pattern.search(text)), otherwise)
    return Failure.of(code, provider_code=text)


def refund_state(word: str) -> RefundState:
    """Return what a refund's status says: `completed`, `completed-momo`, ... are done, `failed` failed, others running."""
    said = word.strip().lower()
    if said.startswith("completed"):
        return RefundState.SUCCEEDED
    return RefundState.FAILED if said.startswith("failed") else RefundState.PROCESSING
