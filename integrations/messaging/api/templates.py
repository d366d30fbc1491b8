"""`/api/v1/integrations/templates`: a tenant's message templates, and what they would say."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import InvalidRequest
from integrations.messaging.models import Channel, MessageTemplate
from integrations.messaging.sms.segments import count_segments
from integrations.messaging.templates import fill_in, save_template
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.permissions import require_channel
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import StaffAPIView, StaffGenericAPIView, tenant_of


class TemplateWriteSerializer(StrictSerializer):
    """Variables are written `{{ name }}` or `{{ order.number }}`; there is nothing else to learn."""

    channel = serializers.ChoiceField(choices=Channel.choices)
    name = serializers.SlugField(max_length=60)
    language = serializers.CharField(
        max_length=10, required=False, allow_blank=True, help_text="en, sw, en-KE; empty: for all."
    )
    subject = serializers.CharField(max_length=200, required=False, allow_blank=True)
    body = serializers.CharField(max_length=5000, trim_whitespace=False)
    html = serializers.CharField(max_length=100_000, required=False, allow_blank=True, trim_whitespace=False)
    description = serializers.CharField(max_length=200, required=False, allow_blank=True)
    is_active = serializers.BooleanField(required=False)


class TemplateSerializer(serializers.ModelSerializer[MessageTemplate]):
    variables = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = MessageTemplate
        fields = (
            "id", "channel", "name", "language", "subject", "body", "html", "description", "is_active", "variables",
            "updated_by", "created", "updated",
        )  # fmt: skip
        read_only_fields = fields


class TemplatePreviewSerializer(StrictSerializer):
    data = serializers.DictField(required=False, help_text="Values of the variables; an object within is reached by a dot.")


class TemplatePreviewResultSerializer(serializers.Serializer[Any]):
    subject = serializers.CharField(allow_blank=True)
    body = serializers.CharField()
    html = serializers.CharField(allow_blank=True)
    segments = serializers.IntegerField(allow_null=True, help_text="Parts of a text message; null for other channels.")
    encoding = serializers.CharField(allow_null=True)


class TemplateFilter(django_filters.FilterSet):
    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    name = django_filters.CharFilter()
    language = django_filters.CharFilter()
    is_active = django_filters.BooleanFilter()


class TemplateList(StaffGenericAPIView):
    """The tenant's templates. Writing one is for those who may send on its channel: it says what is sent."""

    key_scope = "messages"
    serializer_class = TemplateSerializer
    filterset_class = TemplateFilter
    default_ordering = ("channel", "name", "language", "pk")
    orderings = {"name": ("name", "language", "pk"), "-updated": ("-updated", "-pk")}

    def get_queryset(self) -> QuerySet[MessageTemplate]:
        if getattr(self, "swagger_fake_view", False):
            return MessageTemplate.unscoped.none()
        return MessageTemplate.objects.all()

    @extend_schema(responses=TemplateSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(TemplateSerializer(page or [], many=True).data)

    @extend_schema(request=TemplateWriteSerializer, responses={201: TemplateSerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        """Write a new template."""
        given = _checked(TemplateWriteSerializer(data=request.data))
        require_channel(request, given["channel"])
        template = save_template(template=MessageTemplate(tenant=tenant_of(request)), values=given, actor=_actor(request))
        attach("template", str(template.pk))
        return Response(TemplateSerializer(template).data, status=201)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(TemplateSerializer(_found(int(object_id))).data, status=201)


class TemplateDetail(StaffAPIView):
    """One template. It is changed by those who may send on its channel, and on the one that it moves to."""

    key_scope = "messages"

    @extend_schema(responses=TemplateSerializer)
    def get(self, request: Request, template_id: int) -> Response:
        return Response(TemplateSerializer(_found(template_id)).data)

    @extend_schema(request=TemplateWriteSerializer, responses=TemplateSerializer)
    def put(self, request: Request, template_id: int) -> Response:
        """Replace a template; what is left out goes back to empty."""
        given = _checked(TemplateWriteSerializer(data=request.data))
        empty = {"language": "", "subject": "", "html": "", "description": "", "is_active": True}
        return self._save(request, template_id, {**empty, **given})

    @extend_schema(request=TemplateWriteSerializer, responses=TemplateSerializer)
    def patch(self, request: Request, template_id: int) -> Response:
        """Change what is given."""
        return self._save(request, template_id, _checked(TemplateWriteSerializer(data=request.data, partial=True)))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, template_id: int) -> Response:
        """Remove a template; messages that were made from it keep their text."""
        template = _found(template_id)
        require_channel(request, template.channel)
        template.delete()
        return Response(status=204)

    def _save(self, request: Request, template_id: int, values: dict[str, Any]) -> Response:
        template = _found(template_id)
        for channel in {template.channel, values.get("channel", template.channel)}:
            require_channel(request, channel)
        template = save_template(template=template, values=values, actor=_actor(request))
        return Response(TemplateSerializer(template).data)


class TemplatePreview(StaffAPIView):
    key_scope = "messages"

    @extend_schema(request=TemplatePreviewSerializer, responses=TemplatePreviewResultSerializer)
    def post(self, request: Request, template_id: int) -> Response:
        """Return what the template would say with this data. Nothing is sent."""
        given = _checked(TemplatePreviewSerializer(data=request.data))
        template = _found(template_id)
        if not template.is_active:
            raise InvalidRequest("This template is switched off.", attr="template")
        made = fill_in(
            tenant=tenant_of(request),
            channel=Channel(template.channel),
            name=template.name,
            language=template.language,
            data=given.get("data"),
        )
        counted = count_segments(made.body) if template.channel == Channel.SMS else None
        return Response(
            {
                "subject": made.subject,
                "body": made.body,
                "html": made.html,
                "segments": counted.count if counted else None,
                "encoding": counted.encoding if counted else None,
            }
        )


def _checked(serializer: StrictSerializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _found(template_id: int) -> MessageTemplate:
    template = MessageTemplate.objects.filter(pk=template_id).first()
    if template is None:
        raise Http404
    return template


def _actor(request: Request) -> str:
    return str(getattr(request.user, "name", "") or request.user)


routes: list[Any] = [
    path("integrations/templates", TemplateList.as_view()),
    path("integrations/templates/<int:template_id>", TemplateDetail.as_view()),
    path("integrations/templates/<int:template_id>/preview", TemplatePreview.as_view()),
]
