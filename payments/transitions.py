"""The one transition table of payments. Whatever is not in it does not happen."""

from __future__ import annotations

from payments.models import Status

S = Status

# Not yet decided: the gateway may still say anything.
_OPEN = frozenset({S.REQUIRES_ACTION, S.PROCESSING, S.UNKNOWN, S.NEEDS_REVIEW})
_CALLED_OFF = frozenset({S.FAILED, S.CANCELLED, S.EXPIRED})
_ENDINGS = _CALLED_OFF | {S.AUTHORIZED, S.SUCCEEDED, S.CONFLICTED}

TRANSITIONS: dict[Status, frozenset[Status]] = {
    S.REQUIRES_ACTION: _ENDINGS | {S.PROCESSING, S.UNKNOWN, S.NEEDS_REVIEW},
    S.PROCESSING: _ENDINGS | {S.REQUIRES_ACTION, S.UNKNOWN, S.NEEDS_REVIEW},
    S.UNKNOWN: _ENDINGS | {S.REQUIRES_ACTION, S.PROCESSING, S.NEEDS_REVIEW},
    S.NEEDS_REVIEW: _ENDINGS | {S.PROCESSING, S.UNKNOWN},
    S.AUTHORIZED: frozenset({S.PARTIALLY_CAPTURED, S.SUCCEEDED, S.CANCELLED, S.EXPIRED, S.CONFLICTED, S.NEEDS_REVIEW}),
    # What was taken stays taken: when the rest is taken, released or lapses, the payment has succeeded with less.
    S.PARTIALLY_CAPTURED: frozenset({S.SUCCEEDED, S.CONFLICTED, S.NEEDS_REVIEW}),
    # Money that did come in after the gateway (or we) had called it off is the truth: the customer has paid.
    S.FAILED: frozenset({S.AUTHORIZED, S.SUCCEEDED, S.CONFLICTED}),
    S.CANCELLED: frozenset({S.AUTHORIZED, S.SUCCEEDED, S.CONFLICTED}),
    S.EXPIRED: frozenset({S.AUTHORIZED, S.SUCCEEDED, S.CONFLICTED}),
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


def is_held(status: Status | str) -> bool:
    """Tell whether money is held that may still be taken or released."""
    return Status(status) in (S.AUTHORIZED, S.PARTIALLY_CAPTURED)


def was_called_off(status: Status | str) -> bool:
    """Tell whether the payment ended without money."""
    return Status(status) in _CALLED_OFF
