"""What Twilio sends us: status callbacks and incoming messages, both signed forms, told apart by what they hold.

Source: twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks and .../webhook-request (sheet of November
2026). Fields vary by channel and grow without notice; callbacks come in any order and more than once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from integrations.contracts.adapter import ConfigView
from integrations.contracts.inbound import (
    Ack,
    BadSignature,
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
from integrations.providers.twilio.codes import INBOUND_STATUSES, STATES, detail_of, suppression_of
from integrations.providers.twilio.signature import fits

STATUS, INBOUND = "status", "inbound"
SHARED = "dlr"
"""The purpose under which providers share the fixed path for delivery reports."""

MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
REF = re.compile(r"[0-9a-z_]{1,64}")
CHANNELS = {"": "sms", "whatsapp": "whatsapp"}
OPT_OUTS = {"STOP": True, "START": False}
MOST_MEDIA = 10


class TwilioWebhook(WebhookAdapter):
    """The body says what it is, whatever the purpose: whoever pastes one URL in both places loses nothing."""

    provider = "twilio"
    fixed_paths = (FixedPath("/webhooks/sms/delivery", SHARED), FixedPath("/webhooks/twilio", STATUS))
    purposes = frozenset({STATUS, INBOUND, SHARED})
    config_purposes = {
        INBOUND: "Incoming messages: paste (HTTP POST) into the number's or Messaging Service's 'A message comes in', and into "
        "the WhatsApp sender's",
    }

    def locate(self, request: InboundRequest) -> Sequence[Locator]:
        """Return the message's id, then the account's; nothing where the body is another provider's (a path is shared)."""
        form = request.form()
        sid, account = _sid(form), form.get("AccountSid", "")
        if not MESSAGE_SID.fullmatch(sid) or not ACCOUNT_SID.fullmatch(account):
            return ()
        return Locator("message", sid), Locator("account_sid", account)

    def verify(self, request: InboundRequest, config: ConfigView | None, *, by_token: bool) -> Verified:
        """See `WebhookAdapter`. The signature is over the URL and the form's fields; only POST is understood."""
        token = str(config.get("auth_token") or "") if config is not None else ""
        kind = _header(request.headers, "content-type")
        signature = _header(request.headers, "x-twilio-signature")
        if request.method != "POST" or not fits(token, signature, request.url, request.body, kind):
            raise BadSignature("the signature does not fit")
        form = _form(request)
        if _is_inbound(form):
            return Verified(Trust.SIGNED, f"inbound:{_sid(form)}", "message.received")
        fact = f"status:{_sid(form)}:{_status(form)}:{_error_code(form) or ''}"
        return Verified(Trust.SIGNED, fact, f"message.{_status(form)}")

    def parse(self, request: InboundRequest, origin: Origin) -> Sequence[InboundEvent]:
        """Return the one fact; none for an incoming message of a channel that the hub has not (Messenger, RCS)."""
        form = _form(request)
        if _is_inbound(form):
            received = self._received(form, origin)
            return (received,) if received else ()
        status, code = _status(form), _error_code(form)
        state = STATES.get(status)
        channel, address = _address(form.get("To", ""))
        ref = request.query.get("ref", "")
        return (
            MessageReported(
                **origin.fields(self.provider, f"message.{status}"),
                provider_ref=_sid(form),
                address=address,
                state=state,
                provider_status=status,
                detail=detail_of(code),
                suppress=suppression_of(code) if state is MessageState.FAILED else None,
                ref=ref if REF.fullmatch(ref) else "",
                channel=CHANNELS.get(channel, channel),
            ),
        )

    def ack(self, request: InboundRequest, answer: ValidationAnswer | None = None) -> Ack:
        """Return empty TwiML: received, and nothing is to be answered to the sender."""
        return Ack(status=200, body=b"<Response/>", content_type="text/xml")

    def _received(self, form: Mapping[str, str], origin: Origin) -> MessageReceived | None:
        channel, address = _address(form.get("From", ""))
        if channel not in CHANNELS or not address:
            return None
        return MessageReceived(
            **origin.fields(self.provider, "message.received"),
            channel=CHANNELS[channel],
            provider_ref=_sid(form),
            address=address,
            to=_address(form.get("To", ""))[1],
            text=form.get("Body", ""),
            name=form.get("ProfileName", "")[:200],
            media=_media(form),
            opt_out=OPT_OUTS.get(form.get("OptOutType", "").upper()),
            reply_to=form.get("OriginalRepliedMessageSid", "")[:64],
        )


def _form(request: InboundRequest) -> dict[str, str]:
    """Return the fields, their shape checked."""
    form = {name: value.replace("\x00", "") for name, value in request.form().items()}
    if not MESSAGE_SID.fullmatch(_sid(form)):
        raise MalformedWebhook("MessageSid is missing or no message's id")
    if not re.fullmatch(r"[a-z_]{1,40}", _status(form)):
        raise MalformedWebhook("MessageStatus is missing")
    return form


def _sid(form: Mapping[str, str]) -> str:
    return form.get("MessageSid") or form.get("SmsSid") or ""


def _status(form: Mapping[str, str]) -> str:
    return form.get("MessageStatus") or form.get("SmsStatus") or ""


def _is_inbound(form: Mapping[str, str]) -> bool:
    return _status(form) in INBOUND_STATUSES


def _error_code(form: Mapping[str, str]) -> int:
    found = form.get("ErrorCode", "")
    return int(found) if re.fullmatch(r"[0-9]{1,6}", found) else 0


def _address(text: str) -> tuple[str, str]:
    """Return `whatsapp:+254...` as its channel and address; the channel of SMS has no name."""
    channel, colon, address = text.rpartition(":")
    # A `+` that was not percent-encoded reads as a space.
    address = address.strip()
    if re.fullmatch(r"[0-9]{9,15}", address) and text[len(channel) + len(colon) :].startswith(" "):
        address = f"+{address}"
    return channel.strip().lower(), address[:64]


def _media(form: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    urls = ((form.get(f"MediaContentType{at}", ""), form.get(f"MediaUrl{at}", "")) for at in range(MOST_MEDIA))
    return tuple((kind[:100], url[:1000]) for kind, url in urls if url)


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")
