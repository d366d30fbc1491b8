"""Shapes of the providers and configs API."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from rest_framework import serializers

from integrations.configs import schemas
from integrations.contracts.capabilities import Capability, Environment
from integrations.contracts.payment_features import MethodType
from integrations.models import Config, ConfigStatus
from integrations.runtime.rate_limit.limits import FASTEST, MOST, SLOWEST
from integrations.tenancy.serializers import StrictSerializer

CATEGORIES = [each.value for each in Capability]
ENVIRONMENTS = [each.value for each in Environment]


class SchemaFieldSerializer(serializers.Serializer[Any]):
    """One field of a provider's config. `secret` ones are write-only."""

    name = serializers.CharField()
    label = serializers.CharField()
    help = serializers.CharField(allow_blank=True)
    type = serializers.ChoiceField(choices=["string", "integer", "boolean"])
    required = serializers.BooleanField()
    secret = serializers.BooleanField()
    default = serializers.JSONField(allow_null=True)
    assigned = serializers.BooleanField(help_text="The provider gives it when webhooks are registered; nobody types it.")
    pattern = serializers.CharField(required=False, allow_blank=True, help_text="Must match the whole text.")
    multiline = serializers.BooleanField(required=False)
    choices = serializers.ListField(child=serializers.DictField(child=serializers.CharField()), required=False)


class CapabilitySerializer(serializers.Serializer[Any]):
    category = serializers.ChoiceField(choices=CATEGORIES)
    operations = serializers.ListField(child=serializers.CharField(), help_text="What this provider's adapter can do.")


class CurrencyLimitsSerializer(serializers.Serializer[Any]):
    minimum = serializers.IntegerField(help_text="Minor units.")
    maximum = serializers.IntegerField(help_text="Minor units.")
    decimals = serializers.IntegerField(help_text="Digits that the gateway itself writes.")
    step = serializers.IntegerField(help_text="Amounts are a multiple of so many minor units.")


class FeaturesSerializer(serializers.Serializer[Any]):
    """What a payment gateway can do; what it can't is refused before any call."""

    operations = serializers.DictField(child=serializers.BooleanField())
    methods = serializers.ListField(child=serializers.ChoiceField(choices=[each.value for each in MethodType]))
    currencies = serializers.DictField(child=CurrencyLimitsSerializer())
    notes = serializers.DictField(child=serializers.CharField(), help_text="Operation -> its limits in a sentence.")


class ProviderSerializer(serializers.Serializer[Any]):
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    docs_url = serializers.CharField(allow_blank=True)
    categories = serializers.ListField(child=serializers.ChoiceField(choices=CATEGORIES))
    capabilities = CapabilitySerializer(many=True)
    environments = serializers.ListField(child=serializers.ChoiceField(choices=ENVIRONMENTS))
    requirements = serializers.ListField(child=serializers.CharField(), help_text="What to have at hand before setting up.")
    config_schema = SchemaFieldSerializer(many=True)
    features = FeaturesSerializer(allow_null=True, help_text="Payment gateways only.")
    is_global = serializers.BooleanField(help_text="An account of the installation can serve many tenants.")
    granted = serializers.BooleanField(help_text="Your tenant may use the installation's account.")
    configs = serializers.IntegerField(help_text="How many accounts of yours are set up.")


class ProviderListSerializer(serializers.Serializer[Any]):
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = ProviderSerializer(many=True)


class LimitsSerializer(StrictSerializer):
    """An account's own limits. What is left out or null is as the provider declares it."""

    rate = serializers.FloatField(
        min_value=SLOWEST,
        max_value=FASTEST,
        required=False,
        allow_null=True,
        help_text="Calls of an operation a second. Without a burst of its own, that follows in proportion.",
    )
    burst = serializers.IntegerField(
        min_value=1, max_value=MOST["burst"], required=False, allow_null=True, help_text="Calls that may be saved up."
    )
    concurrency = serializers.IntegerField(
        min_value=1,
        max_value=MOST["concurrency"],
        required=False,
        allow_null=True,
        help_text="Calls at once, of all operations.",
    )
    daily = serializers.IntegerField(
        min_value=1, max_value=MOST["daily"], required=False, allow_null=True, help_text="Calls a day (UTC), of all operations."
    )


