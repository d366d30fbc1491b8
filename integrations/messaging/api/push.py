"""`/api/v1/integrations/push/...`: the device registry, sending, and what apps tell of notifications."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.messaging import selectors
from integrations.messaging.api.push_serializers import (
    DeviceFilter,
    DeviceSerializer,
    DeviceTokenSerializer,
    DeviceWriteSerializer,
    PushAckResultSerializer,
    PushAckSerializer,
    PushMessageSerializer,
    PushSendSerializer,
    RegisteredDeviceSerializer,
)
from integrations.messaging.api.safety import allowed_category, is_urgent
from integrations.messaging.models import Device, Recipient
from integrations.messaging.push import devices
from integrations.messaging.push.acknowledging import acknowledge
from integrations.messaging.push.pushes import send_push
from integrations.messaging.transitions import stamp
from integrations.runtime.admission import admitted
from integrations.runtime.idempotency import attach, idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import StaffAPIView, StaffGenericAPIView, tenant_of


class DeviceListView(StaffGenericAPIView):
    """The devices that apps have registered."""

    key_scope = "messages"
    serializer_class = DeviceSerializer
    filterset_class = DeviceFilter
    default_ordering = ("-registered_at", "-id")
    orderings = {"registered_at": ("registered_at", "id"), "-registered_at": ("-registered_at", "-id")}

    def get_queryset(self) -> QuerySet[Device]:
        if getattr(self, "swagger_fake_view", False):
            return Device.unscoped.none()
        rows: QuerySet[Device] = Device.objects.all()
        return rows

    @extend_schema(responses=DeviceSerializer(many=True))
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(DeviceSerializer(page or [], many=True).data)

    @extend_schema(
        parameters=[IDEMPOTENCY_KEY],
        request=DeviceWriteSerializer,
        responses={200: RegisteredDeviceSerializer, 201: RegisteredDeviceSerializer},
    )
    @idempotent
    def post(self, request: Request) -> Response:
        """Register a device (201), or renew what is known of it (200): the token moves to the user who came last."""
        asked = DeviceWriteSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        with transaction.atomic():
            device, is_new = devices.register(tenant=tenant_of(request), config_id=given.pop("config"), **given)
            attach("device", str(device.pk))
        return Response(RegisteredDeviceSerializer(device).data, status=201 if is_new else 200)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(RegisteredDeviceSerializer(_found(int(object_id))).data, status=200)

    @extend_schema(request=DeviceTokenSerializer, responses={204: None})
    def delete(self, request: Request) -> Response:
        """Forget the device with this `token` (in the body): its user signed out. It is no error where there is none."""
        asked = DeviceTokenSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        devices.remove(tenant_id=tenant_of(request).pk, token=asked.validated_data["token"])
        return Response(status=204)


class DeviceDetailView(StaffAPIView):
    """One device."""

    key_scope = "messages"

    @extend_schema(responses=DeviceSerializer)
    def get(self, request: Request, device_id: int) -> Response:
        return Response(DeviceSerializer(_found(device_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, device_id: int) -> Response:
        """Forget the device. Notifications that wait for it are not sent."""
        devices.remove(tenant_id=tenant_of(request).pk, token=_found(device_id).token)
        return Response(status=204)


class PushSendView(StaffAPIView):
    """Accept a notification; it is sent by the workers."""

    key_scope = "messages"
    send_channel = "push"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=PushSendSerializer, responses={202: PushMessageSerializer})
    @idempotent
    @admitted(is_urgent)
    def post(self, request: Request) -> Response:
        asked = PushSendSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        allowed_category(request, given["category"])
        reference = given.pop("reference") or {"type": "", "id": ""}
        user = given.pop("user", "")
        with transaction.atomic():
            message = send_push(
                tenant=tenant_of(request),
                users=[user] if user else given.pop("users", ()),
                config_id=given.pop("config"),
                reference=(reference["type"], reference["id"]),
                created_by=str(getattr(request.user, "name", "")),
                **given,
            )
            attach("message", message.pk)
        return self._answer(message.pk)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self._answer(object_id)

    def _answer(self, message_id: str) -> Response:
        message = selectors.get_message(message_id)
        return Response(selectors.message_data(message) | {"also": message.content.get("also", [])}, status=202)


class PushAckView(StaffAPIView):
    """An app got a notification, or its user opened it: the app's own backend tells, no push service does."""

    key_scope = "messages"

    @extend_schema(parameters=[IDEMPOTENCY_KEY], request=PushAckSerializer, responses=PushAckResultSerializer)
    @idempotent
    def post(self, request: Request) -> Response:
        asked = PushAckSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        try:
            with transaction.atomic():
                recipient = acknowledge(
                    tenant=tenant_of(request),
                    event=given["event"],
                    message_id=given.get("message", ""),
                    token=given.get("token", ""),
                    ref=given.get("ref", ""),
                )
                attach("recipient", str(recipient.pk))
        except Recipient.DoesNotExist:
            raise Http404 from None
        return self._answer(recipient)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return self._answer(Recipient.objects.get(pk=int(object_id)))

    @staticmethod
    def _answer(recipient: Recipient) -> Response:
        return Response(
            {
                "message": recipient.message_id,
                "status": recipient.state,
                "delivered_at": stamp(recipient.delivered_at),
                "opened_at": stamp(recipient.opened_at),
            }
        )


def _found(device_id: int) -> Device:
    device: Device | None = Device.objects.filter(pk=device_id).first()
    if device is None:
        raise Http404
    return device


routes: list[Any] = [
    path("integrations/push/devices", DeviceListView.as_view()),
    path("integrations/push/devices/<int:device_id>", DeviceDetailView.as_view()),
    path("integrations/push/send", PushSendView.as_view()),
    path("integrations/push/ack", PushAckView.as_view()),
]
