"""Shapes of the API for lists of recipients and for messages on their way."""

from __future__ import annotations

from typing import Any

import django_filters
from rest_framework import serializers

from integrations.contracts.messaging import MessageState
from integrations.messaging.api.serializers import OVERALL, CostSerializer, MessageReferenceSerializer, TextSerializer
from integrations.messaging.lists.lists import CHANNELS
from integrations.messaging.models import Recipient, RecipientList
from integrations.tenancy.serializers import StrictSerializer

STATES = [(state.value, state.value) for state in MessageState]


class ColumnsSerializer(StrictSerializer):
    """Headings of the list."""

    address = serializers.CharField(max_length=200, help_text="The column of the numbers or e-mail addresses.")
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    alternatives = serializers.DictField(
        child=serializers.CharField(max_length=200),
        required=False,
        default=dict,
        help_text='Columns of the same person\'s addresses on other channels, for the fallback: {"email": "E-mail"}.',
    )


class ListUploadSerializer(StrictSerializer):
    file = serializers.FileField(help_text="CSV or .xlsx, with a first line that names the columns; up to 20 MB.")


class ListCheckSerializer(TextSerializer):
    """The words as they are, or a template; either may use the list's `variables`. What no column holds comes from `data`."""

    message = serializers.CharField(
        max_length=500_000, trim_whitespace=False, required=False, allow_blank=True, default="", help_text="The text."
    )
    channel = serializers.ChoiceField(choices=[(each.value, each.label) for each in CHANNELS])
    columns = ColumnsSerializer(required=False, allow_null=True, default=None, help_text="The guessed ones if left out.")
    subject = serializers.CharField(max_length=500, required=False, allow_blank=True, default="", help_text="E-mail only.")
    html = serializers.CharField(
        max_length=1_000_000, trim_whitespace=False, required=False, allow_blank=True, default="", help_text="E-mail only."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        mail = attrs["channel"] == "email"
        wrong = {name: "Only e-mails have one." for name in ("subject", "html") if attrs[name] and not mail}
        if wrong:
            raise serializers.ValidationError(wrong)
        if mail and attrs["template"] and attrs["html"]:
            raise serializers.ValidationError({"template": "Give an HTML text or a template, not both."})
        if mail and not attrs["subject"].strip() and not attrs["template"]:
            raise serializers.ValidationError({"subject": "An e-mail needs a subject."})
        if mail and attrs["html"] and not attrs["message"]:
            return attrs
        return super().validate(attrs)


class ListSendSerializer(ListCheckSerializer):
    sender = serializers.CharField(max_length=320, required=False, allow_blank=True, default="")
    provider = serializers.CharField(max_length=50, required=False, allow_null=True, default=None)
    config = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=2**62)
    category = serializers.CharField(
        max_length=30,
        required=False,
        allow_blank=True,
        default="bulk",
        help_text="Who writes to a list announces something: those who want no announcements are left out. Empty: ordinary.",
    )
    send_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    reference = MessageReferenceSerializer(required=False, allow_null=True, default=None)


class RecipientListSerializer(serializers.ModelSerializer[RecipientList]):
    class Meta:
        model = RecipientList
        fields = ("id", "filename", "columns", "rows", "country", "created_by", "created")
        read_only_fields = fields


class RecipientListDetailSerializer(RecipientListSerializer):
    variables = serializers.DictField(
        child=serializers.CharField(), help_text="What a text may use, and the column that fills it in."
    )
    guess = serializers.DictField(child=ColumnsSerializer(), help_text="The likely columns for each channel.")

    class Meta(RecipientListSerializer.Meta):
        fields = (*RecipientListSerializer.Meta.fields, "variables", "guess")  # type: ignore[assignment]
        read_only_fields = fields  # type: ignore[assignment]


class BadRowSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField(help_text="As a person counts: 1 is the first line of the sheet.")
    value = serializers.CharField(allow_blank=True)
    problem = serializers.CharField()


class SampleSerializer(serializers.Serializer[Any]):
    to = serializers.CharField()
    subject = serializers.CharField(allow_blank=True)
    body = serializers.CharField(allow_blank=True)


class ListReportSerializer(serializers.Serializer[Any]):
    rows = serializers.IntegerField()
    good = serializers.IntegerField(help_text="Distinct recipients that would be sent to.")
    duplicates = serializers.IntegerField()
    bad = serializers.IntegerField()
    bad_rows = BadRowSerializer(many=True, help_text="The first 200.")
    segments = serializers.IntegerField(help_text="Parts of the longest text; 0 unless SMS.")
    total_segments = serializers.IntegerField(help_text="Parts that would be billed for all.")
    encoding = serializers.ChoiceField(choices=["GSM-7", "UCS-2", ""])
    unusual = serializers.ListField(child=serializers.CharField(), help_text="The characters that force UCS-2.")
    samples = SampleSerializer(many=True, help_text="What the first three would get.")


class MessageProgressSerializer(serializers.Serializer[Any]):
    total = serializers.IntegerField()
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="How many recipients are in which state.")
    done = serializers.IntegerField(help_text="Recipients for whom nothing waits to be sent any more.")
    percent = serializers.IntegerField()
    finished = serializers.BooleanField(help_text="All of them are done; delivery reports may still come.")
    status = serializers.ChoiceField(choices=OVERALL)
    cost = CostSerializer(allow_null=True, help_text="What was charged so far.")


class RecipientFilter(django_filters.FilterSet):
    status = django_filters.MultipleChoiceFilter(field_name="state", choices=STATES)

    class Meta:
        model = Recipient
        fields: list[str] = []
