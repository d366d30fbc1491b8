"""The payments API. Views parse and authorise; services do."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.urls import path, re_path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.contracts.errors import InvalidRequest
from integrations.runtime.idempotency import idempotent
from integrations.tenancy.parameters import IDEMPOTENCY_KEY
from integrations.tenancy.views import TenantAPIView, TenantGenericAPIView, tenant_of
from payments.models import Operation, Origin, Payment, ReceiptDelivery, Status
from payments.receipts import render_receipt_html, render_receipt_pdf
from payments.selectors import payment_timeline, public_form, refund_form
from payments.serializers import (
    AllocateSerializer,
    AuthorizeSerializer,
    CaptureRequestSerializer,
    PaymentSerializer,
    ReceiptDeliverySerializer,
    ReceiptRequestSerializer,
    RefundRequestSerializer,
    RefundSerializer,
    TimelineSerializer,
)
from payments.services import (
    allocate_payment,
    cancel_payment,
    capture_payment,
    issue_receipt,
    look_soon,
    refund_payment,
    start_payment,
    sync_payment,
)
from payments.setup_api import routes as setup_routes


class PaymentFilter(django_filters.FilterSet):
    """Declared one by one: deriving them from the model would read through its manager at import time, without a scope."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    provider = django_filters.CharFilter()
    currency = django_filters.CharFilter()
    origin = django_filters.ChoiceFilter(choices=Origin.choices)
    account_number = django_filters.CharFilter()
    allocated = django_filters.BooleanFilter()
    reference = django_filters.CharFilter(field_name="reference_id")
    created_after = django_filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")


class PaymentBase(TenantGenericAPIView):
    key_scope = "payments"
    serializer_class = PaymentSerializer
    default_ordering = ("-created", "-pk")
    orderings: ClassVar[dict[str, tuple[str, ...]]] = {
        "created": ("created", "pk"),
        "-created": ("-created", "-pk"),
        "amount": ("amount", "pk"),
        "-amount": ("-amount", "-pk"),
    }

    def get_queryset(self) -> QuerySet[Payment]:
        if getattr(self, "swagger_fake_view", False):
            return Payment.unscoped.none()
        return Payment.objects.prefetch_related("operations", "disputes")

    def payment(self, payment_id: str) -> Payment:
        found = self.get_queryset().filter(pk=payment_id).first()
        if found is None:
            raise Http404
        return found


