"""Delivery reports, incoming texts and opt-outs of Africa's Talking (docs.africastalking.com "SMS notifications", 2026-11)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import (
    Ack,
    FixedPath,
    InboundEvent,
    InboundRequest,
    Locator,
    MalformedWebhook,
    MessageReceived,
    MessageReported,
    Origin,
    Trust,
    ValidationAnswer,
    Verified,
    WebhookAdapter,
)
from integrations.contracts.messaging import MessageState
from integrations.providers.africastalking.codes import DELIVERY_DETAILS, DELIVERY_STATES, SUPPRESSING_REASONS

DLR, INBOX, OPT_OUT = "dlr", "inbox", "optout"
EVENT_TYPE = "delivery_report"
INCOMING = "incoming_message"
OPTED_OUT = "bulk_sms_opt_out"
LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class _Report:
    """The fields of a report; `number` is E.164."""

    id: str
    status: str
    number: str
    reason: str
    retry_count: str


class AfricasTalkingWebhook(WebhookAdapter):
    """Reports are unsigned, so an unguessable path is the proof. One URL of each kind per app, set by hand in the dashboard.

    The provider's retry policy is unpublished: reports may be lost, doubled or out of order. An opt-out names no moment and has
    no id: several of one number on one day are taken for one. `now` tells the day.
    """

    provider = "africastalking"
    fixed_paths = (FixedPath("/webhooks/sms/delivery", DLR),)
    purposes = frozenset({DLR, INBOX, OPT_OUT})
    config_purposes = {
        DLR: "Delivery reports: paste into SMS > SMS Callback URLs > Delivery Reports",
        INBOX: "Texts to your shortcode: paste into SMS > SMS Callback URLs > Incoming Messages",
        OPT_OUT: "Opt-outs: paste into SMS > SMS Callback URLs > Bulk SMS Opt Out",
    }

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return the message id; nothing where the body is another provider's (the fixed path is shared)."""
        form = request.form()
        if not {"id", "status", "phoneNumber"} <= form.keys():
            return ()
        return (Locator("message", _report(request).id),)

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """Check the shape. The dedupe key holds the trust too: a forged hint must not use up the key of a true report."""
        if request.purpose == INBOX:
            return Verified(trust=_of_path(by_token), dedupe_key=f"in:{_text(request).id}", provider_event_type=INCOMING)
        if request.purpose == OPT_OUT:
            sender, number = _opt_out(request)
            key = f"out:{sender}:{number}:{self._now():%Y-%m-%d}"
            return Verified(trust=_of_path(by_token), dedupe_key=key, provider_event_type=OPTED_OUT)
        report = _report(request)
        trust = Trust.TOKEN if by_token else Trust.HINT
        fact = "\0".join((trust, report.id, report.number, report.status, report.reason, report.retry_count))
        return Verified(
            trust=trust, dedupe_key=f"dlr:{hashlib.sha256(fact.encode()).hexdigest()}", provider_event_type=EVENT_TYPE
        )

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return the one report, text or opt-out. A status that we do not know has `state` None and is kept raw."""
        if request.purpose == INBOX:
            return (_received(self.provider, _text(request), origin),)
        if request.purpose == OPT_OUT:
            return (_opted_out(self.provider, *_opt_out(request), origin),)
        report = _report(request)
        state = DELIVERY_STATES.get(report.status)
        return (
            MessageReported(
                **origin.fields(self.provider, EVENT_TYPE),
                provider_ref=report.id,
                address=report.number,
                state=state,
                provider_status=report.status,
                detail=report.reason or DELIVERY_DETAILS.get(report.status, ""),
                suppress=SUPPRESSING_REASONS.get(report.reason) if state is MessageState.FAILED else None,
            ),
        )

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        return Ack(status=200, body=b"", content_type="text/plain")


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that somebody wrote; `number` is E.164, `to` the shortcode or number he wrote to."""

    id: str
    number: str
    to: str
    text: str
    at: datetime | None


def _of_path(by_token: bool) -> Trust:
    return Trust.TOKEN if by_token else Trust.HINT


def _text(request: InboundRequest) -> _Text:
    form = request.form()
    text = form.get("text", "")
    if len(text) > LONGEST_TEXT or "\0" in text:
        raise MalformedWebhook("text has not the documented form")
    number, to = _number(form, "from"), _value(form, "to")
    return _Text(_value(form, "id", required=True), number, to, text, _time(_value(form, "date")))


def _opt_out(request: InboundRequest) -> tuple[str, str]:
    form = request.form()
    return _value(form, "senderId"), _number(form, "phoneNumber")


def _received(provider: str, said: _Text, origin: Origin) -> MessageReceived:
    return MessageReceived(
        **origin.fields(provider, INCOMING),
        channel="sms",
        provider_ref=said.id,
        address=said.number,
        to=said.to,
        text=said.text,
        occurred_at=said.at,
    )


def _opted_out(provider: str, sender: str, number: str, origin: Origin) -> MessageReceived:
    # The provider scopes it to the sender; whoever says stop to one name of a tenant's is not written to under another.
    return MessageReceived(
        **origin.fields(provider, OPTED_OUT), channel="sms", provider_ref="", address=number, to=sender, opt_out=True
    )


def _time(text: str) -> datetime | None:
    """Return the moment; both forms in use are UTC. None for another form: then it is the moment it came."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _report(request: InboundRequest) -> _Report:
    form = request.form()
    report_id = _value(form, "id", required=True)
    status = _value(form, "status", required=True)
    number = _number(form, "phoneNumber")
    return _Report(report_id, status, number, _value(form, "failureReason"), _value(form, "retryCount"))


def _number(form: dict[str, str], name: str) -> str:
    # A `+` that was not percent-encoded reads as a space.
    digits = re.sub(r"[\s+]", "", _value(form, name, required=True))
    if not re.fullmatch(r"[0-9]{5,20}", digits):
        raise MalformedWebhook(f"{name} is not a phone number")
    return f"+{digits}"


def _value(form: dict[str, str], name: str, *, required: bool = False) -> str:
    value = form.get(name, "").strip()
    if required and not value:
        raise MalformedWebhook(f"{name} is missing")
    if len(value) > 100 or "\0" in value:
        raise MalformedWebhook(f"{name} has not the documented form")
    return "" if value in {"null", "None"} and not required else value
