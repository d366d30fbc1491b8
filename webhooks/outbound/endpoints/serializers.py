"""What the API takes and shows of endpoints. Secrets go out once, header values never."""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.contracts import clock
from integrations.contracts.errors import InvalidRequest
from integrations.http.guard import BlockedAddress, check_url
from integrations.secrets import SecretUnreadable
from integrations.tenancy.serializers import StrictSerializer
from webhooks.outbound import signing
from webhooks.outbound.delivery.schedule import MAX_AGE
from webhooks.outbound.delivery.sender import MASK, is_reserved
from webhooks.outbound.endpoints.headers import headers_after, is_masked
from webhooks.outbound.endpoints.urls import masked_url
from webhooks.outbound.event_types import is_pattern
from webhooks.outbound.models import Breaker, Endpoint, EndpointHealth, Ordering, PayloadFormat
from webhooks.outbound.models.endpoints import DEFAULT_IN_FLIGHT, MAX_BATCH, MAX_BATCH_WAIT, MAX_IN_FLIGHT
from webhooks.outbound.publishing import filters

MAX_HEADERS = 20
MAX_CHANNELS = 20
MAX_DELAYS = 20
HELD = (("send", "Send"), ("discard", "Discard"))
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,1998}[\x21-\x7e])?")


def _url(value: str) -> None:
    if MASK in value:
        raise serializers.ValidationError("This is what is shown of it: write the whole URL.")
    try:
        check_url(value)
    except BlockedAddress as error:
        raise serializers.ValidationError(f"Not allowed: {error}.", code="blocked_url") from error


def _pattern(value: str) -> None:
    if not is_pattern(value):
        raise serializers.ValidationError('Write an event type such as "payment.completed", "payment.*" or "*".')


def _finite(value: float) -> None:
    if not math.isfinite(value):
        raise serializers.ValidationError("Write a number.")


