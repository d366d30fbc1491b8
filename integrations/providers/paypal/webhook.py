"""PayPal's webhooks: signed, repeated for three days, in no particular order. Each only says which payment to read again.

Event names and resources: PayPal's webhook event list and the schemas of the resources' own APIs (read 2026-11).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from integrations.contracts import clock
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
from integrations.providers.paypal import signature
from integrations.providers.paypal.certificates import Certificates, Fetch, UnchainedCertificate, UntrustedCertificate, download
from integrations.providers.paypal.provider import SIMULATED_EVENTS_ID
from integrations.providers.paypal.reading import text
from integrations.providers.paypal.subjects import Subject, subjects

EVENTS = "events"
SUBSCRIBED = "*"
"""All events of the app: a name that PayPal does not know (some were renamed) would have the whole registration refused. Those
that name no payment are stored and mean nothing."""

log = logging.getLogger(__name__)


class PaypalWebhook(WebhookAdapter):
    """The inbound side. No database; the one thing fetched is PayPal's certificate, from PayPal's host alone (see
    `certificates`), once per URL and process."""

    provider = "paypal"
    fixed_paths = (FixedPath("/webhooks/paypal", EVENTS),)
    purposes = frozenset({EVENTS})
    config_purposes = {EVENTS: "Events of the REST app: approvals, captures, refunds, disputes"}

    def __init__(self, fetch: Fetch = download) -> None:
        self._certificates = Certificates(fetch)

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return our payment id where the body carries it, then PayPal's ids that an answer of PayPal's named before."""
        with _malformed():
            _number, event_type, wire = _event(request)
            found = subjects(event_type, wire["resource"])
        locators = [Locator("payment", each.payment_id) for each in found if each.payment_id]
        locators += [Locator(kind, ref) for each in found for kind, ref in each.refs]
        return tuple(dict.fromkeys(locators))

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """See `WebhookAdapter`. SIGNED where signature and certificate hold. HINT where the signature holds and the
        certificate came from PayPal's host in PayPal's name, but without the chain that leads to a known authority.

        Everything else is refused, a certificate that can't be fetched too: PayPal sends again. Without a config (nobody is
        known by what the body refers to), or without its webhook id, nothing can be checked and all is refused.
        """
        with _malformed():
            number, event_type, _wire = _event(request)
        now = clock.now()
        transmission = signature.read(request.headers, now)
        webhook_id = str(config.get("webhook_id") or "") if config is not None else ""
        if config is None or not webhook_id or webhook_id == SIMULATED_EVENTS_ID:
            raise BadSignature("there is no webhook id to check the signature with")
        trust = Trust.SIGNED
        try:
            key = self._certificates.key(transmission.certificate_url, config, now)
        except UnchainedCertificate as unchained:
            trust, key = Trust.HINT, unchained.key
        except UntrustedCertificate as untrusted:
            log.warning("webhook certificate refused: %s", untrusted)
            raise BadSignature("the certificate is not PayPal's") from None
        signature.check(transmission, webhook_id, request.body, key)
        return Verified(trust, f"{number}:{trust.value}", event_type)

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        with _malformed():
            _number, event_type, wire = _event(request)
            found = subjects(event_type, wire["resource"])
        return tuple(self._touched(each, event_type, origin) for each in found)

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        """Any 2xx will do; PayPal does not read the body."""
        return Ack(body=json.dumps({"received": True}).encode())

    def _touched(self, subject: Subject, event_type: str, origin: Origin) -> PaymentTouched:
        return PaymentTouched(
            **origin.fields(self.provider, event_type),
            refs=tuple(ref for _kind, ref in subject.refs),
            provider_ref=subject.order,
            payment_id=subject.payment_id,
            token_object=origin.token_object,
        )


@contextmanager
def _malformed() -> Iterator[None]:
    try:
        yield
    except WireError as error:
        raise MalformedWebhook(str(error)) from None


def _event(request: InboundRequest) -> tuple[str, str, Wire]:
    """Return id, type and the whole of an event; raise for anything that is no event with a resource."""
    wire = request.json()
    number, event_type = wire["id"].text(max_length=100), wire["event_type"].text(max_length=100)
    if not re.fullmatch(r"[A-Za-z0-9-]+", number) or not re.fullmatch(r"[A-Z0-9._-]+", event_type):
        raise MalformedWebhook("id or event_type has another form than PayPal's")
    if not isinstance(wire["resource"].raw, dict):
        raise MalformedWebhook("resource is no object")
    text(wire, "resource_type")
    return number, event_type, wire
