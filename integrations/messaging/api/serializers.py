"""Shapes of the messaging API: requests are checked by them, answers are described by them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import django_filters
from django.db.models import Exists, OuterRef, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.contracts.messaging import MessageState
from integrations.messaging.drafts import Destination
from integrations.messaging.models import Channel, Message, Recipient
from integrations.messaging.sms.services import MAX_LENGTH, MAX_RECIPIENTS
from integrations.tenancy.serializers import StrictSerializer

MAX_OBJECTS = 1_000
"""Recipients of one call that may have values of their own."""
OVERALL = [*(state.value for state in MessageState), "partial", "preparing", "paused"]


class DataField(serializers.DictField):
    """Values of a text's variables; they are kept with the message, so none may hold what the database can't."""

    default_error_messages = {"characters": "Null characters and lone surrogates can't be kept."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().to_internal_value(data)
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            self.fail("characters")
        if "\\u0000" in json.dumps(found):
            self.fail("characters")
        return found


class AddressesSerializer(StrictSerializer):
    """Where else a recipient can be reached, should the tenant's fallback policy want to go on by another channel."""

    sms = serializers.CharField(max_length=40, required=False)
    email = serializers.EmailField(max_length=254, required=False)
    whatsapp = serializers.CharField(max_length=40, required=False)
    push = serializers.CharField(max_length=150, required=False, help_text="The user whose devices are registered.")


class RecipientSerializer(StrictSerializer):
    """One recipient with what is his own."""

    to = serializers.CharField(max_length=40)
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    data = DataField(required=False, default=dict, help_text="His values of the text's variables.")
    fallback = AddressesSerializer(required=False, default=dict)


@extend_schema_field(
    {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_RECIPIENTS}]}
)
class RecipientsField(serializers.Field[Any, Any, Any, Any]):
    """One number, or a list of them, as text."""

    default_error_messages = {
        "shape": "Give one number or a list of numbers, as text.",
        "empty": "At least one recipient is needed.",
        "many": "At most {limit} recipients.",
    }

    def to_internal_value(self, data: Any) -> list[str]:
        numbers = [data] if isinstance(data, str) else data
        if not isinstance(numbers, list) or not all(isinstance(each, str) for each in numbers):
            self.fail("shape")
        if not numbers or not all(each.strip() for each in numbers):
            self.fail("empty")
        if len(numbers) > MAX_RECIPIENTS:
            self.fail("many", limit=MAX_RECIPIENTS)
        return numbers

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string"},
            {
                "type": "array",
                "items": {
                    "oneOf": [
                        {"type": "string"},
                        {
                            "type": "object",
                            "properties": {
                                "to": {"type": "string"},
                                "name": {"type": "string"},
                                "data": {"type": "object", "additionalProperties": {}},
                                "fallback": {
                                    "type": "object",
                                    "properties": {name: {"type": "string"} for name in ("email", "whatsapp", "push")},
                                },
                            },
                            "required": ["to"],
                        },
                    ]
                },
                "minItems": 1,
                "maxItems": MAX_RECIPIENTS,
            },
        ]
    }
)
class PersonalRecipientsField(RecipientsField):
    """As its base; of the list each may also be an object with what is the recipient's own (`RecipientSerializer`)."""

    default_error_messages = {
        "shape": "Give one number or a list of numbers, as text, or of objects with `to`.",
        "objects": "At most {limit} of the recipients may be objects.",
    }

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, list) or not any(isinstance(each, dict) for each in data):
            return super().to_internal_value(data)
        if sum(isinstance(each, dict) for each in data) > MAX_OBJECTS:
            self.fail("objects", limit=MAX_OBJECTS)
        super().to_internal_value([each["to"] if isinstance(each, dict) and "to" in each else each for each in data])
        return [_destination(number, each) if isinstance(each, dict) else each for number, each in enumerate(data)]


def _destination(number: int, data: dict[str, Any]) -> Destination:
    asked = RecipientSerializer(data=data)
    if not asked.is_valid():
        raise serializers.ValidationError({str(number): asked.errors})
    given = asked.validated_data
    return Destination(given["to"], name=given["name"], data=given["data"], alternatives=dict(given["fallback"]))


class MessageReferenceSerializer(StrictSerializer):
    type = serializers.CharField(max_length=30)
    id = serializers.CharField(max_length=60)


