"""`/api/webhooks/portal-links`: short-lived links into the webhook portal, to send to a developer or to embed."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import URLPattern, path, re_path
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.authentication import Principal
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.scopes import READ, permits
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of
from webhooks.outbound.models import Endpoint, PortalLink
from webhooks.outbound.portal import links


def _origin(value: str) -> None:
    try:
        links.origin(value)
    except ValueError as error:
        raise serializers.ValidationError(str(error)) from error


class PortalLinkInput(StrictSerializer):
    """`endpoint` limits the link to one; `can_write` lets its holder change all of what he sees, the address and the events of
    an endpoint too; `expires_in` is in seconds, and never longer than the key that asks; `frame_ancestors` are the origins of
    pages that may embed the portal."""

    label = serializers.CharField(max_length=100, allow_blank=True, default="")
    endpoint = serializers.RegexField(r"^we_[0-9a-z]{26}\Z", allow_null=True, default=None)
    can_write = serializers.BooleanField(default=False)
    expires_in = serializers.IntegerField(min_value=links.SHORTEST, max_value=links.LONGEST, default=links.USUAL)
    frame_ancestors = serializers.ListField(
        child=serializers.CharField(max_length=300, validators=[_origin]), max_length=links.MAX_ORIGINS, default=list
    )

    def validate_endpoint(self, value: str | None) -> Endpoint | None:
        if value is None:
            return None
        found: Endpoint | None = Endpoint.objects.filter(pk=value, deleted_at__isnull=True).first()
        if found is None:
            raise serializers.ValidationError("There is no such endpoint.")
        return found

    def validate_frame_ancestors(self, value: list[str]) -> list[str]:
        return [links.origin(each) for each in value]


class PortalLinkOutput(serializers.ModelSerializer[PortalLink]):
    """A link as it can be shown again: without its address."""

    id = serializers.CharField(read_only=True)
    endpoint = serializers.CharField(source="endpoint_id", read_only=True, allow_null=True)
    frame_ancestors = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = PortalLink
        fields = [
            "id",
            "label",
            "endpoint",
            "can_write",
            "frame_ancestors",
            "created_by",
            "created",
            "expires_at",
            "revoked_at",
            "last_used_at",
        ]
        read_only_fields = fields


class PortalLinkCreated(PortalLinkOutput):
    """The answer to creating: the only one that holds the link's address. It is null where the link was revoked meanwhile."""

    url = serializers.CharField(read_only=True, allow_null=True)

    class Meta(PortalLinkOutput.Meta):
        fields = [*PortalLinkOutput.Meta.fields, "url"]
        read_only_fields = fields


class PortalLinkFilter(filters.FilterSet):
    endpoint = filters.CharFilter(field_name="endpoint_id")
    good = filters.BooleanFilter(method="by_goodness", label="Whether it opens the portal now.")

    def by_goodness(self, queryset: QuerySet[PortalLink], _name: str, value: bool) -> QuerySet[PortalLink]:
        return queryset.filter(links.are_good() if value else ~links.are_good())


class PortalLinksView(TenantGenericAPIView):
    """Links into the webhook portal. Creating one answers its address, this once. A key needs both `webhooks:read` and
    `webhooks:write` for it, since whoever holds a link may look; the link ends with the key, and opens only to its addresses.
    """

    key_scope = "webhooks"
    current_key_only = True
    serializer_class = PortalLinkOutput
    filterset_class = PortalLinkFilter

    def get_queryset(self) -> QuerySet[PortalLink]:
        if getattr(self, "swagger_fake_view", False):
            return PortalLink.unscoped.none()
        return PortalLink.objects.all()

    @extend_schema(responses=PortalLinkOutput(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(PortalLinkOutput(page, many=True).data)

    @extend_schema(request=PortalLinkInput, responses={201: PortalLinkCreated}, parameters=[IDEMPOTENCY_KEY], filters=False)
    @idempotent
    def post(self, request: Request) -> Response:
        principal = request.user
        assert isinstance(principal, Principal)  # noqa: S101 the permission has looked
        if not permits(principal.scopes, self.key_scope, READ):
            raise PermissionDenied(f"The key lacks the scope {self.key_scope}:{READ}.")
        given = PortalLinkInput(data=request.data)
        given.is_valid(raise_exception=True)
        with transaction.atomic():
            link, token = links.create_link(
                tenant=tenant_of(request), created_by=principal.name, key=principal.key, **given.validated_data
            )
            attach("portal_link", link.pk)
        return _created(link, token)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        """The first request died between making the link and answering: nobody has seen its token: another takes its place."""
        link = _link(object_id)
        return _created(link, links.renew_token(link=link) if link.revoked_at is None else "")


class PortalLinkView(TenantAPIView):
    """One link. Deleting revokes it at once; it stays in the list."""

    key_scope = "webhooks"
    current_key_only = True

    @extend_schema(responses=PortalLinkOutput)
    def get(self, request: Request, link_id: str) -> Response:
        return Response(PortalLinkOutput(_link(link_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, link_id: str) -> Response:
        try:
            links.revoke_link(link_id=link_id)
        except PortalLink.DoesNotExist as error:
            raise Http404 from error
        return Response(status=204)


def _link(link_id: str) -> PortalLink:
    link: PortalLink | None = PortalLink.objects.filter(pk=link_id).first()
    if link is None:
        raise Http404
    return link


def _created(link: PortalLink, token: str) -> Response:
    shown: dict[str, Any] = {**PortalLinkOutput(link).data, "url": links.url_of(token) if token else None}
    return Response(shown, status=201, headers={"Cache-Control": "no-store"})


routes: list[URLPattern] = [
    path("webhooks/portal-links", PortalLinksView.as_view()),
    re_path(r"^webhooks/portal-links/(?P<link_id>pl_[0-9a-z]{26})$", PortalLinkView.as_view()),
]
