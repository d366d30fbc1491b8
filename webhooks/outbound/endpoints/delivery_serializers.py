"""What the API shows of deliveries and their attempts."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState
from webhooks.outbound.selectors import body_sent


class AttemptOutput(serializers.ModelSerializer[DeliveryAttempt]):
    """One try. `lag_ms` is how long the delivery had been due when it began. Headers are masked where they may be secret."""

    request_headers = serializers.DictField(child=serializers.CharField(), read_only=True)
    response_headers = serializers.DictField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = DeliveryAttempt
        fields = [
            "number",
            "started_at",
            "finished_at",
            "lag_ms",
            "status_code",
            "duration_ms",
            "error_class",
            "error",
            "request_headers",
            "response_headers",
            "response_head",
            "address",
        ]
        read_only_fields = fields


class DeliveryOutput(serializers.ModelSerializer[Delivery]):
    """One event owed to one endpoint. `carrier` is the delivery whose request takes it along, in a batch."""

    id = serializers.CharField(read_only=True)
    event = serializers.CharField(source="event_id", read_only=True)
    type = serializers.CharField(source="event.type", read_only=True)
    object_type = serializers.CharField(source="event.object_type", read_only=True)
    object_id = serializers.CharField(source="event.object_id", read_only=True)
    endpoint = serializers.CharField(source="endpoint_id", read_only=True)
    carrier = serializers.CharField(source="carrier_id", read_only=True, allow_null=True)
    next_attempt_at = serializers.SerializerMethodField()

    class Meta:
        model = Delivery
        fields = [
            "id",
            "event",
            "type",
            "object_type",
            "object_id",
            "endpoint",
            "carrier",
            "state",
            "dead_reason",
            "attempts",
            "attempts_allowed",
            "next_attempt_at",
            "last_status",
            "last_error",
            "created",
            "delivered_at",
            "finished_at",
        ]
        read_only_fields = fields

    def get_next_attempt_at(self, delivery: Delivery) -> str | None:
        """Null unless the delivery is pending."""
        if delivery.state != DeliveryState.PENDING:
            return None
        text: str = serializers.DateTimeField().to_representation(delivery.due_at)
        return text


class DeliveryDetail(DeliveryOutput):
    """With the body as it is sent, and each attempt. Of a delivery that carries a batch, the body is the whole batch, and
    `passengers` are the deliveries in it beside this one; attempts stand at the one that carries. `payload` is null where it
    was erased or is no longer kept."""

    payload = serializers.SerializerMethodField()
    passengers = serializers.SerializerMethodField()
    tries = AttemptOutput(many=True, read_only=True)

    class Meta(DeliveryOutput.Meta):
        fields = [*DeliveryOutput.Meta.fields, "payload", "passengers", "tries"]
        read_only_fields = fields

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_payload(self, delivery: Delivery) -> str | None:
        return body_sent(delivery)

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_passengers(self, delivery: Delivery) -> list[Any]:
        return list(delivery.passengers.order_by("position").values_list("pk", flat=True))
