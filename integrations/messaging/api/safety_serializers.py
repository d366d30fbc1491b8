"""Shapes of the routes about who is not to be written to, and of what accounts have left."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Model, QuerySet
from rest_framework import serializers

from integrations.messaging.models import BalanceReading, Channel, Preference, Suppression
from integrations.messaging.models.safety import REASONS
from integrations.messaging.safety.screening import spellings
from integrations.tenancy.serializers import StrictSerializer


class SuppressionWriteSerializer(StrictSerializer):
    channel = serializers.ChoiceField(choices=Channel.choices)
    address = serializers.CharField(max_length=512, help_text="A phone number, e-mail address or device token.")
    reason = serializers.ChoiceField(choices=REASONS, required=False, default="manual")
    detail = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")


class SuppressionSerializer(serializers.ModelSerializer[Suppression]):
    class Meta:
        model = Suppression
        fields = (
            "id", "channel", "address", "reason", "detail", "source", "created", "released_at", "released_by",
            "release_reason",
        )  # fmt: skip
        read_only_fields = fields


class PreferenceWriteSerializer(StrictSerializer):
    channel = serializers.ChoiceField(choices=Channel.choices)
    address = serializers.CharField(max_length=512)
    category = serializers.CharField(
        max_length=30, required=False, allow_blank=True, default="", help_text="Empty: all messages on the channel."
    )
    allowed = serializers.BooleanField()


class PreferenceSerializer(serializers.ModelSerializer[Preference]):
    class Meta:
        model = Preference
        fields = ("id", "channel", "address", "category", "allowed", "source", "updated")
        read_only_fields = fields


class BalanceReadingSerializer(serializers.Serializer[Any]):
    """`value` is decimal text in major units of `currency`; of accounts that count messages, `unit` says what."""

    config = serializers.IntegerField()
    label = serializers.CharField(allow_blank=True)
    provider = serializers.CharField()
    channel = serializers.ChoiceField(choices=Channel.values)
    value = serializers.CharField()
    currency = serializers.CharField(allow_blank=True)
    unit = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField()

    def to_representation(self, instance: BalanceReading) -> dict[str, Any]:
        return {
            "config": instance.config_id,
            "label": instance.config.label,
            "provider": instance.config.provider_id,
            "channel": instance.channel,
            "value": f"{instance.amount.normalize():f}",
            "currency": instance.currency,
            "unit": instance.unit,
            "at": serializers.DateTimeField().to_representation(instance.at),
        }


class _AddressFilter(django_filters.FilterSet):
    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    address = django_filters.CharFilter(method="filter_address", help_text="Written in any of the usual ways.")

    def filter_address(self, rows: QuerySet[Model], name: str, value: str) -> QuerySet[Model]:
        country: str = self.request.tenant.country
        return rows.filter(address__in=spellings(value, country=country))


class SuppressionFilter(_AddressFilter):
    reason = django_filters.ChoiceFilter(choices=REASONS)
    released = django_filters.BooleanFilter(
        field_name="released_at", lookup_expr="isnull", exclude=True, help_text="true: those that were released instead."
    )

    def filter_queryset(self, queryset: QuerySet[Model]) -> QuerySet[Model]:
        rows: QuerySet[Model] = super().filter_queryset(queryset)
        return rows.filter(released_at__isnull=True) if self.form.cleaned_data.get("released") is None else rows


class PreferenceFilter(_AddressFilter):
    category = django_filters.CharFilter()
    allowed = django_filters.BooleanFilter()


class BalanceFilter(django_filters.FilterSet):
    channel = django_filters.ChoiceFilter(choices=Channel.choices)
    config = django_filters.NumberFilter(field_name="config_id")
