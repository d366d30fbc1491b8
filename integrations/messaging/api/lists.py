"""`/api/v1/integrations/recipient-lists/...`, and what may be asked of a message on its way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import path, re_path
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import InvalidRequest
from integrations.messaging import selectors, steering
from integrations.messaging.api.list_serializers import (
    ListCheckSerializer,
    ListReportSerializer,
    ListSendSerializer,
    ListUploadSerializer,
    MessageProgressSerializer,
    RecipientFilter,
    RecipientListDetailSerializer,
    RecipientListSerializer,
)
from integrations.messaging.api.safety import allowed_category, fit_to_read, is_urgent
from integrations.messaging.api.serializers import MessageRecipientSerializer, MessageSerializer
from integrations.messaging.drafts import Draft
from integrations.messaging.email.html_text import text_of
from integrations.messaging.lists import lists
from integrations.messaging.lists.files import LARGEST_FILE
from integrations.messaging.models import Channel, Message, Recipient, RecipientList
from integrations.messaging.templates import find_template
from integrations.runtime.admission import admitted
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.permissions import require_channel
from integrations.tenancy.views import StaffAPIView, StaffGenericAPIView, tenant_of

FORM_OVERHEAD = 64 * 1024


class RecipientListsView(StaffGenericAPIView):
    """Uploaded lists, newest first; uploading one sends nothing."""

    key_scope = "messages"
    serializer_class = RecipientListSerializer
    default_ordering = ("-created", "-id")

    def get_parsers(self) -> list[Any]:
        return [MultiPartParser()]

    def get_queryset(self) -> QuerySet[RecipientList]:
        if getattr(self, "swagger_fake_view", False):
            return RecipientList.unscoped.none()
        rows: QuerySet[RecipientList] = RecipientList.objects.exclude(filename="")
        return rows

    @extend_schema(responses=RecipientListSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(RecipientListSerializer(page, many=True).data)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.filename = ""
        if request.method != "POST":
            return
        if int(request.META.get("CONTENT_LENGTH") or 0) > LARGEST_FILE + FORM_OVERHEAD:
            raise InvalidRequest(f"The file is larger than {LARGEST_FILE // 1024**2} MB.", attr="file")
        file = request.FILES.get("file")
        if isinstance(file, UploadedFile):
            # The same Idempotency-Key with another file is another request: its name alone would not tell.
            self.filename = file.name or ""
            digest = hashlib.sha256()
            for chunk in file.chunks():
                digest.update(chunk)
            file.name = f"{digest.hexdigest()}.{self.filename}"

    @extend_schema(
        parameters=[IDEMPOTENCY_KEY],
        request={"multipart/form-data": ListUploadSerializer},
        responses={201: RecipientListDetailSerializer},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        asked = ListUploadSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        with transaction.atomic():
            made = lists.store_file(
                tenant=tenant_of(request),
                file=asked.validated_data["file"],
                filename=self.filename,
                created_by=_who(request),
            )
            attach("recipient_list", made.pk)
        return Response(_list_data(made), status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(_list_data(_found_list(object_id)), status=201)


class RecipientListDetailView(StaffAPIView):
    """One list, without its rows."""

    key_scope = "messages"

    @extend_schema(responses=RecipientListDetailSerializer)
    def get(self, request: Request, list_id: str) -> Response:
        return Response(_list_data(_found_list(list_id)))


class ListCheckView(StaffAPIView):
    """Tell what sending to the list would do: bad rows, duplicates, parts, and what the first would read."""

    key_scope = "messages"

    @extend_schema(request=ListCheckSerializer, responses=ListReportSerializer)
    def post(self, request: Request, list_id: str) -> Response:
        found = _found_list(list_id)
        asked = ListCheckSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        report = lists.check_list(
            tenant=tenant_of(request),
            recipient_list=found,
            channel=given["channel"],
            columns=_columns(found, given),
            data=given["data"],
            **_words(request, given),
        )
        return Response(asdict(report))


class ListSendView(StaffAPIView):
    """Send to every good row of the list; recipients are made in the background, and the message is `preparing` till then."""

    key_scope = "messages"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=ListSendSerializer, responses={202: MessageSerializer})
    @idempotent
    @admitted(is_urgent)
    def post(self, request: Request, list_id: str) -> Response:
        found = _found_list(list_id)
        asked = ListSendSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        require_channel(request, given["channel"])
        reference = given["reference"] or {"type": "", "id": ""}
        draft = Draft(
            channel=given["channel"],
            **_words(request, given),
            sender=given["sender"],
            data=given["data"],
            template_name=given["template"],
            language=given["language"],
            provider=given["provider"],
            config_id=given["config"],
            reference=(reference["type"], reference["id"]),
            category=allowed_category(request, given["category"]),
            send_at=given["send_at"],
            expires_at=given["expires_at"],
            created_by=_who(request),
        )
        with transaction.atomic():
            message = lists.send_list(
                tenant=tenant_of(request), recipient_list=found, columns=_columns(found, given), draft=draft
            )
            attach("message", message.pk)
        return _shown(request, message.pk, status=202)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return _shown(request, object_id, status=202)


class MessageRecipientsView(StaffGenericAPIView):
    """All recipients of a message, in the order in which they were given."""

    key_scope = "messages"
    serializer_class = MessageRecipientSerializer
    filterset_class = RecipientFilter
    default_ordering = ("id",)

    def get_queryset(self) -> QuerySet[Recipient]:
        if getattr(self, "swagger_fake_view", False):
            return Recipient.unscoped.none()
        message = _found(self.kwargs["message_id"])
        rows: QuerySet[Recipient] = Recipient.objects.filter(message=message).select_related("message")
        return rows

    @extend_schema(responses=MessageRecipientSerializer(many=True))
    def get(self, request: Request, message_id: str) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response([selectors.recipient_data(each, with_events=False) for each in page or []])


class MessageProgressView(StaffAPIView):
    """How far a message is; made to be asked every other second."""

    key_scope = "messages"

    @extend_schema(responses=MessageProgressSerializer)
    def get(self, request: Request, message_id: str) -> Response:
        now = asdict(steering.progress(_found(message_id)))
        cost, currency = now.pop("cost"), now.pop("currency")
        return Response({**now, "cost": None if cost is None else {"value": f"{cost.normalize():f}", "currency": currency}})


class _SteerView(StaffAPIView):
    """Acts on a message and answers with it. Where there is nothing to act on any more: 409."""

    key_scope = "messages"
    act: Callable[..., None]

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=None, responses=MessageSerializer)
    @idempotent
    def post(self, request: Request, message_id: str) -> Response:
        message = _found(message_id)
        require_channel(request, message.channel)
        with transaction.atomic():
            type(self).act(message, by=_who(request))
            attach("message", message.pk)
        return _shown(request, message_id, status=200)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return _shown(request, object_id, status=200)


class MessagePauseView(_SteerView):
    """Hold what has not been sent yet."""

    act = staticmethod(steering.pause)


class MessageResumeView(_SteerView):
    """Let a paused message go on."""

    act = staticmethod(steering.resume)


class MessageCancelView(_SteerView):
    """End what has not been sent yet."""

    act = staticmethod(steering.cancel)


class MessageResendView(StaffAPIView):
    """Send the same words, as a new message, to those whom this one certainly did not reach; once to each."""

    key_scope = "messages"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=None, responses={202: MessageSerializer})
    @idempotent
    @admitted()
    def post(self, request: Request, message_id: str) -> Response:
        message = _found(message_id)
        require_channel(request, message.channel)
        with transaction.atomic():
            made = steering.resend_to_failed(message, by=_who(request))
            attach("message", made.pk)
        return _shown(request, made.pk, status=202)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return _shown(request, object_id, status=202)


def _found(message_id: str) -> Message:
    try:
        return selectors.get_message(message_id)
    except Message.DoesNotExist:
        raise Http404 from None


def _found_list(list_id: str) -> RecipientList:
    found: RecipientList | None = RecipientList.objects.exclude(filename="").filter(pk=list_id).first()
    if found is None:
        raise Http404
    return found


def _list_data(found: RecipientList) -> dict[str, Any]:
    return {
        **RecipientListSerializer(found).data,
        "variables": lists.variables(found),
        "guess": {each.value: asdict(lists.guess_columns(found, each)) for each in lists.CHANNELS},
    }


def _columns(found: RecipientList, given: dict[str, Any]) -> lists.Columns:
    if given["columns"] is None:
        return lists.guess_columns(found, given["channel"])
    return lists.Columns(**given["columns"])


def _words(request: Request, given: dict[str, Any]) -> dict[str, Any]:
    """Return body, subject and html: as given, or the template's; of an e-mail in HTML alone the body is made from that."""
    if not given["template"]:
        body, html = given["message"], given["html"]
        return {"body": body if body.strip() or not html else text_of(html), "subject": given["subject"], "html": html}
    found = find_template(
        tenant=tenant_of(request), channel=Channel(given["channel"]), name=given["template"], language=given["language"]
    )
    body = found.body or text_of(found.html)
    return {"body": body, "subject": given["subject"] or found.subject, "html": found.html}


