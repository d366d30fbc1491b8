"""Shapes of the push API."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.messaging.api.serializers import DataField, MessageReferenceSerializer, MessageSerializer
from integrations.messaging.calls import LONGEST_TTL
from integrations.messaging.models import Device
from integrations.messaging.push.acknowledging import DELIVERED, OPENED
from integrations.messaging.push.devices import LONGEST_TOKEN, MAX_TOPICS, masked
from integrations.messaging.push.pushes import MAX_TOKENS, MAX_USERS
from integrations.tenancy.serializers import StrictSerializer

TOKEN_SHAPE = {"type": "string", "minLength": 8, "maxLength": LONGEST_TOKEN}


@extend_schema_field({"oneOf": [TOKEN_SHAPE, {"type": "array", "items": TOKEN_SHAPE, "minItems": 1, "maxItems": MAX_TOKENS}]})
class TokensField(serializers.Field[Any, Any, Any, Any]):
    """One device token, or a list of them, as text."""

    default_error_messages = {
        "shape": "Give one device token or a list of them, as text.",
        "empty": "At least one device token is needed.",
        "many": "At most {limit} device tokens.",
    }

    def to_internal_value(self, data: Any) -> list[str]:
        tokens = [data] if isinstance(data, str) else data
        if not isinstance(tokens, list) or not all(isinstance(each, str) for each in tokens):
            self.fail("shape")
        if not tokens:
            self.fail("empty")
        if len(tokens) > MAX_TOKENS:
            self.fail("many", limit=MAX_TOKENS)
        return tokens

    def to_representation(self, value: Any) -> Any:
        return value


class PushSendSerializer(StrictSerializer):
    """To just one of `to`, `user`, `users`, `topic`; `title` and `body`, or a `template` with `template_data`; without words
    it is silent and only the `data` reaches the app."""

    to = TokensField(required=False)
    user = serializers.CharField(max_length=150, required=False, help_text="All devices of this user.")
    users = serializers.ListField(
        child=serializers.CharField(max_length=150), required=False, allow_empty=False, max_length=MAX_USERS
    )
    topic = serializers.CharField(max_length=500, required=False, help_text="All devices that follow it.")
    title = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")
    body = serializers.CharField(max_length=4000, required=False, allow_blank=True, default="", trim_whitespace=False)
    template = serializers.CharField(max_length=60, required=False, allow_blank=True, default="")
    language = serializers.CharField(
        max_length=10,
        required=False,
        allow_blank=True,
        default="",
        help_text="The template's variant for devices whose own language is not known or has none.",
    )
    template_data = DataField(required=False, default=dict, help_text="Values of the template's variables.")
    data = DataField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False),
        required=False,
        default=dict,
        help_text="What the app gets beside the words; names and values are texts.",
    )
    image_url = serializers.URLField(max_length=2000, required=False, allow_blank=True, default="")
    link = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="", help_text="What the app opens.")
    sound = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    badge = serializers.IntegerField(min_value=0, max_value=99_999, required=False, allow_null=True, default=None)
    collapse_key = serializers.CharField(
        max_length=64, required=False, allow_blank=True, default="", help_text="A later one with this key replaces it."
    )
    ttl = serializers.IntegerField(
        min_value=0,
        max_value=LONGEST_TTL,
        required=False,
        allow_null=True,
        default=None,
        help_text="Seconds for which it is kept for a device that is off; 0: now or never.",
    )
    urgent = serializers.BooleanField(required=False, default=True)
    provider = serializers.CharField(max_length=50, required=False, allow_null=True, default=None)
    config = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=2**62)
    category = serializers.CharField(max_length=30, required=False, default="", allow_blank=True)
    send_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    reference = MessageReferenceSerializer(required=False, allow_null=True, default=None)

    def validate_image_url(self, value: str) -> str:
        if value and not value.startswith("https://"):
            raise serializers.ValidationError("Devices fetch pictures by https only.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("to", "user", "users", "topic") if attrs.get(name)]
        if not given:
            raise serializers.ValidationError({"to": "Give one of: to, user, users, topic."})
        if len(given) > 1:
            raise serializers.ValidationError({given[1]: f"Give just one of: {', '.join(given)}."})
        return attrs


class PushMessageSerializer(MessageSerializer):
    also = serializers.ListField(
        child=serializers.CharField(), help_text="Messages to the other devices: another account, another language."
    )


class DeviceWriteSerializer(StrictSerializer):
    """A device as it is now. What is left out goes back to empty; but topics stay while the user does, and the environment
    stays."""

    token = serializers.CharField(max_length=LONGEST_TOKEN, trim_whitespace=False)
    platform = serializers.ChoiceField(choices=Device.Platform.choices)
    user = serializers.CharField(
        max_length=150, required=False, allow_blank=True, default="", help_text="The id that your own system gives the user."
    )
    provider = serializers.CharField(max_length=50, required=False, allow_blank=True, default="")
    config = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=2**62)
    environment = serializers.ChoiceField(choices=Device.Environment.choices, required=False)
    app = serializers.RegexField(
        r"^[A-Za-z0-9._-]*\Z",
        max_length=155,
        required=False,
        allow_blank=True,
        default="",
        help_text="The app's id at the push service, where there are several.",
    )
    language = serializers.CharField(max_length=20, required=False, allow_blank=True, default="")
    time_zone = serializers.CharField(max_length=50, required=False, allow_blank=True, default="")
    topics = serializers.ListField(
        child=serializers.CharField(max_length=500),
        required=False,
        allow_null=True,
        default=None,
        max_length=MAX_TOPICS,
        help_text="All that the device follows; [] for none.",
    )


class DeviceTokenSerializer(StrictSerializer):
    token = serializers.CharField(max_length=LONGEST_TOKEN, trim_whitespace=False)


class DeviceSerializer(serializers.ModelSerializer[Device]):
    """A device; all but the end of its token is hidden: with the account, it is all that it takes to write to the device."""

    token = serializers.SerializerMethodField()
    alive = serializers.SerializerMethodField()
    config = serializers.IntegerField(source="config_id", allow_null=True, read_only=True)
    topics = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Device
        fields = (
            "id", "token", "platform", "user", "alive", "gone_at", "gone_why", "provider", "config", "environment", "app",
            "language", "time_zone", "topics", "registered_at", "created",
        )  # fmt: skip
        read_only_fields = fields

    def get_token(self, device: Device) -> str:
        return masked(device.token)

    def get_alive(self, device: Device) -> bool:
        return device.gone_at is None


class RegisteredDeviceSerializer(DeviceSerializer):
    """The device with its whole token, for whoever has just named it."""

    def get_token(self, device: Device) -> str:
        return device.token


class DeviceFilter(django_filters.FilterSet):
    user = django_filters.CharFilter()
    platform = django_filters.ChoiceFilter(choices=Device.Platform.choices)
    topic = django_filters.CharFilter(method="filter_topic")
    alive = django_filters.BooleanFilter(field_name="gone_at", lookup_expr="isnull")

    class Meta:
        model = Device
        fields: list[str] = []

    def filter_topic(self, rows: QuerySet[Device], name: str, value: str) -> QuerySet[Device]:
        return rows.filter(topics__contains=[value])


class PushAckSerializer(StrictSerializer):
    """Which notification: the note that came with it (`ref`), else the message, with the token where it had several devices."""

    message = serializers.RegexField(r"^msg_[0-9a-z]{26}\Z", required=False)
    token = serializers.CharField(max_length=LONGEST_TOKEN, trim_whitespace=False, required=False)
    ref = serializers.CharField(max_length=64, required=False, help_text="`hub_message` of the app's data.")
    event = serializers.ChoiceField(choices=[DELIVERED, OPENED])


class PushAckResultSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    status = serializers.CharField()
    delivered_at = serializers.DateTimeField(allow_null=True)
    opened_at = serializers.DateTimeField(allow_null=True)
