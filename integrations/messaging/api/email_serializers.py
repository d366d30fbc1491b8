"""Shapes of the e-mail routes."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.contracts.email import Mailbox
from integrations.contracts.messaging import Media
from integrations.messaging.api.serializers import AddressesSerializer, MessageReferenceSerializer
from integrations.messaging.email.checks import MAX_ATTACHMENTS, MAX_SUBJECT
from integrations.messaging.email.emails import MAX_HTML, MAX_LETTERS, MAX_REPLY_TO, MAX_TEXT, Personalization
from integrations.messaging.sms.services import MAX_RECIPIENTS
from integrations.tenancy.serializers import StrictSerializer

LONGEST_MAILBOX = 600
_MAILBOX: dict[str, Any] = {
    "oneOf": [
        {"type": "string", "examples": ["jane@example.org", "Jane <jane@example.org>"]},
        {
            "type": "object",
            "properties": {"email": {"type": "string"}, "name": {"type": "string"}},
            "required": ["email"],
            "additionalProperties": False,
        },
    ]
}


@extend_schema_field(_MAILBOX)
class MailboxField(serializers.Field[Any, Any, Any, Any]):
    """An address as text, with or without a name, or as an object."""

    default_error_messages = {
        "shape": "Give an address as text, or as an object with email and name.",
        "long": "This is too long for an address.",
    }

    def to_internal_value(self, data: Any) -> str | Mailbox:
        parts = [data] if isinstance(data, str) else None
        if isinstance(data, dict) and "email" in data and not set(data) - {"email", "name"}:
            parts = [data["email"], data.get("name") or ""]
        if parts is None or not all(isinstance(each, str) for each in parts):
            self.fail("shape")
        if any(len(each) > LONGEST_MAILBOX for each in parts):
            self.fail("long")
        return parts[0] if len(parts) == 1 else Mailbox(*parts)

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"oneOf": [*_MAILBOX["oneOf"], {"type": "array", "items": _MAILBOX}]})
class MailboxesField(MailboxField):
    """One address, or a list of them."""

    default_error_messages = {"many": "At most {limit} addresses."}

    def __init__(self, *, limit: int = MAX_RECIPIENTS, **given: Any) -> None:
        self.limit = limit
        if not given.get("required"):
            given = {"required": False, "default": list, **given}
        super().__init__(**given)

    def to_internal_value(self, data: Any) -> Any:
        found = data if isinstance(data, list) else [data]
        if len(found) > self.limit:
            self.fail("many", limit=self.limit)
        return [super(MailboxesField, self).to_internal_value(each) for each in found]


@extend_schema_field({"type": "string", "contentEncoding": "base64"})
class Base64Field(serializers.Field[Any, Any, Any, Any]):
    """A file in base64; white space in it does not count."""

    default_error_messages = {"base64": "This is not base64."}

    def to_internal_value(self, data: Any) -> bytes:
        if not isinstance(data, str):
            self.fail("base64")
        try:
            return base64.b64decode(re.sub(r"\s+", "", data), validate=True)
        except (binascii.Error, ValueError):
            self.fail("base64")
            raise

    def to_representation(self, value: Any) -> Any:
        return base64.b64encode(value).decode("ascii")


class AttachmentSerializer(StrictSerializer):
    filename = serializers.CharField(max_length=200)
    content_type = serializers.CharField(
        max_length=120, required=False, default="", allow_blank=True, help_text="By the file's name if left out."
    )
    content = Base64Field(help_text="The file in base64.")
    content_id = serializers.CharField(
        max_length=120, required=False, default="", allow_blank=True, help_text="Shown where the HTML text says cid:..."
    )

    def to_internal_value(self, data: Any) -> Any:
        return Media(**super().to_internal_value(data))


class HeadersField(serializers.DictField):
    child = serializers.CharField(max_length=2000)


class PersonalizationSerializer(StrictSerializer):
    to = MailboxesField(required=True)
    cc = MailboxesField()
    bcc = MailboxesField()
    subject = serializers.CharField(
        max_length=MAX_SUBJECT, required=False, default="", allow_blank=True, help_text="Instead of the message's."
    )
    data = serializers.DictField(required=False, default=dict, help_text="Over, or beside, the message's values.")
    headers = HeadersField(required=False, default=dict)

    def to_internal_value(self, data: Any) -> Any:
        return Personalization(**super().to_internal_value(data))


class LettersSerializer(StrictSerializer):
    """Whom to write to and what: enough to see how it would look."""

    to = MailboxesField(help_text="All stand in one letter; for a letter each: personalizations.")
    cc = MailboxesField()
    bcc = MailboxesField()
    subject = serializers.CharField(max_length=MAX_SUBJECT, required=False, default="", allow_blank=True)
    html = serializers.CharField(
        max_length=MAX_HTML, trim_whitespace=False, required=False, default="", allow_blank=True, help_text="Sent as it is."
    )
    text = serializers.CharField(
        max_length=MAX_TEXT,
        trim_whitespace=False,
        required=False,
        default="",
        allow_blank=True,
        help_text="Made from the HTML if left out.",
    )
    template = serializers.CharField(
        max_length=60, required=False, default="", allow_blank=True, help_text="The name of a template of the hub."
    )
    language = serializers.CharField(
        max_length=10, required=False, default="", allow_blank=True, help_text="Which variant of the template."
    )
    data = serializers.DictField(
        required=False, default=dict, help_text="Values of the variables in the template, or in subject, text and html."
    )
    template_id = serializers.CharField(
        max_length=200, required=False, default="", allow_blank=True, help_text="A template that the provider keeps."
    )
    template_data = serializers.DictField(required=False, default=dict, help_text="Its values.")
    personalizations = PersonalizationSerializer(
        many=True, required=False, default=list, max_length=MAX_LETTERS, help_text="One letter each, instead of to, cc and bcc."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["template_data"] and not attrs["template_id"]:
            raise serializers.ValidationError({"template_data": "There is no template_id whose values these could be."})
        return attrs


class EmailSendSerializer(LettersSerializer):
    """An e-mail to be sent."""

    reply_to = MailboxesField(limit=MAX_REPLY_TO)
    attachments = AttachmentSerializer(many=True, required=False, default=list, max_length=MAX_ATTACHMENTS)
    headers = HeadersField(
        required=False,
        default=dict,
        help_text="X-..., List-..., In-Reply-To, References, Auto-Submitted and Precedence may be set.",
    )
    category = serializers.CharField(max_length=30, required=False, default="", allow_blank=True)
    track = serializers.BooleanField(required=False, default=False, help_text="Have openings and clicks noted.")
    send_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    provider = serializers.CharField(max_length=50, required=False, allow_null=True, default=None)
    config = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=2**62)
    reference = MessageReferenceSerializer(required=False, allow_null=True, default=None)
    fallback = AddressesSerializer(required=False, default=dict, help_text="Where else the one recipient can be reached.")
    override_suppression = serializers.CharField(
        max_length=200,
        required=False,
        default="",
        allow_blank=True,
        help_text="Why to write to suppressed addresses all the same; for admins.",
    )

    def get_fields(self) -> dict[str, Any]:
        # `from` is a word of the language: no class attribute can have its name.
        return {
            **super().get_fields(),
            "from": MailboxField(required=False, default="", help_text="The account's own address if left out."),
        }


class EmailPreviewSerializer(EmailSendSerializer):
    """An e-mail to be looked at: what is sent as it is can be looked at before."""


class EmailPreviewResultSerializer(serializers.Serializer[Any]):
    subject = serializers.CharField(allow_blank=True)
    text = serializers.CharField(allow_blank=True, help_text="Of the first letter; empty for a provider's own template.")
    html = serializers.CharField(allow_blank=True)
    recipients = serializers.IntegerField()
    letters = serializers.IntegerField()
