"""A tenant's templates: found by name and language, written by people, filled in for a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.messaging.models import Channel, MessageTemplate
from integrations.messaging.templating import MissingVariables, render
from integrations.models import Tenant

WRITABLE = ("channel", "name", "language", "subject", "body", "html", "description", "is_active")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A template filled in. `template` is the variant that was used."""

    template: MessageTemplate
    subject: str
    body: str
    html: str


def find_template(*, tenant: Tenant, channel: Channel, name: str, language: str = "") -> MessageTemplate:
    """Return the active variant for the language: its own, that of the language without the country, else the one for all.

    Raises `InvalidRequest` (attr `template`, or `language` where there is a template but none for this language).
    """
    variants = {each.language: each for each in _active(tenant, channel, name)}
    for wanted in dict.fromkeys((language, language.partition("-")[0], "")):
        if wanted in variants:
            return variants[wanted]
    if variants:
        known = ", ".join(sorted(variants))
        raise InvalidRequest(f"The template {name!r} is there in: {known}. Name one of these languages.", attr="language")
    raise InvalidRequest(f"There is no active {channel.label} template {name!r}.", attr="template")


def fill_in(
    *, tenant: Tenant, channel: Channel, name: str, language: str = "", data: Mapping[str, Any] | None = None
) -> Rendered:
    """Return the template with its variables filled in. Raises as `find_template`, and `InvalidRequest` (attr `data`) naming
    every variable that is missing: nothing is ever sent with a hole in it."""
    return fill(find_template(tenant=tenant, channel=channel, name=name, language=language), data or {})


def fill(template: MessageTemplate, data: Mapping[str, Any]) -> Rendered:
    """Return this very variant, active or not, with its variables filled in. Raises `InvalidRequest` (attr `data`) naming every
    variable that is missing."""
    try:
        return Rendered(
            template,
            subject=render(template.subject, data),
            body=render(template.body, data),
            html=render(template.html, data, html=True),
        )
    except MissingVariables:
        lacking = [each for each in template.variables if _lacks(each, data)]
        raise InvalidRequest(f"Missing for the template {template.name!r}: {', '.join(lacking)}.", attr="data") from None


def save_template(*, template: MessageTemplate, values: Mapping[str, Any], actor: str) -> MessageTemplate:
    """Write a new template or change one. Raises `InvalidRequest` naming the first bad field, `Conflict` where the tenant has
    one of this channel, name and language already."""
    for name in WRITABLE:
        if name in values:
            setattr(template, name, values[name])
    template.updated, template.updated_by = clock.now(), actor[:150]
    try:
        template.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        field, problems = next(iter(error.message_dict.items()))
        raise InvalidRequest(" ".join(problems), attr=field) from error
    try:
        with transaction.atomic():
            template.save()
    except IntegrityError as error:
        raise Conflict("There is a template of this channel, name and language already.", attr="name") from error
    return template


def _active(tenant: Tenant, channel: Channel, name: str) -> QuerySet[MessageTemplate]:
    return MessageTemplate.unscoped.filter(tenant=tenant, channel=channel, name=name, is_active=True)


def _lacks(name: str, data: Mapping[str, Any]) -> bool:
    try:
        render(f"{{{{ {name} }}}}", data)
    except MissingVariables:
        return True
    return False
