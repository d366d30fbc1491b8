"""Send requests that are kept for later: read just as the channel's send route reads them, and handed to the same service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import ErrorDetail, ValidationError

from integrations.contracts.errors import InvalidRequest
from integrations.contracts.messaging import Media
from integrations.messaging.api.email_serializers import EmailSendSerializer
from integrations.messaging.api.push_serializers import PushSendSerializer
from integrations.messaging.api.serializers import SmsSendSerializer
from integrations.messaging.api.whatsapp_serializers import WhatsAppSendSerializer
from integrations.messaging.drafts import Destination
from integrations.messaging.email.emails import send_email
from integrations.messaging.models import Channel, Message
from integrations.messaging.push.pushes import send_push
from integrations.messaging.sms.services import send_sms
from integrations.messaging.templates import fill_in, find_template
from integrations.messaging.whatsapp.whatsapps import send_whatsapp
from integrations.models import Tenant

LARGEST = 256 * 1024
NOT_KEPT = {
    "send_at": "the time is told by the message itself.",
    "expires_at": "the time is told by the message itself.",
    "override_suppression": "this is decided for one message at a time.",
}
"""What a send request may say and a kept one may not."""

LETTERS = (
    "to", "cc", "bcc", "reply_to", "subject", "text", "html", "template", "language", "personalizations", "headers", "track",
)  # fmt: skip
"""Members of an e-mail's request that its service names as they are."""


def check_request(channel: str, request: Any) -> Any:
    """Return the channel's serializer with a send request that it has found right; raise `InvalidRequest` (attr `request`)
    naming the first bad member. Files inside of it count with its size: for large ones there is an address to fetch."""
    if not isinstance(request, Mapping):
        raise InvalidRequest("Give the body of a send request as an object.", attr="request")
    for name, why in NOT_KEPT.items():
        if request.get(name):
            raise InvalidRequest(f"{name}: {why}", attr="request")
    if len(json.dumps(request, default=str)) > LARGEST:
        raise InvalidRequest(f"It is larger than {LARGEST // 1024} kB.", attr="request")
    if "\\u0000" in json.dumps(request, default=str):
        raise InvalidRequest("Null characters can't be sent.", attr="request")
    serializer = _serializer(channel)(data=dict(request))
    try:
        serializer.is_valid(raise_exception=True)
    except ValidationError as error:
        name, problem = _first(error.detail)
        raise InvalidRequest(f"{name}: {problem}" if name else problem, attr="request") from error
    return serializer


def send_request(
    *, tenant: Tenant, channel: str, request: Mapping[str, Any], key: str, created_by: str, attachments: tuple[Media, ...] = ()
) -> Message:
    """Accept what a kept request asks for, now, in the caller's transaction. Raises as `check_request` and as the channel's
    own service."""
    asked = check_request(channel, request)
    common = {"tenant": tenant, "key": key, "created_by": created_by}
    return _SENDERS[Channel(channel)](tenant, asked, attachments, common)


def _sms(tenant: Tenant, asked: Any, attachments: tuple[Media, ...], common: dict[str, Any]) -> Message:
    given = asked.validated_data
    words = given["message"]
    if given["template"]:
        named = {"tenant": tenant, "channel": Channel.SMS, "name": given["template"], "language": given["language"]}
        # Of recipients with values of their own each gets the text filled in for himself, by the service.
        own = any(isinstance(each, Destination) and (each.data or each.name) for each in given["to"])
        words = find_template(**named).body if own else fill_in(**named, data=given["data"]).body
    return send_sms(
        to=given["to"],
        message=words,
        template_name=given["template"],
        language=given["language"],
        data=given["data"],
        sender=given["sender"],
        **_shared(given),
        **common,
    )


def _email(tenant: Tenant, asked: Any, attachments: tuple[Media, ...], common: dict[str, Any]) -> Message:
    given = asked.validated_data
    return send_email(
        **{name: given[name] for name in LETTERS},
        data={**given["data"], **given["template_data"]},
        provider_template_id=given["template_id"],
        sender=given["from"],
        attachments=(*given["attachments"], *attachments),
        fallback=given["fallback"],
        **_shared(given),
        **common,
    )


def _push(tenant: Tenant, asked: Any, attachments: tuple[Media, ...], common: dict[str, Any]) -> Message:
    given = dict(asked.validated_data)
    shared = _shared(given)
    user = given.pop("user", "")
    users = [user] if user else given.pop("users", ())
    rest = {name: value for name, value in given.items() if name not in {*shared, "config", *NOT_KEPT}}
    return send_push(users=users, **rest, **shared, **common)


def _whatsapp(tenant: Tenant, asked: Any, attachments: tuple[Media, ...], common: dict[str, Any]) -> Message:
    given = asked.validated_data
    return send_whatsapp(
        to=given["to"], words=asked.words(), reply_to=given["reply_to"], fallback=given["fallback"], **_shared(given), **common
    )


def _shared(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all channels have in common, as their services name it."""
    reference = given.get("reference") or {"type": "", "id": ""}
    return {
        "provider": given["provider"],
        "config_id": given["config"],
        "reference": (reference["type"], reference["id"]),
        "category": given["category"],
    }


def _serializer(channel: str) -> Any:
    return _SERIALIZERS[Channel(channel)]


def _first(detail: Any, path: str = "") -> tuple[str, str]:
    """Return the path and the words of the first problem in DRF's tree of them."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            return _first(inner, f"{path}.{name}" if path else str(name))
    if isinstance(detail, list):
        for number, inner in enumerate(detail):
            if isinstance(inner, ErrorDetail):
                return path, str(inner)
            if inner:
                return _first(inner, f"{path}.{number}")
    return path, str(detail)


_SERIALIZERS = {
    Channel.SMS: SmsSendSerializer,
    Channel.EMAIL: EmailSendSerializer,
    Channel.PUSH: PushSendSerializer,
    Channel.WHATSAPP: WhatsAppSendSerializer,
}
_SENDERS = {Channel.SMS: _sms, Channel.EMAIL: _email, Channel.PUSH: _push, Channel.WHATSAPP: _whatsapp}