class LimitsInForceSerializer(serializers.Serializer[Any]):
    """What the account may be asked for. Null: no limit."""

    rate = serializers.FloatField()
    burst = serializers.IntegerField()
    concurrency = serializers.IntegerField(allow_null=True)
    daily = serializers.IntegerField(allow_null=True)


class ConfigSerializer(serializers.Serializer[Any]):
    """A stored account. `secrets` shows which are set, masked; their values are never answered."""

    id = serializers.IntegerField()
    provider = serializers.CharField()
    label = serializers.CharField(allow_blank=True)
    environment = serializers.ChoiceField(choices=ENVIRONMENTS)
    is_active = serializers.BooleanField()
    categories = serializers.ListField(child=serializers.ChoiceField(choices=CATEGORIES))
    primary = serializers.ListField(child=serializers.ChoiceField(choices=CATEGORIES), help_text="Categories it serves first.")
    values = serializers.DictField(child=serializers.JSONField())
    secrets = serializers.DictField(child=serializers.CharField())
    missing = serializers.DictField(child=serializers.CharField(), help_text="What keeps it from being switched on.")
    limits = LimitsSerializer(help_text="Its own limits, in place of what the provider declares.")
    limits_in_force = LimitsInForceSerializer(allow_null=True, help_text="Null where the provider is not installed any more.")
    urls = serializers.DictField(child=serializers.CharField(), help_text="Purpose -> URL to give to the provider.")
    status = serializers.ChoiceField(choices=ConfigStatus.choices)
    status_detail = serializers.CharField(allow_blank=True)
    tested_at = serializers.DateTimeField(allow_null=True)
    created = serializers.DateTimeField()
    updated = serializers.DateTimeField()


class CategoryConfigSerializer(ConfigSerializer):
    """A stored account as one that serves a category."""

    mode = serializers.ChoiceField(choices=["test", "live"], help_text="`live` moves real money, sends real goods.")
    primary = serializers.BooleanField(help_text="What names no provider goes here.")  # type: ignore[assignment]
    features = FeaturesSerializer(allow_null=True, help_text="What this account can do; payment gateways only.")


class ConfigUpdateSerializer(StrictSerializer):
    """`values` holds plain fields and secrets by the names of the provider's `config_schema`. A secret that is left out or
    empty keeps its stored value, null removes it."""

    label = serializers.CharField(max_length=100, allow_blank=True, required=False)
    environment = serializers.ChoiceField(choices=ENVIRONMENTS)
    is_active = serializers.BooleanField(required=False)
    limits = LimitsSerializer(required=False)
    values = serializers.DictField(child=serializers.JSONField(allow_null=True))


class ConfigCreateSerializer(ConfigUpdateSerializer):
    provider = serializers.CharField(max_length=50)


class ConfigPatchSerializer(ConfigUpdateSerializer):
    """Only what is given changes; within `values`, too."""

    environment = serializers.ChoiceField(choices=ENVIRONMENTS, required=False)
    values = serializers.DictField(child=serializers.JSONField(allow_null=True), required=False)


class PrimarySerializer(StrictSerializer):
    category = serializers.ChoiceField(
        choices=CATEGORIES, required=False, help_text="Without it: every category of the provider."
    )


class OutcomeSerializer(serializers.Serializer[Any]):
    ok = serializers.BooleanField()
    status = serializers.CharField()
    detail = serializers.CharField()
    duration_ms = serializers.IntegerField()


class AccountFilter(django_filters.FilterSet):
    provider = django_filters.CharFilter(field_name="provider_id")
    environment = django_filters.ChoiceFilter(choices=[(each, each) for each in ENVIRONMENTS])
    is_active = django_filters.BooleanFilter()
    status = django_filters.ChoiceFilter(choices=ConfigStatus.choices)

    class Meta:
        model = Config
        fields: list[str] = []


class ConfigFilter(AccountFilter):
    category = django_filters.ChoiceFilter(choices=[(each, each) for each in CATEGORIES], method="filter_category")

    def filter_category(self, rows: QuerySet[Config], name: str, value: str) -> QuerySet[Config]:
        return rows.filter(provider_id__in=schemas.slugs_of(value))
