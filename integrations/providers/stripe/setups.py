"""Stored cards: SetupIntents with a customer of their own, so that the card may be charged when the payer is not there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from integrations.contracts.errors import UnsupportedOperation
from integrations.contracts.payment import PaymentState, SetupRequest, SetupResult, StoredMethod
from integrations.contracts.payment_features import MethodType
from integrations.contracts.wire import Wire
from integrations.providers.stripe import codes, params
from integrations.providers.stripe.calls import Calls, Refused
from integrations.providers.stripe.reading import SETUP_ID, expanded, id_of, redirect_of, stored_method

INTENTS = "/v1/setup_intents"
EXPAND = ["payment_method"]
WINDOW = timedelta(hours=2)


def begin(calls: Calls, request: SetupRequest) -> SetupResult:
    """Create the SetupIntent; see `PaymentAdapter.setup`. Raises `Refused` and `ProviderError`."""
    if request.method is MethodType.MOBILE_MONEY:
        raise UnsupportedOperation("Stripe stores cards only.", attr="method.type")
    customer = request.customer_ref
    if not customer:
        # A second customer would be a row too many and nothing else: harmless to repeat.
        made = calls.post(
            "/v1/customers",
            operation="customer",
            key=f"{request.idempotency_key}-customer",
            safe=True,
            **params.customer(request),
        )
        customer = Wire(made)["id"].text(max_length=255)
    sent = params.setup_intent(request, customer)
    try:
        raw = calls.post(INTENTS, operation="setup", key=request.idempotency_key, safe=not request.token, expand=EXPAND, **sent)
    except Refused as refused:
        if not codes.known(refused.error):
            raise
        intent = expanded(refused.error.get("setup_intent"))
        failure = codes.failure_of(refused.error)
        return SetupResult(PaymentState.FAILED, id_of(intent), customer, failure=failure, references=_references(intent))
    return _result(raw, page_url=request.page_url, by_token=bool(request.token))


def status(calls: Calls, request: SetupRequest, now: datetime) -> SetupResult:
    """Ask for it; without its id those created around `asked_at` are searched for ours."""
    if request.provider_ref:
        return _result(read(calls, request.provider_ref), page_url=request.page_url, by_token=bool(request.token))
    asked = request.asked_at or now
    window = {"gte": int((asked - WINDOW).timestamp()), "lte": int((asked + WINDOW).timestamp())}
    for each in calls.listed(INTENTS, operation="setup_status", created=window):
        metadata = each.get("metadata")
        if isinstance(metadata, dict) and metadata.get(SETUP_ID) == request.setup_id:
            return _result(read(calls, id_of(each)), page_url=request.page_url, by_token=bool(request.token))
    return SetupResult(PaymentState.ABSENT)


def read(calls: Calls, ref: str) -> dict[str, Any]:
    return calls.get(f"{INTENTS}/{params.ref(ref, 'seti')}", operation="setup_status", expand=EXPAND)


def forget(calls: Calls, stored: StoredMethod) -> None:
    """Detach; a card that is gone or detached already is fine."""
    try:
        calls.post(f"/v1/payment_methods/{params.ref(stored.token, 'pm')}/detach", operation="forget", safe=True)
    except Refused as refused:
        # 400 with this text, and no code, for a card that has no customer (any more) (observed with the test API).
        gone = "not attached to a customer" in str(refused.error.get("message"))
        if refused.status != 404 and not gone:
            raise


def _result(raw: Mapping[str, Any], *, page_url: str = "", by_token: bool) -> SetupResult:
    wire = Wire(dict(raw))
    ref, found = wire["id"].text(max_length=255), wire["status"].text(max_length=40)
    customer = id_of(raw.get("customer"))
    method = expanded(raw.get("payment_method"))
    error = raw.get("last_setup_error")
    failure = None
    match found:
        case "succeeded":
            state = PaymentState.SUCCEEDED if method else PaymentState.UNKNOWN
        case "processing":
            state = PaymentState.PROCESSING
        case "requires_action":
            state = PaymentState.REQUIRES_ACTION
        case "canceled":
            state = PaymentState.CANCELLED
        case "requires_payment_method" if by_token and isinstance(error, dict):
            state, failure = PaymentState.FAILED, codes.failure_of(error)
        case "requires_payment_method" | "requires_confirmation":
            state = PaymentState.REQUIRES_ACTION
        case _:
            state = PaymentState.UNKNOWN
    action = redirect_of(raw)
    if state is PaymentState.REQUIRES_ACTION and page_url and (action is None or not by_token):
        # On the hub's page Stripe's script leads to the bank and back; the bank's address leads nowhere once it was used.
        action = {"type": "redirect", "url": page_url}
    stored = stored_method(method, customer) if state is PaymentState.SUCCEEDED else None
    return SetupResult(state, ref, customer, stored, failure, action, _references(raw))


def _references(raw: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    ref = id_of(raw)
    return (("setup_intent", ref),) if ref else ()
