"""Shapes of the payments API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from integrations.contracts.payment_features import MethodType
from integrations.tenancy.serializers import StrictSerializer
from payments.models import DeliveryState, Payment, ReceiptChannel, Status
from payments.selectors import public_form

MAX_AMOUNT = 10**15


class MethodSerializer(StrictSerializer):
    type = serializers.ChoiceField(choices=[method.value for method in MethodType])
    phone = serializers.CharField(required=False, max_length=30)
    token = serializers.CharField(
        required=False,
        max_length=255,
        help_text="The gateway's own token of a card, from its form in the browser, or a stored payment method (`pm_...`).",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["type"] == MethodType.MOBILE_MONEY and not attrs.get("phone"):
            raise serializers.ValidationError({"phone": "Mobile money needs the payer's phone number."})
        if attrs["type"] == MethodType.CARD and not attrs.get("token"):
            raise serializers.ValidationError({"token": "A card needs the gateway's token: card numbers never come here."})
        return attrs


class ReferenceSerializer(StrictSerializer):
    type = serializers.CharField(max_length=40)
    id = serializers.CharField(max_length=100)


class CustomerSerializer(StrictSerializer):
    id = serializers.CharField(required=False, max_length=100)
    name = serializers.CharField(required=False, max_length=200)
    email = serializers.EmailField(required=False)


class AuthorizeSerializer(StrictSerializer):
    """The request for money. `amount` in minor units: 150000 KES is 1,500.00 shillings."""

    amount = serializers.IntegerField(min_value=1, max_value=MAX_AMOUNT)
    currency = serializers.RegexField(r"^[A-Z]{3}$")
    method = MethodSerializer()
    capture = serializers.ChoiceField(choices=["automatic", "manual"], default="automatic")
    provider = serializers.SlugField(required=False, max_length=50)
    customer = CustomerSerializer(required=False)
    reference = ReferenceSerializer(required=False)
    description = serializers.CharField(required=False, max_length=200)
    return_url = serializers.URLField(required=False, max_length=500)
    metadata = serializers.DictField(child=serializers.CharField(max_length=500), required=False)

    def validate_metadata(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > 50:
            raise serializers.ValidationError("At most 50 entries.")
        return value


class RefundRequestSerializer(StrictSerializer):
    payment = serializers.CharField(max_length=40)
    amount = serializers.IntegerField(min_value=1, max_value=MAX_AMOUNT, required=False)
    reason = serializers.CharField(required=False, max_length=200, default="", allow_blank=True)


class CaptureRequestSerializer(StrictSerializer):
    payment = serializers.CharField(max_length=40)
    amount = serializers.IntegerField(min_value=1, max_value=MAX_AMOUNT, required=False)
    final = serializers.BooleanField(
        required=False, help_text="True releases the rest of the hold. Without it the rest stays held where the gateway can."
    )


class AllocateSerializer(StrictSerializer):
    reference = ReferenceSerializer()


class ReceiptRequestSerializer(StrictSerializer):
    channel = serializers.ChoiceField(choices=ReceiptChannel.choices)
    to = serializers.CharField(
        required=False, max_length=254, help_text="An address or phone number; without it, the payer's own."
    )


class ReceiptDeliverySerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    channel = serializers.ChoiceField(choices=ReceiptChannel.choices)
    to = serializers.CharField()
    state = serializers.ChoiceField(choices=DeliveryState.choices)


class FailureSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()
    decline_code = serializers.CharField()
    provider_code = serializers.CharField()
    retryable = serializers.BooleanField()
    decision = serializers.CharField(help_text="retry, other_gateway, ask_payer or never.")


class RefundSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.CharField()
    amount = serializers.IntegerField()
    origin = serializers.CharField(help_text="gateway: made in the gateway's own dashboard.")
    reason = serializers.CharField()
    provider_ref = serializers.CharField()
    provider_receipt = serializers.CharField()
    failure = FailureSerializer(allow_null=True)
    created = serializers.DateTimeField()
    updated = serializers.DateTimeField()


class CaptureSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.CharField()
    amount = serializers.IntegerField()
    origin = serializers.CharField(help_text="gateway: made in the gateway's own dashboard.")
    provider_ref = serializers.CharField()
    failure = FailureSerializer(allow_null=True)
    created = serializers.DateTimeField()
    updated = serializers.DateTimeField()


class DisputeSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.CharField()
    amount = serializers.IntegerField()
    currency = serializers.CharField()
    reason = serializers.CharField()
    withdrawn = serializers.BooleanField()
    respond_by = serializers.DateTimeField(allow_null=True)
    provider_ref = serializers.CharField()
    created = serializers.DateTimeField()
    updated = serializers.DateTimeField()


class ReportedMoneySerializer(serializers.Serializer[Any]):
    amount = serializers.IntegerField()
    currency = serializers.CharField()


class ShownMethodSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    phone = serializers.CharField(help_text="Masked.")
    detail = serializers.CharField(help_text="What people may see of it: `Visa •••• 4242`.")
    stored = serializers.CharField(help_text="The stored payment method that was charged.")


class PaymentSerializer(serializers.Serializer[Payment]):
    """A payment as the API and events show it. Amounts are minor units of `currency`."""

    id = serializers.CharField()
    status = serializers.ChoiceField(choices=Status.choices)
    origin = serializers.ChoiceField(choices=["api", "customer"])
    amount = serializers.IntegerField()
    amount_capturable = serializers.IntegerField()
    amount_captured = serializers.IntegerField()
    amount_voided = serializers.IntegerField()
    amount_disputed = serializers.IntegerField()
    amount_refunded = serializers.IntegerField()
    currency = serializers.CharField()
    provider = serializers.CharField()
    provider_ref = serializers.CharField()
    provider_receipt = serializers.CharField()
    receipt_number = serializers.CharField()
    method = ShownMethodSerializer()
    capture = serializers.ChoiceField(choices=["automatic", "manual"])
    next_action = serializers.DictField(allow_null=True)
    failure = FailureSerializer(allow_null=True)
    reference = ReferenceSerializer(allow_null=True)
    account_number = serializers.CharField()
    allocated = serializers.BooleanField()
    reported = ReportedMoneySerializer(allow_null=True, help_text="What the gateway said it took.")
    customer = CustomerSerializer(allow_null=True)
    description = serializers.CharField()
    metadata = serializers.DictField(child=serializers.CharField())
    fee = ReportedMoneySerializer(allow_null=True, help_text="What the gateway kept, where it says so.")
    captures = CaptureSerializer(many=True)
    refunds = RefundSerializer(many=True)
    disputes = DisputeSerializer(many=True)
    expires = serializers.DateTimeField(allow_null=True, help_text="When the hold lapses, or the request for the payer.")
    created = serializers.DateTimeField()
    updated = serializers.DateTimeField()
    completed = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Payment) -> dict[str, Any]:
        return public_form(instance)


class TimelineEntrySerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    kind = serializers.CharField()
    text = serializers.CharField()
    status = serializers.CharField()
    object_type = serializers.CharField()
    object_id = serializers.CharField()
    duration_ms = serializers.IntegerField(allow_null=True)


class TimelineSerializer(serializers.Serializer[Any]):
    payment = serializers.CharField()
    results = TimelineEntrySerializer(many=True)
