"""Shapes of notification rules and recurring messages in the API."""

from __future__ import annotations

from typing import Any

import django_filters
from rest_framework import serializers

from integrations.messaging.models import Channel, NotificationRule, RecurringMessage
from integrations.tenancy.serializers import StrictSerializer


class NotificationRuleWriteSerializer(StrictSerializer):
    """Who is told by template when an event happens."""

    name = serializers.CharField(max_length=60)
    event_type = serializers.CharField(max_length=60, help_text="A type of the catalogue, all of a kind (payment.*), or *.")
    channel = serializers.ChoiceField(choices=Channel.choices)
    audience = serializers.ChoiceField(choices=NotificationRule.Audience.choices, required=False)
    addresses = serializers.CharField(
        max_length=20_000,
        required=False,
        allow_blank=True,
        help_text="fixed: one a line (push: ids of users); field: the path of the event's field, such as customer.email.",
    )
    template_name = serializers.SlugField(
        max_length=60,
        help_text="Filled in with the event's object, event, tenant.name, payer_name, and amount_text for amount.",
    )
    language = serializers.CharField(max_length=10, required=False, allow_blank=True)
    category = serializers.CharField(max_length=30, required=False, allow_blank=True)
    conditions = serializers.DictField(required=False, help_text="Only where these fields of the object have these values.")
    delay_minutes = serializers.IntegerField(min_value=0, max_value=30 * 24 * 60, required=False)
    is_active = serializers.BooleanField(required=False)


class NotificationRuleSerializer(serializers.ModelSerializer[NotificationRule]):
    class Meta:
        model = NotificationRule
        fields = (
            "id", "name", "event_type", "channel", "audience", "addresses", "template_name", "language", "category",
            "conditions", "delay_minutes", "is_active", "created",
        )  # fmt: skip
        read_only_fields = fields


class RuleFilter(django_filters.FilterSet):
    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    event_type = django_filters.CharFilter()
    is_active = django_filters.BooleanFilter()


class RecurringMessageWriteSerializer(StrictSerializer):
    """A message that is sent again and again."""

    name = serializers.CharField(max_length=100)
    channel = serializers.ChoiceField(choices=Channel.choices)
    request = serializers.DictField(help_text="The body of the channel's send route, without send_at and expires_at.")
    frequency = serializers.ChoiceField(choices=RecurringMessage.Frequency.choices)
    at = serializers.TimeField(help_text="On the tenant's wall clock.")
    weekday = serializers.IntegerField(min_value=0, max_value=6, required=False, allow_null=True, help_text="0 is Monday.")
    day = serializers.IntegerField(
        min_value=1,
        max_value=31,
        required=False,
        allow_null=True,
        help_text="Of the month; its last where it has fewer.",
    )
    attachment_url = serializers.CharField(
        max_length=2000,
        required=False,
        allow_blank=True,
        help_text="Of an e-mail: fetched anew each time, at most 10 MB, no redirect followed. Without it nothing is sent.",
    )
    attachment_name = serializers.CharField(max_length=150, required=False, allow_blank=True)
    ends_at = serializers.DateTimeField(required=False, allow_null=True)
    is_active = serializers.BooleanField(required=False)


class RecurringMessageSerializer(serializers.ModelSerializer[RecurringMessage]):
    request = serializers.DictField()

    class Meta:
        model = RecurringMessage
        fields = (
            "id", "name", "channel", "request", "frequency", "at", "weekday", "day", "attachment_url", "attachment_name",
            "ends_at", "is_active", "next_at", "last_at", "last_problem", "created_by", "created",
        )  # fmt: skip
        read_only_fields = fields


class RecurringFilter(django_filters.FilterSet):
    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    is_active = django_filters.BooleanFilter()


class RecurringQueuedSerializer(serializers.Serializer[Any]):
    queue_item = serializers.IntegerField(help_text="What became of it: integrations/queue/{id}.")
