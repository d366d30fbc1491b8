"""What Flutterwave is sent to start a payment: the bodies for a hosted page and an M-Pesa prompt (v3 docs, 2026-11)."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.payment import PaymentRequest
from integrations.providers.flutterwave import money

LIMIT = 100
"""Most characters of tx_ref, e-mail and name (official Node SDK, services/schema)."""

SESSION_MINUTES = 60
"""How long a hosted page takes payments (`session_duration`, at most 1440)."""


def check_email(email: str) -> None:
    """Raise `InvalidRequest` unless there is an e-mail address: Flutterwave requires one of every payer."""
    if not email:
        raise InvalidRequest("Flutterwave takes no payment without the payer's e-mail address.", attr="customer.email")
    if len(email) > LIMIT or not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise InvalidRequest("This is no e-mail address that Flutterwave takes.", attr="customer.email")


def check_return(url: str) -> None:
    """Raise `InvalidRequest` unless the payer's browser can be sent back to the hub."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise InvalidRequest("The page to come back to is missing.", attr="return_url")


def msisdn(phone: str) -> str:
    """Return a Kenyan mobile number as `2547...` or `2541...`, the form that Flutterwave wants; raise `InvalidRequest`."""
    digits = re.sub(r"[\s()+.-]", "", phone)
    found = re.fullmatch(r"(?:254|0)?([17]\d{8})", digits)
    if not found:
        raise InvalidRequest("An M-Pesa prompt needs a Kenyan mobile number.", attr="method.phone")
    return f"254{found[1]}"


def page(request: PaymentRequest, reference: str) -> dict[str, Any]:
    """Return the body for `POST /payments`."""
    payload: dict[str, Any] = {
        "tx_ref": reference,
        "amount": money.text_amount(request.money),
        "currency": request.money.currency,  # without it Flutterwave takes NGN
        "redirect_url": request.return_url,
        "payment_options": money.payment_options(request.money),
        "session_duration": SESSION_MINUTES,
        "customer": {"email": request.customer_email}
        | _given(name=request.customer_name[:LIMIT], phonenumber=re.sub(r"[^\d+]", "", request.phone)),
        "meta": {"payment_id": request.payment_id} | _given(reference=request.reference),
    }
    title = (request.description or request.reference)[:LIMIT]
    return payload | ({"customizations": {"title": title}} if title else {})


def prompt(request: PaymentRequest, reference: str) -> dict[str, Any]:
    """Return the body for `POST /charges?type=mpesa`; raise `InvalidRequest` for what no prompt can be made of."""
    payload: dict[str, Any] = {
        "tx_ref": reference,
        "amount": money.whole_shillings(request.money),
        "currency": request.money.currency,
        "email": request.customer_email,
        "phone_number": msisdn(request.phone),
        "meta": {"payment_id": request.payment_id},
    }
    return payload | _given(fullname=request.customer_name[:LIMIT])


def _given(**members: str) -> dict[str, str]:
    return {name: value for name, value in members.items() if value}
