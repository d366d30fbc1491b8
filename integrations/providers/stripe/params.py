"""What is sent to Stripe: the parameters of each call, from the hub's requests. Only what version 2023-10-16 knows."""

from __future__ import annotations

import re
from typing import Any

from integrations.contracts.adapter import ConfigView
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.payment import CaptureRequest, PaymentRequest, RefundRequest, SetupRequest
from integrations.contracts.payment_features import MethodType
from integrations.providers.stripe.money import to_units
from integrations.providers.stripe.reading import CAPTURE_NOTE, OPERATION_ID, PAYMENT_ID, SETUP_ID

REFUND_REASONS = frozenset({"duplicate", "fraudulent", "requested_by_customer"})
NOTE_LENGTH, DESCRIPTION_LENGTH = 500, 1000


def ref(value: str, prefix: str) -> str:
    """Return an id of Stripe's fit for a path; raise `InvalidRequest` for anything else."""
    if not re.fullmatch(rf"{prefix}_[0-9A-Za-z_]{{1,250}}", value):
        raise InvalidRequest(f"This is no id of Stripe's ({prefix}_...).", attr="provider_ref")
    return value


def payment_method(token: str) -> dict[str, Any]:
    """Return the parameters that name a token of Stripe's form or a stored card; raise `InvalidRequest` for anything else.

    A card number typed here by mistake is refused and not repeated in the text. The old `tok_...` is not taken: version
    2023-10-16 describes no parameter for it.
    """
    if not token:
        raise InvalidRequest("A card payment needs a token from Stripe's form, or a stored card.", attr="method.token")
    if not re.fullmatch(r"(pm|card|src)_[0-9A-Za-z_]{1,250}", token):
        raise InvalidRequest("This is no token of Stripe's (pm_...).", attr="method.token")
    return {"payment_method": token}


def payment_intent(request: PaymentRequest, config: ConfigView) -> dict[str, Any]:
    """Return the parameters of a new PaymentIntent. Raises `InvalidRequest`.

    Type and capture method are always named: their defaults change with the API version.
    """
    params: dict[str, Any] = {
        "amount": to_units(request.money, str(config.get("ugx_decimals") or "")),
        "currency": request.money.currency.lower(),
        "payment_method_types": ["card"],
        "capture_method": "automatic" if request.capture else "manual",
        "metadata": {PAYMENT_ID: request.payment_id, OPERATION_ID: request.idempotency_key[:NOTE_LENGTH]},
    }
    if request.reference:
        params["metadata"]["reference"] = request.reference[:NOTE_LENGTH]
    if request.description:
        params["description"] = request.description[:DESCRIPTION_LENGTH]
    if config.get("statement_suffix"):
        params["statement_descriptor_suffix"] = str(config.statement_suffix)
    if request.customer_ref:
        params["customer"] = ref(request.customer_ref, "cus")
    if request.method is MethodType.REDIRECT:
        return params
    params |= {**payment_method(request.token), "confirm": True}
    if request.off_session:
        params["off_session"] = True
    elif request.return_url:
        params["return_url"] = request.return_url
    return params


def capture(request: CaptureRequest, config: ConfigView) -> dict[str, Any]:
    """Return the parameters of a capture, with the note by which it is recognised later. Raises `InvalidRequest`."""
    units = to_units(request.money, str(config.get("ugx_decimals") or ""))
    params: dict[str, Any] = {
        "amount_to_capture": units,
        "metadata": {f"{CAPTURE_NOTE}{request.operation_id}": str(units)},
    }
    if config.get("multicapture") and not request.final:
        params["final_capture"] = False
    return params


def refund(request: RefundRequest, config: ConfigView) -> dict[str, Any]:
    """Return the parameters of a refund; a reason in free words becomes a note. Raises `InvalidRequest`."""
    metadata = {OPERATION_ID: request.refund_id}
    if request.payment_id:
        metadata[PAYMENT_ID] = request.payment_id
    params: dict[str, Any] = {
        "payment_intent": ref(request.payment_provider_ref, "pi"),
        "amount": to_units(request.money, str(config.get("ugx_decimals") or "")),
        "metadata": metadata,
    }
    if request.reason in REFUND_REASONS:
        params["reason"] = request.reason
    elif request.reason:
        metadata["reason"] = request.reason[:NOTE_LENGTH]
    return params


def customer(request: SetupRequest) -> dict[str, Any]:
    """Return the parameters of a new customer."""
    params: dict[str, Any] = {"metadata": {"customer_id": request.customer_id[:NOTE_LENGTH]}} if request.customer_id else {}
    if request.customer_name:
        params["name"] = request.customer_name[:256]
    if request.customer_email:
        params["email"] = request.customer_email
    return params


def setup_intent(request: SetupRequest, customer_ref: str) -> dict[str, Any]:
    """Return the parameters of a new SetupIntent; with a token it is confirmed at once. Raises `InvalidRequest`."""
    params: dict[str, Any] = {
        "customer": ref(customer_ref, "cus"),
        "payment_method_types": ["card"],
        "usage": "off_session",
        "metadata": {SETUP_ID: request.setup_id, OPERATION_ID: request.idempotency_key[:NOTE_LENGTH]},
    }
    if request.token:
        params |= {**payment_method(request.token), "confirm": True}
        if request.return_url:
            params["return_url"] = request.return_url
    return params
