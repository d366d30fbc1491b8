"""What Mailgun sends us: one signed event for each request (documentation.mailgun.com "Securing webhooks", November 2026).

The signature covers a time and a token, NOT the body: whoever has seen one request can put another body below its signature.
So each token counts once (`Verified.dedupe_key`), for as long as receipts are kept, and old ones are refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import (
    BadSignature,
    FixedPath,
    InboundEvent,
    InboundRequest,
    Locator,
    MalformedWebhook,
    MessageReported,
    Origin,
    Trust,
    Verified,
    WebhookAdapter,
)
from integrations.contracts.wire import Wire, WireError
from integrations.providers.mailgun.reading import Event, read

EVENTS = "events"
OLDEST = 9 * 3600
"""Seconds. Mailgun repeats for about eight hours; whether it signs anew is unconfirmed, so that old is still believed."""
EARLIEST = 900
"""Seconds that Mailgun's clock may be ahead of ours."""


class MailgunWebhook(WebhookAdapter):
    """The inbound side. `now` gives unix seconds."""

    provider = "mailgun"
    fixed_paths = (FixedPath("/webhooks/mailgun", EVENTS),)
    purposes = frozenset({EVENTS})
    config_purposes = {EVENTS: "Events: Mailgun tells of delivery, bounces, complaints and unsubscribes"}

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return the message's id and the sending domain. Nothing here is believed before `verify`."""
        data = _body(request)["event-data"]
        found = [Locator("message", event.message_id) for event in _events(data) if event.message_id][:1]
        domain = data.get("domain")
        name = domain.get("name") if domain is not None else None
        if name is not None and isinstance(name.raw, str) and name.raw:
            found.append(Locator("domain", name.raw.lower()[:253]))
        return tuple(found)

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """See `WebhookAdapter`. A subaccount's `parent-signature`, made with the parent's key, serves too."""
        body = _body(request)
        block = body["signature"]
        key = str(config.get("webhook_signing_key") or "") if config is not None else ""
        if not key:
            raise BadSignature("there is no signing key to check this with")
        try:
            stamp, token = block["timestamp"].text(max_length=20), block["token"].text(max_length=100)
            given = [block["signature"].text(max_length=64)]
            parent = block.get("parent-signature")
            given += [parent.text(max_length=64)] if parent is not None else []
        except WireError:
            raise BadSignature("the signature is no signature") from None
        # JSON may hold half of a surrogate pair, which UTF-8 has no bytes for: nothing that was ever signed.
        signed = f"{stamp}{token}".encode("utf-8", "surrogatepass")
        expected = hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
        if not any(hmac.compare_digest(expected.encode(), each.encode("utf-8", "surrogatepass")) for each in given):
            raise BadSignature("the signature does not fit")
        # Nothing separates them, so `1` + `23` and `12` + `3` are signed alike: another split would be a token never seen.
        if not re.fullmatch(r"[1-9][0-9]{9}", stamp) or not re.fullmatch(r"[0-9A-Za-z]{16,100}", token):
            raise BadSignature("the signed time or token has not the documented form")
        age = self._now() - int(stamp)
        if age > OLDEST or age < -EARLIEST:
            raise BadSignature("the signature is too old, or from the future")
        return Verified(Trust.SIGNED, token, body["event-data"]["event"].text(max_length=60))

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return the report; none for an event about no message, and none where a machine opened it or followed its links."""
        return tuple(
            MessageReported(
                **origin.fields(self.provider, event.kind),
                provider_ref=event.message_id,
                address=event.address,
                state=event.meaning.state,
                provider_status=event.status,
                detail=event.detail,
                suppress=event.meaning.suppress,
                engagement=event.meaning.engagement,
                ref=event.ref,
                channel="email",
                occurred_at=event.at,
            )
            for event in _events(_body(request)["event-data"])
            if (event.message_id or event.ref) and not (event.is_machine and event.meaning.engagement is not None)
        )


def _body(request: InboundRequest) -> Wire:
    """Return the body, its outer shape checked. Routes of received mail and webhooks of before 2018 are forms, not JSON."""
    if request.purpose != EVENTS:
        raise MalformedWebhook("nothing is sent to this path")
    body = request.json()
    try:
        body["signature"]
        body["event-data"]["event"].text(max_length=60)
    except WireError as error:
        raise MalformedWebhook(str(error)) from None
    return body


def _events(data: Wire) -> tuple[Event, ...]:
    try:
        return read(data)
    except WireError as error:
        raise MalformedWebhook(str(error)) from None