class TextSerializer(StrictSerializer):
    """A text as it is (`message`), or a `template` with `data`; just one of the two."""

    message = serializers.CharField(max_length=MAX_LENGTH, trim_whitespace=False, required=False, allow_blank=True, default="")
    template = serializers.CharField(
        max_length=60, required=False, allow_blank=True, default="", help_text="The name of a template."
    )
    language = serializers.CharField(
        max_length=10, required=False, allow_blank=True, default="", help_text="Which variant of the template."
    )
    data = DataField(required=False, default=dict, help_text="Values of the template's variables.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["message"] and attrs["template"]:
            raise serializers.ValidationError({"template": "Give a message or a template, not both."})
        if not attrs["message"] and not attrs["template"]:
            raise serializers.ValidationError({"message": "This field is required."})
        return attrs


class SmsSendSerializer(TextSerializer):
    to = PersonalRecipientsField()
    fallback = AddressesSerializer(
        required=False, default=dict, help_text="Where else the one recipient can be reached; of several each names his own."
    )
    sender = serializers.CharField(max_length=20, required=False, default="", allow_blank=True)
    provider = serializers.CharField(max_length=50, required=False, allow_null=True, default=None)
    config = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=2**62)
    category = serializers.CharField(max_length=30, required=False, default="", allow_blank=True)
    send_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="Not sent later than that: it would be stale."
    )
    override_suppression = serializers.CharField(
        max_length=200,
        required=False,
        default="",
        allow_blank=True,
        help_text="Why it goes to suppressed addresses too; admins only.",
    )
    reference = MessageReferenceSerializer(required=False, allow_null=True, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        elsewhere = dict(attrs.pop("fallback"))
        if elsewhere:
            if len(attrs["to"]) != 1:
                raise serializers.ValidationError({"fallback": "This is for one recipient; give several of them as objects."})
            (only,) = attrs["to"]
            alone = Destination(only) if isinstance(only, str) else only
            attrs["to"] = [replace(alone, alternatives={**alone.alternatives, **elsewhere})]
        return attrs


class SmsPreviewSerializer(TextSerializer):
    to = RecipientsField(required=False, default=None)


class CostSerializer(serializers.Serializer[Any]):
    value = serializers.CharField(help_text="Major units; may be a fraction of the minor unit.")
    currency = serializers.CharField(allow_blank=True)


class SmsPreviewResultSerializer(serializers.Serializer[Any]):
    encoding = serializers.ChoiceField(choices=["GSM-7", "UCS-2"])
    units = serializers.IntegerField(help_text="Septets (GSM-7) or UTF-16 units (UCS-2).")
    segments = serializers.IntegerField()
    remaining = serializers.IntegerField(help_text="Units that still fit into the last part.")
    unusual = serializers.ListField(child=serializers.CharField(), help_text="The characters that force UCS-2.")
    recipients = serializers.IntegerField(help_text="Distinct numbers; 0 where none were given.")
    total_segments = serializers.IntegerField(help_text="Parts that would be billed for all recipients.")
    cost = CostSerializer(allow_null=True, help_text="Expected for all recipients; null where no price is set.")
    cap_left = CostSerializer(allow_null=True, help_text="What is left of the tenant's cap in this period; null without one.")


class BalanceSerializer(serializers.Serializer[Any]):
    provider = serializers.CharField()
    amount = serializers.IntegerField(help_text="Minor units, rounded down.", allow_null=True)
    currency = serializers.CharField(allow_blank=True)
    value = serializers.CharField(help_text="The exact balance in major units.")


class MessageEventSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    status = serializers.CharField(allow_blank=True, help_text="Empty where the state stayed.")
    detail = serializers.CharField(allow_blank=True)
    origin = serializers.CharField(help_text="Who said so: hub, queue, provider, report, hint, suppression, person.")


class MessageRecipientSerializer(serializers.Serializer[Any]):
    to = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    role = serializers.CharField(allow_blank=True, help_text="to, cc or bcc of an e-mail; else empty.")
    status = serializers.ChoiceField(choices=[state.value for state in MessageState])
    provider_ref = serializers.CharField(allow_blank=True)
    provider_status = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)
    cost = CostSerializer(allow_null=True)
    sent_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    opened_at = serializers.DateTimeField(allow_null=True)
    clicked_at = serializers.DateTimeField(allow_null=True)


class MessageSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    channel = serializers.ChoiceField(choices=Channel.values)
    status = serializers.ChoiceField(choices=OVERALL)
    provider = serializers.CharField()
    sender = serializers.CharField(allow_blank=True)
    subject = serializers.CharField(allow_blank=True)
    message = serializers.CharField(allow_blank=True)
    segments = serializers.IntegerField(help_text="Parts of a text message; 0 on other channels.")
    encoding = serializers.ChoiceField(choices=["GSM-7", "UCS-2", ""])
    category = serializers.CharField(allow_blank=True)
    template = serializers.CharField(allow_blank=True, help_text="The template that the text was made from.")
    reference = MessageReferenceSerializer(allow_null=True)
    send_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    paused_at = serializers.DateTimeField(allow_null=True)
    cancelled_at = serializers.DateTimeField(allow_null=True)
    continues = serializers.CharField(allow_null=True, help_text="The message that this one was sent in place of, or again.")
    created = serializers.DateTimeField()
    created_by = serializers.CharField(allow_blank=True)
    expected = serializers.IntegerField(help_text="Recipients asked for; more than `counts` while a list is being read.")
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="How many recipients are in which state.")
    recipients = MessageRecipientSerializer(
        many=True, help_text="The first 100 (in lists 20); all are at messages/{id}/recipients."
    )


class RecipientStorySerializer(MessageRecipientSerializer):
    events = MessageEventSerializer(many=True)


class MessageDetailSerializer(MessageSerializer):
    recipients = RecipientStorySerializer(many=True)


MESSAGES_FOUND = 10_000
"""Of one recipient, so many messages are looked through, the newest ones."""


class MessageFilter(django_filters.FilterSet):
    """`status` and `to` find messages with such a recipient."""

    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    provider = django_filters.CharFilter()
    category = django_filters.CharFilter()
    reference_type = django_filters.CharFilter()
    reference_id = django_filters.CharFilter()
    status = django_filters.ChoiceFilter(choices=[(state.value, state.value) for state in MessageState], method="filter_status")
    to = django_filters.CharFilter(method="filter_to")
    created_after = django_filters.IsoDateTimeFilter(field_name="created", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created", lookup_expr="lt")

    class Meta:
        model = Message
        fields: list[str] = []

    def filter_status(self, rows: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        return rows.filter(Exists(Recipient.objects.filter(message_id=OuterRef("pk"), state=value)))

    def filter_to(self, rows: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        # Looked up beforehand: asked of each message in turn, somebody who is seldom written to would be looked for everywhere.
        # An unescaped `+` in a query string arrives as a space.
        given = [f"+{value.strip().lstrip('+')}", value.strip()]
        found = Recipient.objects.filter(address__in=given).order_by("-id").values_list("message_id", flat=True)
        return rows.filter(pk__in=list(found[:MESSAGES_FOUND]))
