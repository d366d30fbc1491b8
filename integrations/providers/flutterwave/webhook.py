"""Flutterwave's webhooks: one URL per account and mode, pasted into its dashboard by hand.

v3 sends the secret hash itself in `verif-hash`; some accounts send `flutterwave-signature`, base64(HMAC-SHA256(body)) with
the secret hash as key (docs, webhooks page, 2026-11). The plain hash travels in every request and proves no body, so
whatever comes is only a reason to ask. Anything but HTTP 200 counts as failed; retries must be switched on in the dashboard.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from integrations.contracts.adapter import ConfigView
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
    Trust,
    ValidationAnswer,
    Verified,
    WebhookAdapter,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.flutterwave import references

EVENTS = "events"
CHARGE, REFUND = "charge.completed", "refund.completed"
PLAIN_HEADER, SIGNATURE_HEADER = "verif-hash", "flutterwave-signature"
V2 = "v2"
"""Old accounts get flat bodies without `event`: acknowledged, and the payment's own polls find out."""


@dataclass(frozen=True, slots=True)
class _Notice:
    """What a body refers to; empty where it does not say."""

    event: str
    tx_ref: str
    transaction: str
    subject: str
    """The id of what the event is about, for the dedupe key: a transaction's or a refund's."""
    status: str


class FlutterwaveWebhook(WebhookAdapter):
    """The inbound side."""

    provider = "flutterwave"
    fixed_paths = (FixedPath("/webhooks/flutterwave", EVENTS),)
    purposes = frozenset({EVENTS})
    config_purposes = {EVENTS: "Webhook URL: paste into Dashboard > Settings > Webhooks, with the secret hash of this config"}

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        notice = _read(request)
        own = references.payment_id(notice.tx_ref)
        found = [Locator("payment", own)] if own else []
        return [*found, *([Locator("transaction", notice.transaction)] if notice.transaction else [])]

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """See `WebhookAdapter`. SIGNED only for an HMAC: a bare secret is as good as an unguessable path, no better.

        The dedupe key holds the trust and the body: what only claims to be the same fact does not swallow it.
        """
        trust = _trust(request, config)
        notice = _read(request)
        key = f"{notice.event[:60]}:{notice.subject}:{notice.status[:60]}:{trust.value}:{request.digest()}"
        return Verified(trust, key, notice.event)

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return that a payment of ours was touched; nothing for transfers, old bodies and what was not paid through us."""
        notice = _read(request)
        own = references.payment_id(notice.tx_ref)
        if notice.event not in (CHARGE, REFUND) or (notice.tx_ref and not own):
            return ()
        refs = tuple(ref for ref in (notice.tx_ref, notice.transaction) if ref)
        if not refs:
            raise MalformedWebhook("the body names no transaction")
        return (
            PaymentTouched(
                **origin.fields(self.provider, notice.event),
                refs=refs,
                provider_ref=notice.tx_ref,
                payment_id=own,
                token_object=origin.token_object,
            ),
        )

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        """Exactly 200: other 2xx answers count as failures (webhooks page)."""
        return Ack(status=200, body=b"{}")


def _trust(request: InboundRequest, config: ConfigView | None) -> Trust:
    secret = str(config.get("secret_hash") or "") if config is not None else ""
    if config is None or not secret:
        raise BadSignature("no secret hash is configured")
    headers = {name.lower(): value for name, value in request.headers.items()}
    signature, plain = headers.get(SIGNATURE_HEADER, ""), headers.get(PLAIN_HEADER, "")
    digest = base64.b64encode(hmac.new(secret.encode(), request.body, hashlib.sha256).digest()).decode()
    if signature and _same(signature, digest):
        return Trust.SIGNED
    if plain and _same(plain, secret):
        return Trust.TOKEN
    if signature and config.get("plain_signature") is True and _same(signature, secret):
        return Trust.TOKEN
    raise BadSignature("neither verif-hash nor flutterwave-signature fits")


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def _read(request: InboundRequest) -> _Notice:
    wire = request.json()
    if not isinstance(wire.raw, dict):
        raise MalformedWebhook("body is not an object")
    try:
        if wire.get("event") is None:
            if wire.get("txRef") is None and wire.get("event.type") is None:
                raise MalformedWebhook("event is missing")
            return _Notice(V2, _text(wire, "txRef"), "", _text(wire, "id"), _text(wire, "status"))
        return _notice(wire["event"].text(max_length=100), wire["data"])
    except WireError as error:
        raise MalformedWebhook(str(error)) from None


def _notice(event: str, data: Wire) -> _Notice:
    if not isinstance(data.raw, dict):
        raise WireError("data is not an object")
    status = _text(data, "status", "Status")
    subject = _text(data, "id", "Id")
    if event == CHARGE:
        return _Notice(event, data["tx_ref"].text(max_length=200), str(data["id"].integer()), subject, status)
    transaction = _text(data, "TransactionId", "tx_id") if event == REFUND else ""
    tx_ref = _text(data, "TxRef", "tx_ref") if event == REFUND else ""
    return _Notice(event, tx_ref, transaction, subject, status)


def _text(data: Wire, *names: str) -> str:
    found = next((each for each in map(data.get, names) if each is not None), None)
    return found.text(max_length=200) if found else ""
