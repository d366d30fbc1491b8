"""What Stripe sends us: signed events. Each is only the reason to ask Stripe how the object stands now.

Source: docs.stripe.com/webhooks (provider sheet, November 2026). Events are delivered at least once and in any order, up to
three days late, each signed anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stripe import SignatureVerificationError, WebhookSignature

from integrations.contracts.adapter import ConfigView
from integrations.contracts.capabilities import Environment
from integrations.contracts.inbound import (
    Ack,
    BadSignature,
    FixedPath,
    InboundEvent,
    InboundRequest,
    Locator,
    MalformedWebhook,
    Origin,
    PaymentTouched,
    SetupTouched,
    Trust,
    Verified,
    WebhookAdapter,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.stripe.reading import PAYMENT_ID, SETUP_ID, id_of

EVENTS = "events"
TOLERANCE = 300
"""Seconds between Stripe's clock and ours, either way. Stripe's library checks the past only."""

PAYMENT_EVENTS = (
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.expired",
    "charge.refund.updated",
    "charge.refunded",
    "refund.created",
    "refund.updated",
)
SETUP_EVENTS = ("setup_intent.canceled", "setup_intent.requires_action", "setup_intent.setup_failed", "setup_intent.succeeded")
LATER_EVENTS = frozenset({"refund.failed", "payment_intent.partially_funded"})
"""Understood when they come; not asked for, since API version 2023-10-16 does not know them all."""


class StripeWebhook(WebhookAdapter):
    """The inbound side. `now` gives unix seconds."""

    provider = "stripe"
    fixed_paths = (FixedPath("/api/webhooks/stripe", EVENTS), FixedPath("/webhooks/stripe", EVENTS))
    purposes = frozenset({EVENTS})
    config_purposes = {EVENTS: "Events: Stripe tells of payments, refunds, disputes and stored cards"}

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return our payment's id, Stripe's ids of it, the connected account. Nothing here is believed before `verify`."""
        event = _event(request)
        thing = _thing(event)
        found = [("payment", _note(thing, PAYMENT_ID)), ("setup", _note(thing, SETUP_ID))]
        found += [*_refs(thing).items(), ("connected_account", str(event.get("account") or ""))]
        return tuple(Locator(kind, value[:255]) for kind, value in found if value)

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """See `WebhookAdapter`. The signature is checked on the raw body by Stripe's own library, the time by us as well.

        An event of the other mode (live, test) is refused: it can't be about this config's payments.
        """
        secret = str(config.get("webhook_secret") or "") if config is not None else ""
        if config is None or not secret:
            raise BadSignature("there is no signing secret to check this with")
        header = _header(request.headers, "stripe-signature")
        if not header.isascii():
            # The library would raise TypeError: it compares as text.
            raise BadSignature("the signature is no signature")
        try:
            payload = request.body.decode("utf-8")
            # ValueError: the library takes numbers apart without looking.
            WebhookSignature.verify_header(payload, header, secret, tolerance=None)
            signed_at = int(_timestamp(header))
        except (SignatureVerificationError, ValueError):
            raise BadSignature("the signature does not fit") from None
        if abs(self._now() - signed_at) > TOLERANCE:
            raise BadSignature("the signature is too old, or from the future")
        event = _event(request)
        if event.get("livemode") is not (config.environment is Environment.PRODUCTION):
            raise BadSignature("the event is of the other mode (live or test)")
        return Verified(Trust.SIGNED, str(event["id"]), str(event["type"])[:100])

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        event = _event(request)
        kind, thing = str(event["type"]), _thing(event)
        common = origin.fields(self.provider, kind[:100])
        refs = _refs(thing)
        if kind in SETUP_EVENTS:
            ref = refs.get("setup_intent", "")
            return (SetupTouched(**common, provider_ref=ref, setup_id=_note(thing, SETUP_ID)),) if ref else ()
        if kind not in PAYMENT_EVENTS and kind not in LATER_EVENTS:
            return ()
        if not refs:
            raise MalformedWebhook("data.object names no payment")
        return (
            PaymentTouched(
                **common,
                refs=tuple(refs.values()),
                provider_ref=refs.get("payment_intent", ""),
                payment_id=_note(thing, PAYMENT_ID),
            ),
        )

    def ack(self, request: InboundRequest, answer: Any = None) -> Ack:
        return Ack(body=b'{"received":true}')


def _event(request: InboundRequest) -> Mapping[str, Any]:
    """Return the event, its outer shape checked."""
    if request.purpose != EVENTS:
        raise MalformedWebhook("nothing is sent to this path")
    wire: Wire = request.json()
    try:
        _check_shape(wire)
    except WireError as error:
        raise MalformedWebhook(str(error)) from None
    event: Mapping[str, Any] = wire.raw
    return event


def _check_shape(wire: Wire) -> None:
    if wire["object"].text() != "event":
        raise WireError("object is no event")
    for name in ("id", "type"):
        if not wire[name].text(max_length=255):
            raise WireError(f"{name} is empty")
    if not isinstance(wire["livemode"].raw, bool):
        raise WireError("livemode is neither true nor false")
    if not isinstance(wire["data"]["object"].raw, dict):
        raise WireError("data.object is no object")


def _thing(event: Mapping[str, Any]) -> Mapping[str, Any]:
    thing: Mapping[str, Any] = event["data"]["object"]
    return thing


def _refs(thing: Mapping[str, Any]) -> dict[str, str]:
    """Return the ids in an event's object by kind, the payment's own first."""
    kind, own = thing.get("object"), id_of(thing)
    match kind:
        case "payment_intent":
            found = {"payment_intent": own, "charge": id_of(thing.get("latest_charge"))}
        case "charge":
            found = {"payment_intent": id_of(thing.get("payment_intent")), "charge": own}
        case "refund" | "dispute":
            found = {"payment_intent": id_of(thing.get("payment_intent")), "charge": id_of(thing.get("charge")), kind: own}
        case "setup_intent":
            found = {"setup_intent": own}
        case _:
            found = {}
    return {name: ref[:255] for name, ref in found.items() if ref}


def _note(thing: Mapping[str, Any], name: str) -> str:
    """Return what we left in the object's metadata."""
    metadata = thing.get("metadata")
    value = metadata.get(name) if isinstance(metadata, dict) else None
    return value[:100] if isinstance(value, str) else ""


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _timestamp(header: str) -> str:
    """Return the time that Stripe's library has just checked: the first `t`, spelt exactly so. Reading the header any other
    way would let a second, unsigned time stand in for an old one."""
    return next((part.split("=")[1] for part in header.split(",") if part.split("=")[0] == "t"), "")
