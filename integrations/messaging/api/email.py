"""`/api/v1/integrations/email/...`: views parse, authorise and hand on."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from django.db import transaction
from django.http import Http404
from django.urls import path, re_path
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.messaging import selectors
from integrations.messaging.api.email_serializers import (
    EmailPreviewResultSerializer,
    EmailPreviewSerializer,
    EmailSendSerializer,
)
from integrations.messaging.api.safety import allowed_category, fit_to_read, is_urgent, override_reason
from integrations.messaging.api.serializers import MessageSerializer
from integrations.messaging.email import emails
from integrations.messaging.models import Channel, Message
from integrations.runtime.admission import admitted
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.errors import BodyTooLarge
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.parsers import HubJSONParser
from integrations.tenancy.views import StaffAPIView, tenant_of

BODY_LIMIT = 32 * 1024 * 1024
"""Bytes of a request: what the most generous provider takes of files, in base64, and the words beside them."""


class LetterTooLarge(BodyTooLarge):
    """The request's body is larger than any provider would take."""

    default_detail = f"The request has more than {BODY_LIMIT // 1024 // 1024} MB. Files take a third more in base64."


class LetterParser(BaseParser):
    """JSON of at most `BODY_LIMIT` bytes. The usual parser reads the body through Django, whose limit for what is kept
    in memory (`DATA_UPLOAD_MAX_MEMORY_SIZE`) holds for all other routes and is too small for files. Callers are known by then:
    the body is read when the view asks for it."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        body = stream.read(BODY_LIMIT + 1)
        if len(body) > BODY_LIMIT:
            raise LetterTooLarge
        return HubJSONParser().parse(BytesIO(body), media_type, parser_context)


class EmailSendView(StaffAPIView):
    """Accept an e-mail; it is sent by the workers."""

    key_scope = "messages"
    send_channel = "email"
    parser_classes = [LetterParser]

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=EmailSendSerializer, responses={202: MessageSerializer})
    @idempotent
    @admitted(is_urgent)
    def post(self, request: Request) -> Response:
        asked = EmailSendSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        reference = given["reference"] or {"type": "", "id": ""}
        with transaction.atomic():
            message = emails.send_email(
                tenant=tenant_of(request),
                **_letters(given),
                sender=given["from"],
                reply_to=given["reply_to"],
                attachments=given["attachments"],
                headers=given["headers"],
                category=allowed_category(request, given["category"]),
                track=given["track"],
                send_at=given["send_at"],
                expires_at=given["expires_at"],
                provider=given["provider"],
                config_id=given["config"],
                reference=(reference["type"], reference["id"]),
                fallback=given["fallback"],
                override_reason=override_reason(request, given),
                created_by=str(getattr(request.user, "name", "")),
            )
            attach("message", message.pk)
        return self._answer(message.pk)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self._answer(object_id)

    def _answer(self, message_id: str) -> Response:
        return Response(selectors.message_data(selectors.get_message(message_id)), status=202)


class EmailPreviewView(StaffAPIView):
    """Show the first letter as it would be sent, and how many there would be. Nothing is sent."""

    key_scope = "messages"
    parser_classes = [LetterParser]

    @extend_schema(request=EmailPreviewSerializer, responses=EmailPreviewResultSerializer)
    def post(self, request: Request) -> Response:
        asked = EmailPreviewSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        composition = emails.compose(tenant=tenant_of(request), **_letters(asked.validated_data))
        words = composition.words_of(composition.letters[0], unsubscribe_url=emails.SAMPLE_LINK)
        return Response(
            {
                "subject": words.subject,
                "text": words.text,
                "html": words.html,
                "recipients": composition.recipients,
                "letters": len(composition.letters),
            }
        )


class EmailDetailView(StaffAPIView):
    """One e-mail with its recipients."""

    key_scope = "messages"

    @extend_schema(responses=MessageSerializer)
    def get(self, request: Request, email_id: str) -> Response:
        try:
            message = selectors.get_message(email_id, channel=Channel.EMAIL.value)
        except Message.DoesNotExist:
            raise Http404 from None
        return Response(fit_to_read(request, selectors.message_data(message)))


def _letters(given: Mapping[str, Any]) -> dict[str, Any]:
    names = ("to", "cc", "bcc", "subject", "text", "html", "template", "language", "personalizations")
    return {
        **{name: given[name] for name in names},
        "provider_template_id": given["template_id"],
        "data": {**given["data"], **given["template_data"]},
    }


routes: list[Any] = [
    path("integrations/email/send", EmailSendView.as_view()),
    path("integrations/email/preview", EmailPreviewView.as_view()),
    re_path(r"^integrations/email/(?P<email_id>msg_[0-9a-z]{26})$", EmailDetailView.as_view()),
]
