"""The one transition table of payments. Whatever is not in it does not happen."""

from __future__ import annotations

from payments.models import Status

S = Status

# Not yet decided: the gateway may still say anything.
_OPEN = frozenset({S.REQUIRES_ACTION, S.PROCESSING, S.UNKNOWN, S.NEEDS_REVIEW})
_ENDINGS = frozenset({S.AUTHORIZED, S.SUCCEEDED, S.FAILED, S.CANCELLED, S.EXPIRED, S.CONFLICTED})

TRANSITIONS: dict[Status, frozenset[Status]] = {
    S.REQUIRES_ACTION: _ENDINGS | {S.PROCESSING, S.UNKNOWN, S.NEEDS_REVIEW},
    S.PROCESSING: _ENDINGS | {S.REQUIRES_ACTION, S.UNKNOWN, S.NEEDS_REVIEW},
    S.UNKNOWN: _ENDINGS | {S.REQUIRES_ACTION, S.PROCESSING, S.NEEDS_REVIEW},
    S.NEEDS_REVIEW: _ENDINGS | {S.PROCESSING, S.UNKNOWN},
    S.AUTHORIZED: frozenset({S.PARTIALLY_CAPTURED, S.SUCCEEDED, S.CANCELLED, S.EXPIRED, S.CONFLICTED, S.NEEDS_REVIEW}),
    S.PARTIALLY_CAPTURED: frozenset({S.SUCCEEDED, S.CANCELLED, S.EXPIRED, S.CONFLICTED, S.NEEDS_REVIEW}),
    # Money that did come in after the gateway (or we) had called it off is the truth: the customer has paid.
    S.FAILED: frozenset({S.SUCCEEDED, S.CONFLICTED}),
    S.CANCELLED: frozenset({S.SUCCEEDED, S.CONFLICTED}),
    S.EXPIRED: frozenset({S.SUCCEEDED, S.CONFLICTED}),
    # A person has looked and decided.
    S.CONFLICTED: frozenset({S.SUCCEEDED, S.FAILED}),
    # Success is final: refunds and disputes are states of their own, beside it.
    S.SUCCEEDED: frozenset(),
}


def allowed(current: Status | str, target: Status | str) -> bool:
    """Tell whether a payment may go from one status to the other."""
    return Status(target) in TRANSITIONS[Status(current)]


def is_open(status: Status | str) -> bool:
    """Tell whether the gateway's word is still awaited."""
    return Status(status) in _OPEN
