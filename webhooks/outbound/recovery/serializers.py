"""What the API takes and shows of dead letters, replays and retention."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from integrations.tenancy.serializers import StrictSerializer
from webhooks.outbound.event_types import is_pattern
from webhooks.outbound.models import DeadReason, Replay, ReplayMode, ReplayState
from webhooks.outbound.recovery.dead_letters import MOST_AT_ONCE


def _pattern(value: str) -> None:
    if not is_pattern(value):
        raise serializers.ValidationError('Write an event type such as "payment.completed", "payment.*" or "*".')


class SelectionInput(StrictSerializer):
    """Either `ids`, or what the dead letters have in common: at least one of the others."""

    ids = serializers.ListField(
        child=serializers.RegexField(r"^dlv_[0-9a-z]{26}\Z"), required=False, min_length=1, max_length=MOST_AT_ONCE
    )
    endpoint = serializers.RegexField(r"^we_[0-9a-z]{26}\Z", required=False)
    type = serializers.CharField(max_length=100, required=False)
    reason = serializers.ChoiceField(choices=DeadReason.choices, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)

    def validate_ids(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError({"ids": ["Name ids, or what the dead letters have in common."]})
        if "ids" in attrs and len(attrs) > 1:
            raise serializers.ValidationError({"ids": ["Name either ids, or what the dead letters have in common."]})
        return attrs


class RefusedOutput(serializers.Serializer[Any]):
    id = serializers.CharField()
    reason = serializers.CharField()


class RedriveOutput(serializers.Serializer[Any]):
    queued = serializers.IntegerField()
    refused = RefusedOutput(many=True)
    more = serializers.BooleanField(help_text=f"More than {MOST_AT_ONCE} matched: ask again.")


class DiscardOutput(serializers.Serializer[Any]):
    discarded = serializers.IntegerField()
    refused = RefusedOutput(many=True)
    more = serializers.BooleanField(help_text=f"More than {MOST_AT_ONCE} matched: ask again.")


class ReplayInput(StrictSerializer):
    """`since` <= time of publishing < `until`. With `dry_run` events are counted and nothing is sent."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="Now, where it is not given.")
    status = serializers.ChoiceField(choices=ReplayMode.choices, default=ReplayMode.FAILED.value)
    types = serializers.ListField(
        child=serializers.CharField(max_length=100, validators=[_pattern]),
        max_length=100,
        default=list,
        help_text="Event types or wildcards; empty: all.",
    )
    dry_run = serializers.BooleanField(default=False)


class ReplayCountOutput(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    by_type = serializers.DictField(child=serializers.IntegerField())
    exact = serializers.BooleanField(help_text="False: there are more than this.")


class ReplayOutput(serializers.ModelSerializer[Replay]):
    """`total` was counted when it began; `looked_at` events were walked so far, and `queued` of them are sent."""

    id = serializers.CharField(read_only=True)
    endpoint = serializers.CharField(source="endpoint_id", read_only=True)
    status = serializers.ChoiceField(source="mode", choices=ReplayMode.choices, read_only=True)
    state = serializers.ChoiceField(choices=ReplayState.choices, read_only=True)
    types = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Replay
        fields = [
            "id",
            "endpoint",
            "state",
            "status",
            "types",
            "since",
            "until",
            "total",
            "looked_at",
            "queued",
            "detail",
            "requested_by",
            "created",
            "finished_at",
        ]
        read_only_fields = fields


class RetentionInput(StrictSerializer):
    """The whole policy; null, or left out: the installation's setting."""

    payload_days = serializers.IntegerField(min_value=1, max_value=3650, allow_null=True, default=None)
    log_days = serializers.IntegerField(min_value=1, max_value=3650, allow_null=True, default=None)
    failed_days = serializers.IntegerField(min_value=1, max_value=3650, allow_null=True, default=None)
    dead_letter_alarm = serializers.IntegerField(min_value=0, max_value=1_000_000, allow_null=True, default=None)


class KeptOutput(serializers.Serializer[Any]):
    payload_days = serializers.IntegerField()
    log_days = serializers.IntegerField()
    failed_days = serializers.IntegerField()
    dead_letter_alarm = serializers.IntegerField()


class RetentionOutput(serializers.Serializer[Any]):
    """What the tenant has set (null: nothing), and in `effective` what holds."""

    payload_days = serializers.IntegerField(allow_null=True)
    log_days = serializers.IntegerField(allow_null=True)
    failed_days = serializers.IntegerField(allow_null=True)
    dead_letter_alarm = serializers.IntegerField(allow_null=True)
    effective = KeptOutput()
