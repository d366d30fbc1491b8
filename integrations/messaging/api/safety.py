"""`/api/v1/integrations/suppressions`, `preferences` and `balances`: who is not to be written to, and what is left."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.messaging.api.safety_serializers import (
    BalanceFilter,
    BalanceReadingSerializer,
    PreferenceFilter,
    PreferenceSerializer,
    PreferenceWriteSerializer,
    SuppressionFilter,
    SuppressionSerializer,
    SuppressionWriteSerializer,
)
from integrations.messaging.models import BalanceReading, Preference, Suppression
from integrations.messaging.safety.categories import category_of
from integrations.messaging.safety.screening import listing, normalised, prefer, release, suppress
from integrations.models import Role
from integrations.runtime.claims import URGENT
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.pagination import NewestFirstPagination
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.permissions import IsTenantAdmin, is_plain_member
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.views import StaffAPIView, StaffGenericAPIView, tenant_of

LARGEST_ID = 2**63 - 1
ONE_TIME_CODE = "otp"


def is_urgent(request: Request) -> bool:
    """Tell whether the message asked for belongs to a category that goes before all bulk, as one-time codes do."""
    asked = request.data.get("category") if isinstance(request.data, dict) else None
    return isinstance(asked, str) and len(asked) <= 30 and category_of(tenant_of(request).pk, asked).priority <= URGENT


class SuppressionList(StaffGenericAPIView):
    """Addresses that are not written to."""

    key_scope = "messages"
    serializer_class = SuppressionSerializer
    filterset_class = SuppressionFilter
    default_ordering = ("-id",)

    def get_queryset(self) -> QuerySet[Suppression]:
        if getattr(self, "swagger_fake_view", False):
            return Suppression.unscoped.none()
        return Suppression.objects.all()

    @extend_schema(responses=SuppressionSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(SuppressionSerializer(page or [], many=True).data)

    @extend_schema(
        parameters=[IDEMPOTENCY_KEY],
        request=SuppressionWriteSerializer,
        responses={201: SuppressionSerializer, 200: SuppressionSerializer},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Stop writing to an address; 200 with the row that is there, unchanged, where it is on the list already."""
        given = _checked(SuppressionWriteSerializer(data=request.data))
        tenant = tenant_of(request)
        address = normalised(given["channel"], given["address"], country=tenant.country)
        with transaction.atomic():
            made = suppress(
                tenant_id=tenant.pk,
                channel=given["channel"],
                address=address,
                reason=given["reason"],
                detail=given["detail"],
                source=_actor(request),
            )
            row = made or listing(tenant.pk, given["channel"], address)
            if row is None:  # released between our two looks
                raise Conflict("The address has just been released; say it again.")
            attach("suppression", str(row.pk))
        return Response(SuppressionSerializer(row).data, status=201 if made else 200)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(SuppressionSerializer(_found(int(object_id))).data, status=201)


class SuppressionDetail(StaffAPIView):
    """One entry of the list; released ones too."""

    key_scope = "messages"

    def get_permissions(self) -> list[BasePermission]:
        return [IsTenantAdmin()] if self.request.method == "DELETE" else super().get_permissions()

    @extend_schema(responses=SuppressionSerializer)
    def get(self, request: Request, suppression_id: int) -> Response:
        return Response(SuppressionSerializer(_found(suppression_id)).data)

    @extend_schema(
        parameters=[OpenApiParameter("reason", str, description="Why it is written to again; at most 200 characters.")],
        responses=SuppressionSerializer,
    )
    def delete(self, request: Request, suppression_id: int) -> Response:
        """Write to the address again (admins only). The entry stays as history; releasing it twice changes nothing. E-mail
        providers with lists of their own are told in the background."""
        row = _found(suppression_id)
        reason = request.query_params.get("reason", "")
        if len(reason) > 200 or "\0" in reason:
            raise InvalidRequest("At most 200 printable characters.", attr="reason")
        release(row, by=_actor(request), reason=reason)
        return Response(SuppressionSerializer(row).data)


