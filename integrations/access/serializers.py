"""Shapes of the API-key and audit routes."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.models import ApiKey, AuditEntry, Role
from integrations.tenancy.keys import GRACE, LONGEST_GRACE, MAX_IPS, MAX_NAME, MAX_SCOPES, STATES, previous_works, state_of
from integrations.tenancy.serializers import StrictSerializer
from integrations.tenancy.usage import LONGEST

_LARGEST = 2**31 - 1


class KeyPatch(StrictSerializer):
    """What of a key can be changed."""

    name = serializers.CharField(max_length=MAX_NAME)
    allowed_ips = serializers.ListField(
        child=serializers.CharField(max_length=64),
        max_length=MAX_IPS,
        required=False,
        help_text="Addresses and networks (CIDR) that it may be used from; empty: any.",
    )
    rate_per_minute = serializers.IntegerField(
        min_value=1, max_value=_LARGEST, required=False, allow_null=True, help_text="Null: the installation's limit."
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Null: never.")


class KeyInput(KeyPatch):
    """A key to be made."""

    role = serializers.ChoiceField(choices=Role.choices, default=Role.ADMIN)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=80),
        max_length=MAX_SCOPES,
        required=False,
        help_text="`payments:read`, `payments` (both), `*`; empty: all that the role may.",
    )


class KeyRotation(StrictSerializer):
    grace_seconds = serializers.IntegerField(
        min_value=0,
        max_value=int(LONGEST_GRACE.total_seconds()),
        default=int(GRACE.total_seconds()),
        help_text="How long the key before works on.",
    )


class PreviousKey(serializers.Serializer[Any]):
    prefix = serializers.CharField()
    until = serializers.DateTimeField()


class KeyOutput(serializers.ModelSerializer[ApiKey]):
    """A key without the key itself: that was shown when it was made."""

    state = serializers.SerializerMethodField()
    previous = serializers.SerializerMethodField(help_text="The key before, while it still works.")

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "name",
            "prefix",
            "state",
            "role",
            "scopes",
            "allowed_ips",
            "rate_per_minute",
            "previous",
            "created",
            "created_by",
            "rotated_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "last_used_ip",
        ]
        extra_kwargs = {"scopes": {"help_text": ""}}

    @extend_schema_field(serializers.ChoiceField(choices=list(STATES)))
    def get_state(self, obj: ApiKey) -> str:
        return state_of(obj)

    @extend_schema_field(PreviousKey(allow_null=True))
    def get_previous(self, obj: ApiKey) -> dict[str, Any] | None:
        if not previous_works(obj):
            return None
        return dict(PreviousKey({"prefix": obj.previous_prefix, "until": obj.previous_until}).data)


class KeyCreated(KeyOutput):
    key = serializers.CharField(help_text="Shown this once.")

    class Meta(KeyOutput.Meta):
        fields = [*KeyOutput.Meta.fields, "key"]


class UsageQuery(StrictSerializer):
    days = serializers.IntegerField(min_value=1, max_value=LONGEST, default=30)


class DayUsage(serializers.Serializer[Any]):
    day = serializers.DateField(source="name")
    count = serializers.IntegerField()
    errors = serializers.IntegerField(help_text="Answers of 400 and above.")  # type: ignore[assignment]


class RouteUsage(serializers.Serializer[Any]):
    route = serializers.CharField(source="name")
    count = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]


class UsageOutput(serializers.Serializer[Any]):
    """Requests with a key, days in UTC."""

    total = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]
    days = DayUsage(many=True)
    routes = RouteUsage(many=True, help_text="The most used first.")


class ScopeOutput(serializers.Serializer[Any]):
    """A scope, and the routes that it opens."""

    scope = serializers.CharField()
    routes = serializers.ListField(child=serializers.CharField())


class AuditOutput(serializers.ModelSerializer[AuditEntry]):
    """One change: `changes` is {field: [before, after]}, with what is secret masked."""

    changes = serializers.DictField(child=serializers.ListField(child=serializers.JSONField(allow_null=True)))

    class Meta:
        model = AuditEntry
        fields = ["id", "created", "actor", "ip", "action", "object_type", "object_id", "object_name", "changes"]
