"""Our ids in Flutterwave's: `tx_ref` carries the payment's id, a refund's comment begins with the refund's."""

from __future__ import annotations

import re

COMMENT_LIMIT = 200

_OURS = re.compile(r"(pay_[0-9a-z_]{1,60}?)(?:-(\d{1,4}))?")
_REFUND = re.compile(r"\[(re_[0-9a-z_]{1,60})\]")


def tx_ref(payment_id: str, attempt: int) -> str:
    """Return the reference of a try. A direct charge needs one of its own each time: v3 has no idempotency key, and after
    two minutes a used reference may be taken anew (official error text)."""
    return payment_id if attempt <= 1 else f"{payment_id}-{attempt}"


def all_tx_refs(payment_id: str, attempts: int, known: str) -> tuple[str, ...]:
    """Return every reference that this payment may have at Flutterwave, the newest first."""
    made = [tx_ref(payment_id, number) for number in range(max(attempts, 1), 0, -1)]
    return tuple(dict.fromkeys([*([known] if known else []), *made]))


def payment_id(reference: str) -> str:
    """Return our payment's id in a tx_ref, "" where it is not one of ours."""
    found = _OURS.fullmatch(reference)
    return found[1] if found else ""


def comment(refund_id: str, reason: str) -> str:
    """Return a refund's comment: our id in brackets, then the reason."""
    words = re.sub(r"\s+", " ", reason).strip()
    return f"[{refund_id}] {words}".strip()[:COMMENT_LIMIT]


def refund_id(text: str) -> str:
    """Return our refund's id in a comment, "" where there is none."""
    found = _REFUND.search(text)
    return found[1] if found else ""
