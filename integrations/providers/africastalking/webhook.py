"""Delivery reports of Africa's Talking (docs.africastalking.com "Delivery reports", read 2026-11)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import (
    Ack,
    FixedPath,
    InboundEvent,
    InboundRequest,
    Locator,
    MalformedWebhook,
    MessageReported,
    Origin,
    Trust,
    ValidationAnswer,
    Verified,
    WebhookAdapter,
)
from integrations.contracts.messaging import MessageState
from integrations.providers.africastalking.codes import DELIVERY_DETAILS, DELIVERY_STATES, SUPPRESSING_REASONS

DLR = "dlr"
EVENT_TYPE = "delivery_report"


@dataclass(frozen=True, slots=True)
class _Report:
    """The fields of a report; `number` is E.164."""

    id: str
    status: str
    number: str
    reason: str
    retry_count: str


class AfricasTalkingWebhook(WebhookAdapter):
    """Reports are unsigned, so an unguessable path is the proof. One URL per app, set by hand in the dashboard.

    The provider's retry policy is unpublished: reports may be lost, doubled or out of order.
    """

    provider = "africastalking"
    fixed_paths = (FixedPath("/webhooks/sms/delivery", DLR),)
    purposes = frozenset({DLR})
    config_purposes = {DLR: "Delivery reports: paste into SMS > SMS Callback URLs > Delivery Reports"}

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return the message id; nothing where the body is another provider's (the fixed path is shared)."""
        form = request.form()
        if not {"id", "status", "phoneNumber"} <= form.keys():
            return ()
        return (Locator("message", _report(request).id),)

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """Check the shape. The dedupe key holds the trust too: a forged hint must not use up the key of a true report."""
        report = _report(request)
        trust = Trust.TOKEN if by_token else Trust.HINT
        fact = "\0".join((trust, report.id, report.number, report.status, report.reason, report.retry_count))
        return Verified(
            trust=trust, dedupe_key=f"dlr:{hashlib.sha256(fact.encode()).hexdigest()}", provider_event_type=EVENT_TYPE
        )

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return the one report. A status that we do not know has `state` None and is kept raw."""
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


def _report(request: InboundRequest) -> _Report:
    form = request.form()
    report_id = _value(form, "id", required=True)
    status = _value(form, "status", required=True)
    # A `+` that was not percent-encoded reads as a space.
    digits = re.sub(r"[\s+]", "", _value(form, "phoneNumber", required=True))
    if not re.fullmatch(r"[0-9]{5,20}", digits):
        raise MalformedWebhook("phoneNumber is not a phone number")
    return _Report(report_id, status, f"+{digits}", _value(form, "failureReason"), _value(form, "retryCount"))


def _value(form: dict[str, str], name: str, *, required: bool = False) -> str:
    value = form.get(name, "").strip()
    if required and not value:
        raise MalformedWebhook(f"{name} is missing")
    if len(value) > 100 or "\0" in value:
        raise MalformedWebhook(f"{name} has not the documented form")
    return "" if value in {"null", "None"} and not required else value
