"""Whom an event is about: our payment id and PayPal's ids, dug out of the shapes that resources have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from integrations.contracts.wire import Wire
from integrations.providers.paypal.reading import text

_OURS = re.compile(r"pay_[0-9a-z]{1,60}")
_THEIRS = re.compile(r"[A-Z0-9]{1,36}")
PREFIXES = ("CHECKOUT.", "PAYMENT.AUTHORIZATION.", "PAYMENT.CAPTURE.", "PAYMENT.REFUND.", "CUSTOMER.DISPUTE.", "RISK.DISPUTE.")
_NONE = Wire([])


@dataclass(frozen=True, slots=True)
class Subject:
    """One payment that an event is about. `refs` are (kind, id), best first; `order` is the payment's own id at PayPal."""

    payment_id: str
    order: str
    refs: tuple[tuple[str, str], ...]


def subjects(event_type: str, resource: Wire) -> tuple[Subject, ...]:
    """Return the payments that an event is about; none for an event of another kind. Raises `WireError`."""
    if not event_type.startswith(PREFIXES):
        return ()
    if event_type.startswith(("CUSTOMER.DISPUTE.", "RISK.DISPUTE.")):
        each = (resource.get("disputed_transactions") or _NONE).items()
        return _known(_subject(text(one, "custom"), captures=[text(one, "seller_transaction_id")]) for one in each)
    if event_type.startswith("CHECKOUT."):
        unit = next((resource.get("purchase_units") or _NONE).items(), None)
        return _known([_subject(text(unit, "custom_id"), order=text(resource, "order_id") or text(resource, "id"))])
    return _known([_payment(event_type, resource)])


def _payment(event_type: str, resource: Wire) -> Subject:
    """Of an authorization, a capture or a refund. PAYMENT.CAPTURE.REFUNDED and .REVERSED bring the refund: its capture is the
    last part of the link `up` (webhook event list, read 2026-11)."""
    data = resource.get("supplementary_data")
    related = data.get("related_ids") if data else None
    up = _up(resource)
    own = text(resource, "id")
    is_hold = event_type.startswith("PAYMENT.AUTHORIZATION.")
    is_refund = event_type.startswith("PAYMENT.REFUND.") or up[0] == "captures"
    return _subject(
        text(resource, "custom_id"),
        order=text(related, "order_id") or (up[1] if up[0] == "orders" else ""),
        holds=[own if is_hold else "", text(related, "authorization_id"), up[1] if up[0] == "authorizations" else ""],
        captures=[own if not is_hold and not is_refund else "", text(related, "capture_id"), up[1] if is_refund else ""],
        refunds=[own if is_refund else ""],
    )


def _up(resource: Wire) -> tuple[str, str]:
    """Return what the link `up` leads to: (`captures`, id), ('', '') where there is none."""
    for each in (resource.get("links") or _NONE).items():
        if text(each, "rel") == "up":
            parts = text(each, "href").split("?")[0].rstrip("/").split("/")
            return (parts[-2], parts[-1]) if len(parts) > 1 else ("", "")
    return "", ""


def _subject(
    ours: str,
    *,
    order: str = "",
    holds: Iterable[str] = (),
    captures: Iterable[str] = (),
    refunds: Iterable[str] = (),
) -> Subject:
    named = (("order", [order]), ("capture", captures), ("authorization", holds), ("refund", refunds))
    refs = [(kind, ref) for kind, ids in named for ref in ids if _THEIRS.fullmatch(ref)]
    return Subject(
        payment_id=ours if _OURS.fullmatch(ours) else "",
        order=order if _THEIRS.fullmatch(order) else "",
        refs=tuple(dict.fromkeys(refs)),
    )


def _known(found: Iterable[Subject]) -> tuple[Subject, ...]:
    return tuple(each for each in found if each.refs or each.payment_id)