class HeadersField(serializers.DictField):
    """Headers of the tenant's own, sent with each delivery. Shown masked; a masked value sent back keeps what is stored, while
    the URL leads to the same scheme, host and port."""

    child = serializers.CharField(max_length=2000, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        headers: dict[str, str] = super().to_internal_value(data)
        if len(headers) > MAX_HEADERS:
            raise serializers.ValidationError(f"At most {MAX_HEADERS} headers.")
        if len({name.lower() for name in headers}) < len(headers):
            raise serializers.ValidationError("The same header stands twice.")
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise serializers.ValidationError(f"{name[:50]!r} is not a header name.")
            if is_reserved(name):
                raise serializers.ValidationError(f"The header {name} is reserved.", code="reserved_header")
            if not is_masked(value) and not _HEADER_VALUE.fullmatch(value):
                raise serializers.ValidationError(f"The value of {name} must be printable ASCII.")
        return headers


class SubscriptionInput(StrictSerializer):
    """What an endpoint wants: types, and of those only what names one of its channels and passes its filter."""

    events = serializers.ListField(
        child=serializers.CharField(max_length=100, validators=[_pattern]), min_length=1, max_length=100
    )
    channels = serializers.ListField(child=serializers.CharField(max_length=100), max_length=MAX_CHANNELS, default=list)
    filter = serializers.JSONField(allow_null=True, default=None)

    def validate_events(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    def validate_channels(self, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))

    def validate_filter(self, value: Any) -> Any:
        if value is None:
            return None
        try:
            filters.check(value)
        except filters.InvalidFilter as error:
            raise serializers.ValidationError(f"{error}") from error
        if "\\u0000" in json.dumps(value):
            raise serializers.ValidationError("Null characters are not allowed.")
        return value


class EndpointInput(SubscriptionInput):
    """POST and PUT: the whole endpoint. PATCH: what changes. `context["stored"]` is the endpoint being changed, if any."""

    name = serializers.CharField(max_length=100, allow_blank=True, default="")
    url = serializers.CharField(max_length=2000, validators=[_url])
    headers = HeadersField(default=dict)
    payload_format = serializers.ChoiceField(choices=PayloadFormat.choices, default=PayloadFormat.STANDARD.value)
    ordering = serializers.ChoiceField(choices=Ordering.choices, default=Ordering.NONE.value)
    batch_size = serializers.IntegerField(
        min_value=1, max_value=MAX_BATCH, default=1, help_text="Events in one request; 1: no batches."
    )
    batch_wait = serializers.IntegerField(
        min_value=1, max_value=MAX_BATCH_WAIT, default=5, help_text="Seconds that events wait for a batch to fill, at most."
    )
    max_in_flight = serializers.IntegerField(
        min_value=1, max_value=MAX_IN_FLIGHT, default=DEFAULT_IN_FLIGHT, help_text="Requests at once."
    )
    rate_per_second = serializers.FloatField(
        min_value=0.01, max_value=1000, validators=[_finite], allow_null=True, default=None, help_text="Requests a second."
    )
    retry_delays = serializers.ListField(
        child=serializers.FloatField(min_value=1, max_value=86_400, validators=[_finite]),
        max_length=MAX_DELAYS,
        default=list,
        help_text="Seconds after the first, second ... failed try; empty: the hub's own schedule.",
    )
    is_active = serializers.BooleanField(
        required=False,
        help_text="When creating: true where it is not given. A change that leaves it out leaves the endpoint on or off.",
    )
    held = serializers.ChoiceField(
        choices=HELD,
        required=False,
        write_only=True,
        help_text="With `is_active: true` on a change: whether what was held meanwhile is sent (the default) or discarded.",
    )
    secret = serializers.CharField(
        max_length=200, required=False, write_only=True, help_text="When creating: a `whsec_` or `whsk_` secret of your own."
    )
    scheme = serializers.ChoiceField(
        choices=signing.SCHEMES, required=False, write_only=True, help_text="When creating: `v1` (HMAC) or `v1a` (ed25519)."
    )

    def validate_retry_delays(self, value: list[float]) -> list[float]:
        if timedelta(seconds=sum(value)) > MAX_AGE:
            raise serializers.ValidationError(f"Together these are more than {MAX_AGE.days} days: nothing is tried for longer.")
        return value

    def validate_secret(self, value: str) -> str:
        return checked_secret(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        changing = self.context.get("stored") is not None
        for name in ("secret", "scheme"):
            if changing and name in attrs:
                raise serializers.ValidationError({name: ["To change this, rotate the secret."]})
        if "held" in attrs and not (changing and attrs.get("is_active")):
            raise serializers.ValidationError({"held": ["This goes with switching an endpoint on."]})
        check_scheme(attrs)
        try:
            # Only asked: what masked values stand for is filled in once the row is locked.
            headers_after(self.context.get("stored"), attrs)
        except InvalidRequest as error:
            raise serializers.ValidationError({"headers": [error.message]}) from error
        return attrs


def checked_secret(value: str) -> str:
    """Return a secret that can sign; raise a `ValidationError` for one that can't."""
    try:
        signing.check_secret(value)
    except ValueError as error:
        raise serializers.ValidationError(f"This can't sign: {error}.") from error
    return value


def check_scheme(attrs: dict[str, Any]) -> None:
    """Raise a `ValidationError` where a secret that was brought along is of another scheme than the one asked for."""
    if attrs.get("secret") and attrs.get("scheme", "") not in ("", signing.check_secret(attrs["secret"])):
        raise serializers.ValidationError({"scheme": ["The secret is of the other scheme."]})


class HealthOutput(serializers.ModelSerializer[EndpointHealth]):
    """How the endpoint has fared. `failures` are attempts in a row; `paused_until` is what the receiver asked for."""

    breaker = serializers.ChoiceField(choices=Breaker.choices, read_only=True)
    disabled_at = serializers.DateTimeField(source="endpoint.disabled_at", read_only=True, allow_null=True)

    class Meta:
        model = EndpointHealth
        fields = [
            "breaker",
            "failures",
            "failing_since",
            "paused_until",
            "last_success_at",
            "last_failure_at",
            "disabled_at",
        ]
        read_only_fields = fields


class SigningOutput(serializers.Serializer[Any]):
    """A key in use, without its secret. `expires_at` is the end of its overlap; null for the newest."""

    id = serializers.CharField()
    scheme = serializers.ChoiceField(choices=signing.SCHEMES)
    created = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)


class EndpointOutput(serializers.ModelSerializer[Endpoint]):
    """An endpoint; `headers` and `signing` are null where the stored values can't be opened.

    Who may only read sees the URL with user info, long tokens in its path and the values of its query masked. With
    `context["whole_urls"]` it is shown as stored: whoever may change it has to be able to send it back.
    """

    id = serializers.CharField(read_only=True)
    url = serializers.SerializerMethodField()
    events = serializers.ListField(child=serializers.CharField(), read_only=True)
    channels = serializers.ListField(child=serializers.CharField(), read_only=True)
    filter = serializers.DictField(read_only=True, allow_null=True)
    retry_delays = serializers.ListField(child=serializers.FloatField(), read_only=True)
    headers = serializers.DictField(child=serializers.CharField(), source="masked_headers", read_only=True, allow_null=True)
    health = HealthOutput(read_only=True, allow_null=True)
    signing = serializers.SerializerMethodField()

    class Meta:
        model = Endpoint
        fields = [
            "id",
            "name",
            "url",
            "events",
            "channels",
            "filter",
            "headers",
            "payload_format",
            "ordering",
            "batch_size",
            "batch_wait",
            "max_in_flight",
            "rate_per_second",
            "retry_delays",
            "is_active",
            "disabled_reason",
            "health",
            "signing",
            "created",
            "updated",
        ]
        read_only_fields = fields

    def get_url(self, endpoint: Endpoint) -> str:
        return endpoint.url if self.context.get("whole_urls") else masked_url(endpoint.url)

    @extend_schema_field(SigningOutput(many=True, allow_null=True))
    def get_signing(self, endpoint: Endpoint) -> list[dict[str, Any]] | None:
        try:
            keys = signing.in_use(endpoint.signing_keys(), clock.now())
        except SecretUnreadable:
            return None
        return [{name: key[name] for name in ("id", "scheme", "created", "expires_at")} for key in keys]


class EndpointCreated(EndpointOutput):
    """The answer to creating: the only one that holds the signing secret."""

    secret = serializers.CharField(
        read_only=True, allow_null=True, help_text="Null where the request is repeated after the secret was rotated away."
    )

    class Meta(EndpointOutput.Meta):
        fields = [*EndpointOutput.Meta.fields, "secret"]
        read_only_fields = fields


class SecretRotationInput(StrictSerializer):
    """The old secrets go on signing beside the new one for `overlap_seconds`."""

    overlap_seconds = serializers.IntegerField(min_value=0, max_value=7 * 86_400, default=86_400)
    scheme = serializers.ChoiceField(choices=signing.SCHEMES, required=False)
    secret = serializers.CharField(max_length=200, required=False, help_text="One of your own; else a fresh one is made.")

    def validate_secret(self, value: str) -> str:
        return checked_secret(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        check_scheme(attrs)
        return attrs


class SecretRotationOutput(serializers.Serializer[Any]):
    """`secret` is shown this once. Until `overlap_until` the old secrets sign too; null: they stopped at once."""

    id = serializers.CharField()
    scheme = serializers.ChoiceField(choices=signing.SCHEMES)
    secret = serializers.CharField()
    overlap_until = serializers.DateTimeField(allow_null=True)


class PublicKeyOutput(serializers.Serializer[Any]):
    id = serializers.CharField()
    scheme = serializers.ChoiceField(choices=[signing.ASYMMETRIC])
    public_key = serializers.CharField(help_text="`whpk_` and the ed25519 public key as base64.")
    created = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)


class PublicKeysOutput(serializers.Serializer[Any]):
    keys = PublicKeyOutput(many=True)


class DispatchInput(StrictSerializer):
    """An event for this endpoint alone; without `type` it is the test event."""

    type = serializers.CharField(max_length=100, required=False)
    data = serializers.DictField(required=False, help_text="What stands in `data.object`.")  # type: ignore[assignment]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "data" in attrs and "type" not in attrs:
            raise serializers.ValidationError({"type": ["Name the type of these data."]})
        return attrs
