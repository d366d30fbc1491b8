"""Shapes of the set-up wizard's API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from integrations.configs.serializers import ENVIRONMENTS, FeaturesSerializer, OutcomeSerializer, ProviderSerializer
from integrations.configs.wizard import STEPS, Method, State
from integrations.tenancy.serializers import StrictSerializer


class SetupUrlSerializer(serializers.Serializer[Any]):
    url = serializers.CharField()
    what = serializers.CharField()


class FixedUrlSerializer(SetupUrlSerializer):
    purpose = serializers.CharField()


class SetupPurposeSerializer(serializers.Serializer[Any]):
    purpose = serializers.CharField()
    what = serializers.CharField()
    url = serializers.CharField(allow_null=True, help_text="Null until the config is saved.")


class SetupWebhooksSerializer(serializers.Serializer[Any]):
    method = serializers.ChoiceField(
        choices=[each.value for each in Method],
        help_text="`api`: the step `webhooks` registers them; `manual`: paste them at the provider; `none`: it calls nobody.",
    )
    purposes = SetupPurposeSerializer(many=True)
    note = serializers.CharField(allow_blank=True)


class ProgressSerializer(serializers.Serializer[Any]):
    step = serializers.ChoiceField(choices=list(STEPS))
    title = serializers.CharField()
    state = serializers.ChoiceField(choices=[each.value for each in State])
    detail = serializers.CharField(allow_blank=True)


class SetupSerializer(serializers.Serializer[Any]):
    """What a person needs to set the provider up. `urls` belong to the config and are empty before there is one."""

    provider = ProviderSerializer()
    config = serializers.IntegerField(allow_null=True)
    steps = serializers.ListField(child=serializers.CharField(), help_text="Steps to POST to, in order.")
    progress = ProgressSerializer(many=True, help_text="How far the config is, step by step.")
    next = serializers.ChoiceField(choices=list(STEPS), allow_null=True, help_text="The step to do now.")
    urls = serializers.DictField(child=SetupUrlSerializer())
    webhooks = SetupWebhooksSerializer()
    fixed_urls = FixedUrlSerializer(many=True, help_text="Shared by all tenants: bodies are checked back.")
    features = FeaturesSerializer(allow_null=True, help_text="What the config can do; payment gateways only.")


class StepSerializer(StrictSerializer):
    config = serializers.IntegerField(help_text="The config to do it with.")


class CredentialsSerializer(StrictSerializer):
    """A new config, or with `config` a change of that one: what is not given stays as it is, a secret given as null goes."""

    config = serializers.IntegerField(required=False)
    environment = serializers.ChoiceField(choices=ENVIRONMENTS, required=False, help_text="A new config needs it.")
    label = serializers.CharField(max_length=100, allow_blank=True, required=False)
    values = serializers.DictField(child=serializers.JSONField(allow_null=True))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "config" not in attrs and "environment" not in attrs:
            raise serializers.ValidationError({"environment": ["A new config needs an environment."]}, code="required")
        return attrs


class TestRequestSerializer(serializers.Serializer[Any]):
    """A request for the caller to make; the wizard itself moves no money."""

    method = serializers.CharField()
    path = serializers.CharField()
    body = serializers.DictField(child=serializers.JSONField())
    fill_in = serializers.DictField(
        child=serializers.CharField(), help_text="Members of the body to replace by your own -> what with."
    )


class StepOutcomeSerializer(OutcomeSerializer):
    """What came of a step. A provider that refuses is `ok: false`; a step that can't be done at all is an error answer."""

    step = serializers.ChoiceField(choices=list(STEPS))
    config = serializers.IntegerField()
    missing = serializers.DictField(child=serializers.CharField(), help_text="What keeps the config from being switched on.")
    next = serializers.ChoiceField(choices=list(STEPS), allow_null=True, help_text="The step to do now.")
    request = TestRequestSerializer(allow_null=True, help_text="Of the step `test-transaction`.")