def _shown(request: Request, message_id: str, *, status: int) -> Response:
    return Response(fit_to_read(request, selectors.message_data(_found(message_id))), status=status)


def _who(request: Request) -> str:
    return str(getattr(request.user, "name", ""))


MESSAGE = r"integrations/messages/(?P<message_id>msg_[0-9a-z]{26})"
LIST = r"integrations/recipient-lists/(?P<list_id>lst_[0-9a-z]{26})"
routes: list[Any] = [
    path("integrations/recipient-lists", RecipientListsView.as_view()),
    re_path(rf"^{LIST}$", RecipientListDetailView.as_view()),
    re_path(rf"^{LIST}/check$", ListCheckView.as_view()),
    re_path(rf"^{LIST}/send$", ListSendView.as_view()),
    re_path(rf"^{MESSAGE}/recipients$", MessageRecipientsView.as_view()),
    re_path(rf"^{MESSAGE}/progress$", MessageProgressView.as_view()),
    re_path(rf"^{MESSAGE}/pause$", MessagePauseView.as_view()),
    re_path(rf"^{MESSAGE}/resume$", MessageResumeView.as_view()),
    re_path(rf"^{MESSAGE}/cancel$", MessageCancelView.as_view()),
    re_path(rf"^{MESSAGE}/resend$", MessageResendView.as_view()),
]
