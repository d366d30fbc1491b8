"""What the API takes and shows of events, their types, and filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from integrations.tenancy.serializers import StrictSerializer
from webhooks.outbound.endpoints.delivery_serializers import DeliveryOutput
from webhooks.outbound.models import Event
from webhooks.outbound.publishing.filters import InvalidFilter, check

MAX_CHANNELS = 20


class ObjectField(serializers.JSONField):
    """A JSON object."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError("This must be a JSON object.")
        return data


class _Reference(StrictSerializer):
    type = serializers.CharField(max_length=40)
    id = serializers.CharField(max_length=100)


class EventInput(StrictSerializer):
    """`data` is what stands in `data.object` of the body that is sent. `key` makes the event unique for good."""

    type = serializers.CharField(max_length=100)
    data = ObjectField(help_text="at most 256 kB and 50 levels; fulfils the schema of its type, where that has one")
    channels = serializers.ListField(
        child=serializers.CharField(max_length=100),
        max_length=MAX_CHANNELS,
        default=list,
        help_text="labels by which endpoints may choose",
    )
    reference = _Reference(required=False, allow_null=True, help_text="your own object that this is about")
    key = serializers.CharField(
        max_length=200,
        allow_blank=True,
        default="",
        help_text="a second event of this type and key is the first one, answered with 200",
    )

    def validate_channels(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))


class EventOutput(serializers.ModelSerializer[Event]):
    """An event; `deliveries` is how many there are by now: with more than 50 endpoints they follow within a second."""

    id = serializers.CharField(read_only=True)
    version = serializers.IntegerField(source="type_version", read_only=True)
    channels = serializers.ListField(child=serializers.CharField(), read_only=True)
    reference = serializers.SerializerMethodField()
    deliveries = serializers.SerializerMethodField()

    class Meta:
        model = Event
        fields = ["id", "type", "version", "created", "channels", "reference", "key", "erased_at", "deliveries"]
        read_only_fields = fields

    def get_reference(self, event: Event) -> dict[str, str] | None:
        """What the event is about; null where that was not said."""
        return {"type": event.object_type, "id": event.object_id} if event.object_type or event.object_id else None

    def get_deliveries(self, event: Event) -> int:
        """How many deliveries were made so far."""
        counts: Mapping[str, int] = self.context["deliveries"]
        return counts.get(event.pk, 0)


class EventDetail(EventOutput):
    """With its body (null once it was erased) and its deliveries, the newest 200."""

    body = serializers.JSONField(read_only=True, allow_null=True)
    deliveries = DeliveryOutput(many=True, read_only=True)  # type: ignore[assignment]

    class Meta(EventOutput.Meta):
        fields = [*EventOutput.Meta.fields, "body"]
        read_only_fields = fields


class EventTypeOutput(serializers.Serializer[Any]):
    """A type; `schema` and `example` are of the whole body that is sent."""

    type = serializers.CharField()
    source = serializers.ChoiceField(choices=["hub", "own"])
    description = serializers.CharField()
    version = serializers.IntegerField()
    publishable = serializers.BooleanField(help_text="may be published by POST /api/events")
    deprecated = serializers.BooleanField()
    deprecation_note = serializers.CharField()
    archived = serializers.BooleanField()
    schema = serializers.JSONField()
    example = serializers.JSONField(allow_null=True)


class EventTypeDetail(EventTypeOutput):
    """With the schema and the example of `data.object` alone, as they were handed in."""

    data_schema = serializers.JSONField(allow_null=True)
    data_example = serializers.JSONField(allow_null=True)


class EventTypeChange(StrictSerializer):
    """All that can be set of a type of your own; what is left out is empty."""

    description = serializers.CharField(max_length=500, allow_blank=True, default="")
    schema = ObjectField(
        allow_null=True,
        default=None,
        help_text="JSON Schema (draft 2020-12) of `data`; no `pattern`, `$ref` to `#/$defs/<name>` only, at most 64 kB",
    )
    example = ObjectField(allow_null=True, default=None, help_text="of `data`; fulfils the schema")
    deprecated = serializers.BooleanField(default=False)
    deprecation_note = serializers.CharField(max_length=300, allow_blank=True, default="")


class EventTypeInput(EventTypeChange):
    """A type of your own, by its dotted name."""

    name = serializers.CharField(max_length=100)


class FilterTestInput(StrictSerializer):
    """A filter, and what to hold it against: just one of an event's id, a whole body, or a type whose example will do."""

    filter = ObjectField()
    event = serializers.CharField(max_length=60, required=False)
    body = ObjectField(required=False)
    type = serializers.CharField(max_length=100, required=False)

    def validate_filter(self, value: Any) -> Any:
        try:
            check(value)
        except InvalidFilter as error:
            raise serializers.ValidationError(f"This is no filter: {error}.", code="invalid_filter") from error
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 2:
            raise serializers.ValidationError("Name just one of event, body and type.")
        return attrs


class FilterTestOutput(serializers.Serializer[Any]):
    """`reason` is the path, within the filter, of the first condition that does not hold."""

    matches = serializers.BooleanField()
    reason = serializers.CharField(allow_null=True)