class PreferenceList(StaffGenericAPIView):
    """What owners of addresses want."""

    key_scope = "messages"
    serializer_class = PreferenceSerializer
    filterset_class = PreferenceFilter
    default_ordering = ("-updated", "-id")

    def get_queryset(self) -> QuerySet[Preference]:
        if getattr(self, "swagger_fake_view", False):
            return Preference.unscoped.none()
        return Preference.objects.all()

    @extend_schema(responses=PreferenceSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(PreferenceSerializer(page or [], many=True).data)

    @extend_schema(request=PreferenceWriteSerializer, responses=PreferenceSerializer)
    def put(self, request: Request) -> Response:
        """Write down whether the owner of an address wants messages of a category, or any. Critical ones go out all the same;
        to write to an address no more at all, put it on the suppression list. A yes where a no stands is for admins and API
        keys: nobody at a desk is to talk over what the owner has said."""
        given = _checked(PreferenceWriteSerializer(data=request.data))
        tenant = tenant_of(request)
        address = normalised(given["channel"], given["address"], country=tenant.country)
        place = {"channel": given["channel"], "address": address, "category": given["category"]}
        with transaction.atomic():
            if given["allowed"] and is_plain_member(request.user) and _says_no(**place):
                raise PermissionDenied("The owner of this address has said no; only an admin may change that.")
            prefer(tenant_id=tenant.pk, **place, allowed=given["allowed"], source=_actor(request))
        return Response(PreferenceSerializer(Preference.objects.get(**place)).data)


class BalanceList(StaffGenericAPIView):
    """What the tenant's accounts had left when they were last asked, which is done every hour."""

    key_scope = "messages"
    serializer_class = BalanceReadingSerializer
    filterset_class = BalanceFilter
    pagination_class = NewestFirstPagination
    default_ordering = ("-id",)

    def get_queryset(self) -> QuerySet[BalanceReading]:
        if getattr(self, "swagger_fake_view", False):
            return BalanceReading.unscoped.none()
        return BalanceReading.objects.select_related("config")

    @extend_schema(responses=BalanceReadingSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(BalanceReadingSerializer(page or [], many=True).data)


def override_reason(request: Request, given: dict[str, Any]) -> str:
    """Return why a send request passes over the suppression list, empty where it does not; only admins may (403)."""
    reason = str(given.get("override_suppression") or "").strip()
    if reason and request.user.role != Role.ADMIN:
        raise PermissionDenied("Only an admin may pass over the suppression list.")
    return reason


def allowed_category(request: Request, category: str) -> str:
    """Return the category that a send request asks for; critical ones, which pass over wishes and quiet hours, are not for
    people without the admin role (403)."""
    if is_plain_member(request.user) and category_of(tenant_of(request).pk, category).is_critical:
        raise PermissionDenied("Only an admin may send messages of a critical category.")
    return category


def fit_to_read(request: Request, data: dict[str, Any]) -> dict[str, Any]:
    """Return a message's data without its words where they are a one-time code and who asks is a person without the admin
    role: at a desk it would open somebody's account."""
    if data["category"] == ONE_TIME_CODE and is_plain_member(request.user):
        return {**data, "subject": "", "message": ""}
    return data


def _says_no(*, channel: str, address: str, category: str) -> bool:
    """Tell whether the owner has refused what is to be allowed now; his word on the category alone counts before the general
    one. Locks what it looks at."""
    said = dict(
        Preference.objects.select_for_update()
        .filter(channel=channel, address=address, category__in={"", category})
        .values_list("category", "allowed")
    )
    return not said.get(category, said.get("", True))


def _checked(serializer: StrictSerializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _found(suppression_id: int) -> Suppression:
    row = Suppression.objects.filter(pk=suppression_id).first() if suppression_id <= LARGEST_ID else None
    if row is None:
        raise Http404
    return row


def _actor(request: Request) -> str:
    return str(getattr(request.user, "name", "") or request.user)


routes: list[Any] = [
    path("integrations/suppressions", SuppressionList.as_view()),
    path("integrations/suppressions/<int:suppression_id>", SuppressionDetail.as_view()),
    path("integrations/preferences", PreferenceList.as_view()),
    path("integrations/balances", BalanceList.as_view()),
]
