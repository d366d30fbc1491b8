"""Pesapal's IPN: "the status of this order changed", with no status in it and no signature (documentation, November 2026).

So nothing in it is believed: the order is asked for with the tenant's own token. Pesapal says that its addresses change and
can't be listed; the unguessable path is all that tells its calls from others.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import (
    Ack,
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
from integrations.providers.pesapal.formats import TRACKING_ID, payment_id_of

IPN = "ipn"
STATUS_CHANGED = "IPNCHANGE"
BROWSER_RETURN = "CALLBACKURL"
TOUCHING = frozenset({STATUS_CHANGED, BROWSER_RETURN})
"""Types after which the order is asked for. `RECURRING` is a subscription's charge, which the hub never sets up."""

_REFERENCE = re.compile(r"[0-9A-Za-z_.:-]{1,50}")
_TYPE = re.compile(r"[0-9A-Za-z_-]{1,40}")


@dataclass(frozen=True, slots=True)
class Notice:
    """What an IPN names: the order's tracking id and our reference of it (either may be empty, not both), and its type."""

    tracking: str
    reference: str
    type: str


class PesapalWebhook(WebhookAdapter):
    """The inbound side. Registered for POST; GET, form bodies and other spellings of the members are read as well."""

    provider = "pesapal"
    fixed_paths = (FixedPath("/webhooks/pesapal", IPN, ("GET", "POST")),)
    purposes = frozenset({IPN})
    config_purposes = {IPN: "Payment notifications (IPN): registered through the API, which also gives the notification id"}

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        notice = _read(request)
        ids = (
            ("payment", payment_id_of(notice.reference)),
            ("merchant_reference", notice.reference),
            ("order_tracking", notice.tracking),
        )
        return tuple(Locator(kind, value) for kind, value in ids if value)

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """See `WebhookAdapter`. Without a signature the shape is all there is to check.

        The dedupe key is new for every delivery, on purpose: the IPN of "failed" and of the "paid" that follows on the same
        page are the same bytes, and the second must not be swallowed. A true duplicate costs one more question, no more.
        """
        notice = _read(request)
        trust = Trust.TOKEN if by_token else Trust.HINT
        return Verified(trust, f"ipn:{notice.tracking or notice.reference}:{uuid.uuid4().hex}", notice.type)

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        notice = _read(request)
        if notice.type not in TOUCHING:
            return ()
        return (
            PaymentTouched(
                **origin.fields(self.provider, notice.type),
                refs=tuple(each for each in (notice.tracking, notice.reference) if each),
                provider_ref=notice.tracking,
                payment_id=payment_id_of(notice.reference),
                token_object=origin.token_object,
            ),
        )

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        """Return the three values with lower-case first letters and the number 200; anything else is sent again."""
        try:
            notice = _read(request)
        except MalformedWebhook:
            notice = Notice("", "", STATUS_CHANGED)
        value = {
            "orderNotificationType": notice.type,
            "orderTrackingId": notice.tracking,
            "orderMerchantReference": notice.reference,
            "status": 200,
        }
        return Ack(body=json.dumps(value, separators=(",", ":")).encode())


def _read(request: InboundRequest) -> Notice:
    """Return what the call names, from the body where it has one, else from the address; raise `MalformedWebhook`."""
    members = _members(request)
    tracking = _checked(members.get("ordertrackingid", ""), TRACKING_ID, "OrderTrackingId")
    reference = _checked(members.get("ordermerchantreference", ""), _REFERENCE, "OrderMerchantReference")
    kind = _checked(members.get("ordernotificationtype", "") or STATUS_CHANGED, _TYPE, "OrderNotificationType")
    if not (tracking or reference):
        raise MalformedWebhook("no OrderTrackingId and no OrderMerchantReference")
    return Notice(tracking, reference, kind.upper())


def _members(request: InboundRequest) -> dict[str, str]:
    """Return text members by name, lower-case without separators: seen as `OrderTrackingId` and as `orderTrackingId`."""
    found: Mapping[str, object] = request.query
    if request.body.strip():
        found = request.json().raw if _looks_like_json(request) else request.form()
        if not isinstance(found, dict):
            raise MalformedWebhook("body is not an object")
    return {name.replace("_", "").lower(): value.strip() for name, value in found.items() if isinstance(value, str)}


def _looks_like_json(request: InboundRequest) -> bool:
    return request.body.lstrip()[:1] in (b"{", b"[", b'"') or "json" in request.headers.get("content-type", "").lower()


def _checked(value: str, pattern: re.Pattern[str], name: str) -> str:
    if value and not pattern.fullmatch(value):
        raise MalformedWebhook(f"{name} has not the expected form")
    return value