class PaymentList(PaymentBase):
    filterset_class = PaymentFilter

    @extend_schema(responses=PaymentSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List payments, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response([public_form(payment) for payment in page or []])


class UnallocatedList(PaymentBase):
    @extend_schema(responses=PaymentSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List money that came in by itself and that nobody knows yet what for."""
        page = self.paginate_queryset(self.get_queryset().filter(allocated=False))
        return self.get_paginated_response([public_form(payment) for payment in page or []])


class PaymentDetail(PaymentBase):
    def get(self, request: Request, payment_id: str) -> Response:
        """Return one payment. An open one that the gateway was not asked about just now is asked about, without waiting."""
        payment = self.payment(payment_id)
        look_soon(payment)
        return Response(public_form(payment))


class AuthorizeView(TenantAPIView):
    key_scope = "payments"

    @extend_schema(request=AuthorizeSerializer, responses={201: PaymentSerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        """Ask a payer for money. The answer says how it stands after one try; `processing` is decided later, by the payer."""
        serializer = AuthorizeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        reference = data.get("reference", {})
        payment = start_payment(
            tenant=tenant_of(request),
            amount=data["amount"],
            currency=data["currency"],
            method_type=data["method"]["type"],
            phone=data["method"].get("phone", ""),
            token=data["method"].get("token", ""),
            provider=data.get("provider"),
            capture=data["capture"],
            reference_type=reference.get("type", ""),
            reference_id=reference.get("id", ""),
            customer=data.get("customer"),
            description=data.get("description", ""),
            return_url=data.get("return_url", ""),
            metadata=data.get("metadata"),
            actor=request.user.name,
        )
        return Response(public_form(payment), status=status.HTTP_201_CREATED)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(public_form(Payment.objects.get(pk=object_id)), status=status.HTTP_201_CREATED)


class CaptureView(TenantAPIView):
    key_scope = "payments"

    @extend_schema(request=CaptureRequestSerializer, responses={201: PaymentSerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        """Take `amount` minor units of what is held, or all of it."""
        serializer = CaptureRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        try:
            payment = capture_payment(
                tenant=tenant_of(request),
                payment_id=data["payment"],
                amount=data.get("amount"),
                final=data.get("final"),
                actor=request.user.name,
            )
        except Payment.DoesNotExist:
            raise Http404 from None
        return Response(public_form(payment), status=status.HTTP_201_CREATED)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(public_form(Payment.objects.get(pk=object_id)), status=status.HTTP_201_CREATED)


class CancelView(PaymentBase):
    @extend_schema(request=None, responses=PaymentSerializer, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, payment_id: str) -> Response:
        """Release what is held, or call off a request that the payer has not paid."""
        self.payment(payment_id)
        payment = cancel_payment(tenant=tenant_of(request), payment_id=payment_id, actor=request.user.name)
        return Response(public_form(payment))

    def replay(self, request: Request, object_type: str, object_id: str, **_path: str) -> Response:
        return Response(public_form(Payment.objects.get(pk=object_id)))


class RefundView(TenantAPIView):
    key_scope = "payments"

    @extend_schema(request=RefundRequestSerializer, responses={201: RefundSerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request) -> Response:
        """Give back `amount` minor units of a payment, or all that is left of it."""
        serializer = RefundRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        try:
            refund = refund_payment(
                tenant=tenant_of(request),
                payment_id=data["payment"],
                amount=data.get("amount"),
                reason=data["reason"],
                actor=request.user.name,
            )
        except Payment.DoesNotExist:
            raise Http404 from None
        return Response(refund_form(refund), status=status.HTTP_201_CREATED)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        return Response(refund_form(Operation.objects.get(pk=object_id)), status=status.HTTP_201_CREATED)


class SyncView(PaymentBase):
    @extend_schema(request=None, responses=PaymentSerializer)
    def post(self, request: Request, payment_id: str) -> Response:
        """Ask the gateway how the payment stands, now."""
        payment = sync_payment(payment=self.payment(payment_id), actor=request.user.name, decided_too=True)
        return Response(public_form(payment))


class AllocateView(PaymentBase):
    @extend_schema(request=AllocateSerializer, responses=PaymentSerializer)
    def post(self, request: Request, payment_id: str) -> Response:
        """Say what money is for that a customer sent by himself."""
        self.payment(payment_id)
        serializer = AllocateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        reference = serializer.validated_data["reference"]
        payment = allocate_payment(
            tenant=tenant_of(request),
            payment_id=payment_id,
            reference_type=reference["type"],
            reference_id=reference["id"],
            actor=request.user.name,
        )
        return Response(public_form(payment))


class TimelineView(PaymentBase):
    @extend_schema(responses=TimelineSerializer)
    def get(self, request: Request, payment_id: str) -> Response:
        """Return the payment's whole story: steps, calls, callbacks, receipts sent, events delivered."""
        payment = self.payment(payment_id)
        return Response(TimelineSerializer({"payment": payment.pk, "results": payment_timeline(payment)}).data)


class ReceiptView(PaymentBase):
    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[JSONRenderer, str]:
        """Pages and PDFs are made here, whatever the caller says to accept; only errors go through a renderer."""
        return JSONRenderer(), JSONRenderer.media_type

    @extend_schema(
        parameters=[OpenApiParameter("as", str, enum=["html", "pdf"], description="html unless said otherwise.")],
        responses={(200, "text/html"): OpenApiTypes.STR, (200, "application/pdf"): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, payment_id: str) -> HttpResponse:
        """Return the receipt of a succeeded payment as a page or a PDF (`?as=pdf`, or by the Accept header)."""
        payment = self.payment(payment_id)
        form = request.query_params.get("as") or ("pdf" if "application/pdf" in request.headers.get("Accept", "") else "html")
        if form == "pdf":
            name = f"receipt-{payment.receipt_number}.pdf"
            return HttpResponse(
                render_receipt_pdf(payment),
                content_type="application/pdf",
                headers={"Content-Disposition": f'inline; filename="{name}"'},
            )
        if form != "html":
            raise InvalidRequest("Must be html or pdf.", attr="as")
        return HttpResponse(render_receipt_html(payment))

    @extend_schema(request=ReceiptRequestSerializer, responses={202: ReceiptDeliverySerializer}, parameters=[IDEMPOTENCY_KEY])
    @idempotent
    def post(self, request: Request, payment_id: str) -> Response:
        """Send the receipt of a succeeded payment by e-mail or SMS, again if need be."""
        payment = self.payment(payment_id)
        serializer = ReceiptRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        delivery = issue_receipt(payment=payment, channel=data["channel"], to=data.get("to", ""), actor=request.user.name)
        return Response(ReceiptDeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)

    def replay(self, request: Request, object_type: str, object_id: str) -> Response:
        delivery = ReceiptDelivery.objects.get(pk=object_id)
        return Response(ReceiptDeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)


PAYMENT = r"^payments/(?P<payment_id>pay_[0-9a-z]{26})"
routes: list[Any] = [
    path("payments", PaymentList.as_view()),
    path("payments/authorize", AuthorizeView.as_view()),
    path("payments/capture", CaptureView.as_view()),
    path("payments/refund", RefundView.as_view()),
    path("payments/unallocated", UnallocatedList.as_view()),
    re_path(rf"{PAYMENT}$", PaymentDetail.as_view()),
    re_path(rf"{PAYMENT}/cancel$", CancelView.as_view()),
    re_path(rf"{PAYMENT}/sync$", SyncView.as_view()),
    re_path(rf"{PAYMENT}/allocate$", AllocateView.as_view()),
    re_path(rf"{PAYMENT}/timeline$", TimelineView.as_view()),
    re_path(rf"{PAYMENT}/receipt$", ReceiptView.as_view()),
    *setup_routes,
]
