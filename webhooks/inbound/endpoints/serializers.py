"""What the API takes and shows of inbound endpoints. A secret goes out once, when it was made here; its value never again."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.models import Config
from integrations.registry import webhook_adapters
from integrations.secrets import SecretUnreadable
from integrations.tenancy import addresses
from integrations.tenancy.serializers import StrictSerializer
from webhooks.inbound.endpoints.checks import MASK, MAX_FIELDS, MAX_NETWORKS, MAX_PATTERNS
from webhooks.inbound.endpoints.services import MAX_OVERLAP
from webhooks.inbound.models import InboundEndpoint, Rejection, Scheme

DAY = 24 * 3600


class PlainMap(serializers.DictField):
    """Names to texts."""

    child = serializers.CharField(max_length=500, allow_blank=True, trim_whitespace=False)


class InboundEndpointInput(StrictSerializer):
    """POST and PUT: the whole endpoint. PATCH: what changes. `config` (POST alone) asks for a provider account's row, which
    takes `name`, `events`, `allowed_ips` and `is_active` only; otherwise `scheme` is needed. `secret` (POST alone) is what the
    sender gave out; without it one is made, and answered this once.

    `dedupe_path` says where the id stands that makes a request the same (`body:data.id`, `header:X-Event-Id`). Give one where
    the sender has ids: without, an equal body within a day is taken for a repetition. A header is mostly not signed: who can
    replay a request can change it, so an id in the body is better."""

    config = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    name = serializers.CharField(max_length=100, allow_blank=True, required=False)
    scheme = serializers.ChoiceField(choices=Scheme.choices, required=False)
    secret = serializers.CharField(max_length=500, required=False, write_only=True, trim_whitespace=False)
    options = PlainMap(required=False)
    tolerance = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1)
    events = serializers.ListField(child=serializers.CharField(max_length=100), required=False, max_length=MAX_PATTERNS)
    dedupe_path = serializers.CharField(max_length=200, allow_blank=True, required=False)
    type_path = serializers.CharField(max_length=200, allow_blank=True, required=False)
    event_types = PlainMap(required=False)
    fields_ = PlainMap(required=False)
    allowed_ips = serializers.ListField(child=serializers.CharField(max_length=60), required=False, max_length=MAX_NETWORKS)
    is_active = serializers.BooleanField(required=False)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`fields` can't be an attribute of a serializer: that is where its fields are."""
        found = super().get_fields()
        return {name.rstrip("_"): field for name, field in found.items()}

    def validate_fields(self, value: dict[str, str]) -> dict[str, str]:
        if len(value) > MAX_FIELDS:
            raise serializers.ValidationError(f"At most {MAX_FIELDS} members.")
        return value


class HookUrl(serializers.Serializer[Any]):
    purpose = serializers.CharField(help_text="Empty for a generic source.")
    url = serializers.CharField(help_text="Its token is masked for keys and people who may not change it.")
    what = serializers.CharField()


class SecretShown(serializers.Serializer[Any]):
    created = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True, help_text="Null: the current one.")


class InboundEndpointOutput(serializers.ModelSerializer[InboundEndpoint]):
    """An inbound endpoint. `secrets` says which there are, never what they are; null where they can't be opened.

    With `whole` in its context the addresses are shown to somebody who may know them, else they are masked."""

    id = serializers.CharField(read_only=True)
    kind = serializers.SerializerMethodField()
    provider = serializers.SerializerMethodField(help_text="Empty for a generic source.")
    config = serializers.IntegerField(source="config_id", read_only=True, allow_null=True)
    urls = serializers.SerializerMethodField()
    options = serializers.SerializerMethodField()
    events = serializers.ListField(child=serializers.CharField(), read_only=True)
    event_types = serializers.DictField(child=serializers.CharField(), read_only=True)
    allowed_ips = serializers.ListField(child=serializers.CharField(), read_only=True)
    secrets = serializers.SerializerMethodField()

    class Meta:
        model = InboundEndpoint
        fields = [
            "id",
            "name",
            "kind",
            "provider",
            "config",
            "urls",
            "scheme",
            "options",
            "tolerance",
            "events",
            "dedupe_path",
            "type_path",
            "event_types",
            "fields",
            "allowed_ips",
            "is_active",
            "received",
            "last_received_at",
            "rejected",
            "last_rejected_at",
            "secrets",
            "previous_until",
            "created",
            "updated",
        ]
        read_only_fields = fields

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        found = super().get_fields()
        return {name: PlainMap(read_only=True) if name == "fields" else field for name, field in found.items()}

    def get_kind(self, endpoint: InboundEndpoint) -> str:
        return "provider" if endpoint.config_id else "generic"

    def get_provider(self, endpoint: InboundEndpoint) -> str:
        return endpoint.config.provider_id if endpoint.config else ""

    @extend_schema_field(HookUrl(many=True))
    def get_urls(self, endpoint: InboundEndpoint) -> list[dict[str, str]]:
        whole = bool(self.context.get("whole"))
        return [{**each, "url": addresses.shown(each["url"], whole=whole)} for each in urls_of(endpoint)]

    @extend_schema_field(PlainMap())
    def get_options(self, endpoint: InboundEndpoint) -> dict[str, str]:
        return shown_options(endpoint)

    @extend_schema_field(SecretShown(many=True, allow_null=True))
    def get_secrets(self, endpoint: InboundEndpoint) -> list[dict[str, Any]] | None:
        try:
            return [{"created": each["created"], "expires_at": each["expires_at"]} for each in endpoint.secrets()]
        except SecretUnreadable:
            return None


class InboundEndpointCreated(InboundEndpointOutput):
    """The answer to making one and to rotating: `secret` is the new one where it was made here, this once, else null."""

    secret = serializers.CharField(read_only=True, allow_null=True)
    note = serializers.CharField(read_only=True, help_text="What is to be done at the sender now.")

    class Meta(InboundEndpointOutput.Meta):
        fields = [*InboundEndpointOutput.Meta.fields, "secret", "note"]
        read_only_fields = fields


class RejectionOutput(serializers.ModelSerializer[Rejection]):
    """How many requests were turned away on a day for one reason, and what is known of the last. Their bodies are not kept."""

    class Meta:
        model = Rejection
        fields = ["day", "reason", "count", "last_at", "last_ip", "last_detail"]
        read_only_fields = fields


class RotateInput(StrictSerializer):
    """`overlap_seconds`: how long the old secret, or a provider's former path, goes on counting."""

    overlap_seconds = serializers.IntegerField(min_value=0, max_value=int(MAX_OVERLAP.total_seconds()), default=DAY)
    secret = serializers.CharField(max_length=500, required=False, trim_whitespace=False)


def urls_of(endpoint: InboundEndpoint) -> list[dict[str, str]]:
    """Return the addresses to give to the sender, whole; a provider account has one for each purpose."""
    config: Config | None = endpoint.config
    base = f"{settings.PUBLIC_BASE_URL}/hooks/{config.hook_token if config else endpoint.token}"
    if config is None:
        return [{"purpose": "", "url": base, "what": "Send requests here"}]
    adapter = webhook_adapters().get(config.provider_id)
    purposes = adapter.config_purposes if adapter else {}
    return [{"purpose": purpose, "url": f"{base}/{purpose}", "what": what} for purpose, what in purposes.items()]


def shown_options(endpoint: InboundEndpoint) -> dict[str, str]:
    """Return the options, with the handshake's word masked among them."""
    word = {"verify_token": MASK} if endpoint.sealed_verify_token else {}
    return {**{name: str(value) for name, value in endpoint.options.items()}, **word}
