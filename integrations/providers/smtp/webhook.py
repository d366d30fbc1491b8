"""Bounces and complaints: mail to the bounce domain, handed to `/hooks/<token>/bounce` by the tenant's mail pipe as it came."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from email.message import Message

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import (
    Ack,
    BadSignature,
    InboundEvent,
    InboundRequest,
    MalformedWebhook,
    MessageReported,
    Origin,
    Trust,
    ValidationAnswer,
    Verified,
    WebhookAdapter,
)
from integrations.contracts.messaging import Engagement, MessageState, SuppressReason
from integrations.providers.smtp import verp
from integrations.providers.smtp.codes import bounce_suppression
from integrations.providers.smtp.reports import Notice, notices, parse_mail, return_addresses

BOUNCE = "bounce"
EVENT_TYPE = "delivery_report"
# The parser of the standard library takes time that grows with parts times lines, and with the square of a header's length:
# anybody who can send mail to the bounce domain reaches it, so what no mail server writes is refused before it is parsed.
LARGEST = 256 * 1024
MOST_PARTS = 20
CONTAINERS = re.compile(rb"(?im)^content-type:[ \t]*(?:multipart|message)/")
LONG_LINE = re.compile(rb"(?m)^[^\r\n]{8000}")
# RFC 3464, 2.3.3. `expanded` (a list took it) says nothing about anybody.
STATES = {"failed": MessageState.BOUNCED, "delivered": MessageState.DELIVERED, "relayed": MessageState.SENT}


class SmtpWebhook(WebhookAdapter):
    """The body is one mail, as received (RFC 5322). Reports are unsigned mail that anybody may send: only one that came to a
    return address with the hub's own tag counts, whoever posts it."""

    provider = "smtp"
    purposes = frozenset({BOUNCE})
    config_purposes = {BOUNCE: "Bounces: have the mail server pipe mail of the bounce domain to this URL"}

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """Check the tag of the return address that the mail was delivered to. The same report twice has one key."""
        mail = _mail(request)
        if config is None or not by_token:
            raise BadSignature
        ref = _ref(mail, config)
        said = (
            "\0".join(f"{each.action}\0{each.address.lower()}\0{each.status}" for each in notices(mail))
            or hashlib.sha256(request.body).hexdigest()
        )
        fact = hashlib.sha256(f"{ref}\0{said}".encode()).hexdigest()
        return Verified(trust=Trust.SIGNED, dedupe_key=f"bounce:{fact}", provider_event_type=EVENT_TYPE)

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return one event for each recipient that the report names; none where the mail is no report."""
        mail = _mail(request)
        ref = _checked_ref(mail)
        return [self._event(each, ref, origin) for each in notices(mail) if each.action != "expanded"]

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        return Ack(status=200, body=b"", content_type="text/plain")

    def _event(self, notice: Notice, ref: str, origin: Origin) -> MessageReported:
        state = STATES.get(notice.action)
        suppress = bounce_suppression(notice.status) if state is MessageState.BOUNCED else None
        if notice.action == "complaint":
            state, suppress = MessageState.COMPLAINED, SuppressReason.COMPLAINT
        return MessageReported(
            **origin.fields(self.provider, EVENT_TYPE),
            provider_ref=notice.original_id,
            address=notice.address,
            state=state,
            provider_status=f"{notice.action} {notice.status}".strip(),
            detail=notice.detail,
            suppress=suppress,
            engagement=Engagement.DEFERRED if notice.action == "delayed" else None,
            ref=ref,
            channel="email",
            occurred_at=notice.occurred_at,
        )


def _mail(request: InboundRequest) -> Message:
    if not request.body.strip():
        raise MalformedWebhook("body is empty: post the mail as it was received")
    if len(request.body) > LARGEST or len(CONTAINERS.findall(request.body)) > MOST_PARTS or LONG_LINE.search(request.body):
        raise MalformedWebhook("no report is that large, nested or wide: reports of mail servers are small")
    try:
        mail = parse_mail(request.body)
    except RecursionError:
        raise MalformedWebhook("the parts are nested too deeply") from None
    if not mail.keys():
        raise MalformedWebhook("body is no mail (RFC 5322)")
    return mail


def _ref(mail: Message, config: ConfigView) -> str:
    """Return the note of the return address that this mail was sent to; raise `BadSignature` unless the hub wrote it.

    A mail to several return addresses is no report. Nor may a good tag lend itself to a forged one beside it.
    """
    domain, secret = str(config.get("bounce_domain") or ""), str(config.get("bounce_secret") or "")
    found = set(verp.notes_in(return_addresses(mail)))
    if len(found) != 1:
        raise BadSignature
    ((ref, given, at),) = found
    if not verp.is_ours(ref, given, at, domain=domain, secret=secret):
        raise BadSignature
    return ref


def _checked_ref(mail: Message) -> str:
    """Return the note whose tag `verify` has checked."""
    found = verp.notes_in(return_addresses(mail))
    return found[0][0] if found else ""
