"""What the API takes and shows of endpoints and deliveries. Secrets go out once, header values never."""

from __future__ import annotations

import re
from typing import Any

from rest_framework import serializers

from integrations.http.guard import BlockedAddress, check_url
from integrations.secrets import SecretUnreadable
from integrations.tenancy.serializers import StrictSerializer
from webhooks.outbound.delivery.sender import MASK, RESERVED_HEADERS
from webhooks.outbound.event_types import is_pattern
from webhooks.outbound.models import Delivery, DeliveryAttempt, Endpoint

MAX_HEADERS = 20
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,1998}[\x21-\x7e])?")


def _url(value: str) -> None:
    try:
        check_url(value)
    except BlockedAddress as error:
        raise serializers.ValidationError(f"Not allowed: {error}.", code="blocked_url") from error


def _pattern(value: str) -> None:
    if not is_pattern(value):
        raise serializers.ValidationError('Write an event type such as "payment.completed", "payment.*" or "*".')


class HeadersField(serializers.DictField):
    """Headers of the tenant's own, sent with each delivery. Shown masked; a masked value sent back keeps what is stored."""

    child = serializers.CharField(max_length=2000, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        headers: dict[str, str] = super().to_internal_value(data)
        if len(headers) > MAX_HEADERS:
            raise serializers.ValidationError(f"At most {MAX_HEADERS} headers.")
        if len({name.lower() for name in headers}) < len(headers):
            raise serializers.ValidationError("The same header stands twice.")
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise serializers.ValidationError(f"{name[:50]!r} is not a header name.")
            if name.lower() in RESERVED_HEADERS or name.lower().startswith("webhook-"):
                raise serializers.ValidationError(f"The header {name} is reserved.", code="reserved_header")
            if not value.startswith(MASK) and not _HEADER_VALUE.fullmatch(value):
                raise serializers.ValidationError(f"The value of {name} must be printable ASCII.")
        return headers


class EndpointInput(StrictSerializer):
    """POST and PUT: the whole endpoint. PATCH: what changes. `context["stored"]` is the endpoint being changed, if any."""

    name = serializers.CharField(max_length=100, allow_blank=True, default="")
    url = serializers.CharField(max_length=2000, validators=[_url])
    events = serializers.ListField(
        child=serializers.CharField(max_length=100, validators=[_pattern]), min_length=1, max_length=100
    )
    headers = HeadersField(default=dict)
    is_active = serializers.BooleanField(default=True)

    def validate_events(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    def validate_headers(self, value: dict[str, str]) -> dict[str, str]:
        masked = {name for name, text in value.items() if text.startswith(MASK)}
        if not masked:
            return value
        stored: Endpoint | None = self.context.get("stored")
        try:
            known = {name.lower(): text for name, text in stored.headers().items()} if stored else {}
        except SecretUnreadable:
            known = {}
        if missing := sorted(name for name in masked if name.lower() not in known):
            raise serializers.ValidationError(f"There is no stored value of {', '.join(missing)} to keep.")
        return {name: known[name.lower()] if name in masked else text for name, text in value.items()}


class EndpointOutput(serializers.ModelSerializer[Endpoint]):
    """An endpoint; `headers` is null where the stored values can't be opened."""

    id = serializers.CharField(read_only=True)
    events = serializers.ListField(child=serializers.CharField(), read_only=True)
    headers = serializers.DictField(child=serializers.CharField(), source="masked_headers", read_only=True, allow_null=True)

    class Meta:
        model = Endpoint
        fields = ["id", "name", "url", "events", "headers", "is_active", "disabled_reason", "created", "updated"]
        read_only_fields = fields


class EndpointCreated(EndpointOutput):
    """The answer to creating: the only one that holds the signing secret."""

    secret = serializers.CharField(read_only=True)

    class Meta(EndpointOutput.Meta):
        fields = [*EndpointOutput.Meta.fields, "secret"]
        read_only_fields = fields


class AttemptOutput(serializers.ModelSerializer[DeliveryAttempt]):
    class Meta:
        model = DeliveryAttempt
        fields = [
            "number",
            "started_at",
            "finished_at",
            "status_code",
            "duration_ms",
            "error_class",
            "error",
            "response_head",
            "address",
        ]
        read_only_fields = fields


class DeliveryOutput(serializers.ModelSerializer[Delivery]):
    id = serializers.CharField(read_only=True)
    event = serializers.CharField(source="event_id", read_only=True)
    type = serializers.CharField(source="event.type", read_only=True)
    object_type = serializers.CharField(source="event.object_type", read_only=True)
    object_id = serializers.CharField(source="event.object_id", read_only=True)
    endpoint = serializers.CharField(source="endpoint_id", read_only=True)
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
            "state",
            "attempts",
            "attempts_allowed",
            "next_attempt_at",
            "last_status",
            "last_error",
            "created",
            "finished_at",
        ]
        read_only_fields = fields

    def get_next_attempt_at(self, delivery: Delivery) -> str | None:
        """Null unless the delivery is pending."""
        if delivery.state != "pending":
            return None
        text: str = serializers.DateTimeField().to_representation(delivery.due_at)
        return text


class DeliveryDetail(DeliveryOutput):
    """With the body as it is sent, and each attempt."""

    payload = serializers.CharField(source="event.payload", read_only=True)
    tries = AttemptOutput(many=True, read_only=True)

    class Meta(DeliveryOutput.Meta):
        fields = [*DeliveryOutput.Meta.fields, "payload", "tries"]
        read_only_fields = fields


class EventTypeOutput(serializers.Serializer[Any]):
    type = serializers.CharField()
    description = serializers.CharField()
    schema = serializers.JSONField()
    example = serializers.JSONField()
