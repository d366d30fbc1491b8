"""Stored payers: PayPal's Vault v3, in three steps (setup token, the payer's approval, payment token).

Source: vault_payment_tokens_v3 3.1 and PayPal's "save payment methods" guide (read 2026-11). Only for approved accounts.
"""

from __future__ import annotations

from integrations.contracts.errors import InvalidRequest, Undecided
from integrations.contracts.failures import Failure
from integrations.contracts.payment import PaymentState, SetupRequest, SetupResult, StoredMethod
from integrations.contracts.payment_features import MethodType
from integrations.contracts.wire import Wire, WireError
from integrations.providers.paypal.calls import Refused, Rest, path, request_id
from integrations.providers.paypal.codes import failure_of
from integrations.providers.paypal.reading import PAYER_LINKS, link, text

SETUP_TOKENS = "/v3/vault/setup-tokens"
PAYMENT_TOKENS = "/v3/vault/payment-tokens"
STATES = {
    "CREATED": PaymentState.REQUIRES_ACTION,
    "PAYER_ACTION_REQUIRED": PaymentState.REQUIRES_ACTION,
    "APPROVED": PaymentState.APPROVED,
}


def begin(rest: Rest, request: SetupRequest, brand_name: str) -> SetupResult:
    """Create the setup token; harmless to repeat, for nothing is stored without the payer."""
    context = {
        "return_url": request.return_url,
        "cancel_url": request.cancel_url or request.return_url,
        "shipping_preference": "NO_SHIPPING",
        **({"brand_name": brand_name} if brand_name else {}),
    }
    body = {
        "payment_source": {"paypal": {"usage_type": "MERCHANT", "experience_context": context}},
        **({"customer": {"id": request.customer_ref}} if request.customer_ref else {}),
    }
    try:
        wire = rest.send(
            "POST", SETUP_TOKENS, body, operation="setup", key=request_id(request.idempotency_key, "setup"), safe=True
        )
    except Refused as refused:
        return _refused(refused, "")
    return _setup(wire or Wire({}))


def complete(rest: Rest, request: SetupRequest) -> SetupResult:
    """Turn an approved setup token into a payment token."""
    body = {"payment_source": {"token": {"id": request.provider_ref, "type": "SETUP_TOKEN"}}}
    try:
        wire = rest.send(
            "POST",
            PAYMENT_TOKENS,
            body,
            operation="complete_setup",
            key=request_id(request.idempotency_key, "vault"),
        )
    except Refused as refused:
        found = status(rest, request)
        # "Not approved yet" is no failure, and a token made already is none either.
        return _refused(refused, request.provider_ref) if found.state is PaymentState.APPROVED else found
    try:
        stored = _stored(wire or Wire({}))
    except WireError as error:
        raise Undecided(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None
    return SetupResult(
        PaymentState.SUCCEEDED,
        provider_ref=request.provider_ref,
        customer_ref=stored.customer_ref,
        stored=stored,
        references=(("payment_token", stored.token),),
    )


def status(rest: Rest, request: SetupRequest) -> SetupResult:
    """Ask how a setup token stands. One that was used is looked up among the customer's payment tokens; where he has several,
    nobody can tell which it became: UNKNOWN."""
    if not request.provider_ref:
        return SetupResult(PaymentState.ABSENT)
    try:
        wire = rest.get(path("v3", "vault", "setup-tokens", request.provider_ref), operation="setup_status")
    except Refused as refused:
        if refused.status == 404:
            return SetupResult(PaymentState.EXPIRED, request.provider_ref, failure=Failure.of("payment_expired"))
        raise refused.error() from None
    found = _setup(wire)
    if text(wire, "status") != "VAULTED":
        return found
    customer = found.customer_ref
    tokens = _tokens_of(rest, customer) if customer else []
    if len(tokens) != 1:
        return SetupResult(PaymentState.UNKNOWN, request.provider_ref, customer_ref=customer)
    return SetupResult(PaymentState.SUCCEEDED, request.provider_ref, customer_ref=customer, stored=tokens[0])


def forget(rest: Rest, stored: StoredMethod) -> None:
    """Delete a payment token; fine where it is gone already."""
    try:
        rest.send("DELETE", path("v3", "vault", "payment-tokens", stored.token), operation="forget", safe=True)
    except Refused as refused:
        if refused.status != 404:
            raise refused.error() from None


def _tokens_of(rest: Rest, customer: str) -> list[StoredMethod]:
    try:
        wire = rest.get(PAYMENT_TOKENS, operation="setup_status", query={"customer_id": customer, "page_size": "5"})
    except Refused as refused:
        if refused.status == 404:
            return []
        raise refused.error() from None
    return [_stored(each) for each in (wire.get("payment_tokens") or Wire([])).items()]


def _setup(wire: Wire) -> SetupResult:
    try:
        number = wire["id"].text(max_length=60)
    except WireError as error:
        raise InvalidRequest(f"PayPal's answer could not be read: {error}.", provider_code="unreadable") from None
    state = STATES.get(text(wire, "status"), PaymentState.UNKNOWN)
    page = link(wire, *PAYER_LINKS)
    waits = state is PaymentState.REQUIRES_ACTION and page
    return SetupResult(
        state,
        provider_ref=number,
        customer_ref=text(wire.get("customer"), "id"),
        next_action={"type": "redirect", "url": page} if waits else None,
        references=(("setup_token", number),),
    )


def _stored(wire: Wire) -> StoredMethod:
    source = wire.get("payment_source")
    wallet = source.get("paypal") if source else None
    return StoredMethod(
        token=wire["id"].text(max_length=60),
        customer_ref=text(wire.get("customer"), "id"),
        type=MethodType.REDIRECT,
        brand="PayPal",
        payer=text(wallet, "email_address"),
    )


def _refused(refused: Refused, provider_ref: str) -> SetupResult:
    if refused.status == 400:
        raise refused.error() from None
    return SetupResult(PaymentState.FAILED, provider_ref, failure=failure_of(refused.issue))
