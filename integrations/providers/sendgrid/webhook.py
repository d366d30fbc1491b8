"""What SendGrid sends us: signed batches of events (Event Webhook reference, November 2026).

Events come at least once and in any order; a batch mixes messages and recipients. What is not acknowledged is sent again at
growing intervals for up to 24 hours.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

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
from integrations.contracts.messaging import MessageState
from integrations.contracts.wire import WireError
from integrations.providers.sendgrid.codes import DROPPED_FOR, MEANINGS, Meaning
from integrations.providers.sendgrid.notes import ref_for

EVENTS = "events"
SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"
TOLERANCE = 48 * 3600
"""Seconds between the signed time and ours, either way. Whether a retry, for 24 hours, is signed anew is unconfirmed."""
LOCATORS = 20
TEXT_LIMIT = 300
LONGEST_ADDRESS = 320


class SendGridWebhook(WebhookAdapter):
    """The inbound side. `now` gives unix seconds."""

    provider = "sendgrid"
    fixed_paths = (FixedPath("/webhooks/sendgrid", EVENTS),)
    purposes = frozenset({EVENTS})
    config_purposes = {EVENTS: "Event Webhook: SendGrid tells of deliveries, bounces, complaints, openings and clicks"}

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return the ids of the first messages in the batch; all belong to one account. Nothing is believed before `verify`."""
        refs = dict.fromkeys(_message_ref(each) for each in _entries(request))
        return tuple(Locator("message", ref) for ref in [each for each in refs if each][:LOCATORS])

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """See `WebhookAdapter`. Signed are the time as sent and the raw body, its last line break included.

        The dedupe key is made of the facts in the batch: a replay, or a retry signed anew, has the same.
        """
        key = str(config.get("webhook_public_key") or "") if config is not None else ""
        if not key:
            raise BadSignature("there is no verification key to check this with")
        signed_at = _header(request.headers, TIMESTAMP_HEADER)
        if not re.fullmatch(r"[0-9]{1,12}", signed_at):
            raise BadSignature("there is no signed time")
        if not signature_fits(key, _header(request.headers, SIGNATURE_HEADER), signed_at, request.body):
            raise BadSignature("the signature does not fit")
        if abs(self._now() - int(signed_at)) > TOLERANCE:
            raise BadSignature("the signature is too old, or from the future")
        entries = list(_entries(request))
        facts = "\n".join(sorted({_fact(each) for each in entries})) or request.digest()
        kinds = {_text(each, "event") for each in entries}
        kind = kinds.pop() if len(kinds) == 1 else ""
        return Verified(Trust.SIGNED, f"events:{hashlib.sha256(facts.encode()).hexdigest()}", kind[:100] or "batch")

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return the facts in the batch, each once. Entries without an address or event name are skipped."""
        found: dict[str, InboundEvent] = {}
        for entry in _entries(request):
            event = self._event(entry, origin)
            if event is not None:
                found.setdefault(_fact(entry), event)
        return tuple(found.values())

    def _event(self, entry: Mapping[str, Any], origin: Origin) -> InboundEvent | None:
        name, address = _text(entry, "event"), _text(entry, "email", limit=LONGEST_ADDRESS + 1)
        # The account's own changes have no address; an opening by a machine is no opening.
        if not name or "@" not in address or len(address) > LONGEST_ADDRESS or entry.get("sg_machine_open") is True:
            return None
        status = "blocked" if name == "bounce" and _text(entry, "type") == "blocked" else name
        meaning = MEANINGS.get(status, Meaning())
        detail = _text(entry, "reason") or _text(entry, "response")
        suppress = DROPPED_FOR.get(detail.lower()) if status == "dropped" else meaning.suppress
        if meaning.state is MessageState.DELIVERED:
            detail = ""
        return MessageReported(
            **origin.fields(self.provider, name[:100]),
            provider_ref=_message_ref(entry),
            address=address,
            state=meaning.state,
            provider_status=status[:60],
            detail=detail,
            suppress=suppress,
            engagement=meaning.engagement,
            ref=ref_for(entry, address),
            occurred_at=_time(entry),
        )


def signature_fits(key: str, signature: str, signed_at: str, body: bytes) -> bool:
    """Tell whether `signature` (base64 of DER) is that of `key` (base64 of a DER P-256 public key) over time and body."""
    try:
        public = serialization.load_der_public_key(base64.b64decode(key, validate=True))
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        signed = base64.b64decode(signature, validate=True)
        public.verify(signed, signed_at.encode("ascii") + body, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _entries(request: InboundRequest) -> Iterator[Mapping[str, Any]]:
    """Return the batch's entries that are objects; raise `MalformedWebhook` where it is no list."""
    if request.purpose != EVENTS:
        raise MalformedWebhook("nothing is sent to this path")
    try:
        entries = list(request.json().items())
    except WireError as error:
        raise MalformedWebhook(str(error)) from None
    return (entry.raw for entry in entries if isinstance(entry.raw, dict))


def _fact(entry: Mapping[str, Any]) -> str:
    """Return what two deliveries of one event have in common."""
    own = _text(entry, "sg_event_id")
    if own:
        return own
    parts = (*(_text(entry, name) for name in ("sg_message_id", "event", "email")), str(_time(entry)))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _message_ref(entry: Mapping[str, Any]) -> str:
    """Return the id that the send was answered with: the start of `sg_message_id`. Old ids hold dots themselves, so it ends
    where the name of the server begins that took the message (`recvd-…`, `filter…`), else at the first dot."""
    whole = _text(entry, "sg_message_id")
    found = re.match(r"(.+?)\.(?:recvd|filter)", whole)
    return (found[1] if found else whole.partition(".")[0])[:200]


def _time(entry: Mapping[str, Any]) -> datetime | None:
    seconds = entry.get("timestamp")
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 < seconds < 10**11:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _text(entry: Mapping[str, Any], name: str, limit: int = TEXT_LIMIT) -> str:
    """Return a member as one line of text that a database takes; '' where it is absent or no text."""
    value = entry.get(name)
    if not isinstance(value, str):
        return ""
    clean = value[: 4 * limit].replace("\0", "").encode("utf-8", errors="replace").decode("utf-8")
    return " ".join(clean.split())[:limit]


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name.lower()), "")
