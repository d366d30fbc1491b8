"""Shapes of the WhatsApp routes."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.validators import URLValidator
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, extend_schema_field
from rest_framework import serializers

from integrations.contracts.messaging import Media
from integrations.contracts.whatsapp import TemplateUse
from integrations.messaging.api.serializers import AddressesSerializer, DataField, MessageReferenceSerializer
from integrations.messaging.whatsapp.whatsapps import MAX_CAPTION, MAX_PARAMETERS, MAX_RECIPIENTS, MAX_TEXT, Words
from integrations.tenancy.serializers import StrictSerializer

LONGEST_VALUE = 1024
CONTENT_TYPE = r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,80}"
UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


@extend_schema_field(
    {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_RECIPIENTS}]}
)
class ContactsField(serializers.Field[Any, Any, Any, Any]):
    """One number, or a list of them, as text; ids of people who hide theirs."""

    default_error_messages = {
        "shape": "Give one number or a list of numbers, as text.",
        "empty": "At least one recipient is needed.",
        "many": "At most {limit} recipients.",
    }

    def to_internal_value(self, data: Any) -> list[str]:
        contacts = [data] if isinstance(data, str) else data
        if not isinstance(contacts, list) or not all(isinstance(each, str) for each in contacts):
            self.fail("shape")
        contacts = [each.strip() for each in contacts]
        if not contacts or not all(contacts):
            self.fail("empty")
        if len(contacts) > MAX_RECIPIENTS:
            self.fail("many", limit=MAX_RECIPIENTS)
        return contacts

    def to_representation(self, value: Any) -> Any:
        return value


class WhatsAppFileSerializer(StrictSerializer):
    """A file at a public address; the provider fetches it."""

    url = serializers.CharField(max_length=2000, validators=[URLValidator(schemes=["https", "http"])])
    content_type = serializers.RegexField(rf"^{CONTENT_TYPE}\Z", max_length=120, help_text="image/jpeg, application/pdf ...")
    filename = serializers.CharField(
        max_length=150, required=False, allow_blank=True, default="", help_text="What the recipient sees of a document."
    )

    def validate_filename(self, value: str) -> str:
        if UNSAFE.search(value):
            raise serializers.ValidationError("A file name has no slashes and no control characters.")
        return value


class WhatsAppMediaSerializer(WhatsAppFileSerializer):
    caption = serializers.CharField(max_length=MAX_CAPTION, required=False, allow_blank=True, default="", trim_whitespace=False)


class ParametersField(serializers.ListField):
    child = serializers.CharField(max_length=LONGEST_VALUE, trim_whitespace=False)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, default=list, max_length=MAX_PARAMETERS, **kwargs)


class WhatsAppTemplateSerializer(StrictSerializer):
    """An approved template of the provider's: by `name` and `language`, or by its `id` where it has one."""

    name = serializers.CharField(max_length=512, required=False, allow_blank=True, default="")
    language = serializers.CharField(max_length=20, required=False, allow_blank=True, default="", help_text="en or en_US.")
    id = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    header = ParametersField(help_text="Values of a text header.")
    header_media = WhatsAppFileSerializer(required=False, allow_null=True, default=None)
    body = ParametersField(help_text="Values of {{1}}, {{2}}, ... in order.")
    buttons = serializers.DictField(
        child=serializers.CharField(max_length=LONGEST_VALUE),
        required=False,
        default=dict,
        help_text="A button's number, from 0, to the value in its address.",
    )

    def validate_buttons(self, value: dict[str, str]) -> dict[int, str]:
        if not all(re.fullmatch(r"[0-9]", each) for each in value):
            raise serializers.ValidationError("Buttons are numbered from 0 to 9.")
        return {int(index): text for index, text in value.items()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs["id"] and not (attrs["name"] and attrs["language"]):
            missing = "language" if attrs["name"] else "name"
            raise serializers.ValidationError({missing: "A template is named by name and language, or by its id."})
        if attrs["header"] and attrs["header_media"]:
            raise serializers.ValidationError({"header": "A header is text or a file, not both."})
        return attrs


class TemplateField(serializers.Field[Any, Any, Any, Any]):
    """The provider's own template as an object, or the name of one of the hub's."""

    default_error_messages = {"shape": "Give an object for a template of the provider's, or the name of one of the hub's."}

    def to_internal_value(self, data: Any) -> TemplateUse | str:
        if isinstance(data, str):
            return str(serializers.CharField(max_length=60).run_validation(data))
        if not isinstance(data, dict):
            self.fail("shape")
        given = WhatsAppTemplateSerializer(data=data)
        given.is_valid(raise_exception=True)
        found = given.validated_data
        file = found["header_media"]
        return TemplateUse(
            name=found["name"],
            language=found["language"],
            id=found["id"],
            body=tuple(found["body"]),
            header=tuple(found["header"]),
            header_media=media_of(file) if file else None,
            buttons=found["buttons"],
        )

    def to_representation(self, value: Any) -> Any:
        return value


class TemplateFieldSchema(OpenApiSerializerFieldExtension):
    """Describes `TemplateField` in the OpenAPI document."""

    target_class = TemplateField

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        component = auto_schema.resolve_serializer(WhatsAppTemplateSerializer(), direction)
        return {"oneOf": [component.ref, {"type": "string", "maxLength": 60}]}


class WhatsAppSendSerializer(StrictSerializer):
    """Just one of `text`, `template` and `media`. Text, media and the hub's own templates need an open 24 h window."""

    to = ContactsField()
    text = serializers.CharField(max_length=MAX_TEXT, trim_whitespace=False, required=False, allow_blank=True, default="")
    template = TemplateField(required=False, allow_null=True, default=None)
    language = serializers.CharField(
        max_length=10, required=False, allow_blank=True, default="", help_text="Which variant of the hub's template."
    )
    data = DataField(
        required=False,
        default=dict,
        help_text="Values of a hub template's variables; beside a provider's template, for a fallback to another channel.",
    )
    media = WhatsAppMediaSerializer(required=False, allow_null=True, default=None)
    reply_to = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default="", help_text="The inbound message that this answers."
    )
    provider = serializers.CharField(max_length=50, required=False, allow_null=True, default=None)
    config = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=2**62)
    category = serializers.CharField(max_length=30, required=False, default="", allow_blank=True)
    send_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    reference = MessageReferenceSerializer(required=False, allow_null=True, default=None)
    fallback = AddressesSerializer(required=False, default=dict, help_text="Where else the one recipient can be reached.")
    override_suppression = serializers.CharField(
        max_length=200,
        required=False,
        default="",
        allow_blank=True,
        help_text="Why it goes to suppressed addresses too; admins only.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("text", "template", "media") if attrs[name]]
        if len(given) > 1:
            raise serializers.ValidationError({given[1]: "Give just one of text, template and media."})
        if not given:
            raise serializers.ValidationError({"text": "Give a text, a template or media."})
        if attrs["language"] and not isinstance(attrs["template"], str):
            raise serializers.ValidationError({"language": "This belongs to a template of the hub's, named by its name."})
        if attrs["data"] and not attrs["template"]:
            raise serializers.ValidationError({"data": "This belongs to a template."})
        return attrs

    def words(self) -> Words:
        """Return what is to be said; the body has been checked."""
        given = self.validated_data
        template, media = given["template"], given["media"]
        own = isinstance(template, str)
        return Words(
            text=media["caption"] if media else given["text"],
            media=media_of(media) if media else None,
            template=None if own else template,
            template_name=template if own else "",
            language=given["language"],
            data=given["data"],
        )


class WhatsAppTemplateInfoSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    language = serializers.CharField()
    status = serializers.ChoiceField(choices=["approved", "pending", "rejected", "paused", "disabled"])
    category = serializers.CharField(allow_blank=True)
    id = serializers.CharField(allow_blank=True)
    body = serializers.CharField(allow_blank=True)
    parameters = serializers.IntegerField(help_text="How many values the body takes.")
    header = serializers.ChoiceField(choices=["", "text", "image", "video", "document"])
    buttons = serializers.IntegerField()


class WhatsAppTemplateListSerializer(serializers.Serializer[Any]):
    provider = serializers.CharField()
    templates = WhatsAppTemplateInfoSerializer(many=True)


def media_of(given: dict[str, Any]) -> Media:
    """Return a file as asked for, named by the end of its address where it has no name."""
    name = given["filename"] or UNSAFE.sub("", unquote(urlsplit(given["url"]).path).rpartition("/")[2])[-150:]
    return Media(name or "file", given["content_type"], url=given["url"])
