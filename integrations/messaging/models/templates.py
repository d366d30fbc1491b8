"""Texts with variables, by name and language."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models

from integrations.contracts import clock
from integrations.messaging.models.channels import Channel
from integrations.messaging.templating import TemplateError, check_template, variables_of
from integrations.models.base import TenantOwned

LANGUAGE = RegexValidator(r"^[a-z]{2,3}(-[A-Z]{2})?$", "Write en, or en-KE.")


class MessageTemplate(TenantOwned):
    """A text with variables, by a name that stays; one row for each language. Without a language it is for all others.

    A change is used by what is sent afterwards: messages keep the text that they were sent with.
    """

    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.SMS)
    name = models.SlugField(max_length=60, help_text="What callers send by; letters, digits, hyphens and underscores.")
    language = models.CharField(
        max_length=10, blank=True, validators=[LANGUAGE], help_text="en, sw, en-KE; empty: for every language without its own."
    )
    subject = models.CharField(max_length=200, blank=True)
    body = models.TextField(max_length=5000, help_text="Variables are written {{ name }} or {{ order.number }}.")
    html = models.TextField(max_length=100_000, blank=True)
    description = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(default=True)
    updated_by = models.CharField(max_length=150, blank=True, editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)
    updated = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["channel", "name", "language"]
        constraints = [models.UniqueConstraint(fields=["tenant", "channel", "name", "language"], name="message_template_once")]

    def __str__(self) -> str:
        return f"{self.channel} {self.name}" + (f" ({self.language})" if self.language else "")

    @property
    def variables(self) -> list[str]:
        """The names that must be given, in order of appearance."""
        return variables_of(self.subject, self.body, self.html)

    def clean(self) -> None:
        problems = {}
        for field in ("subject", "body", "html"):
            try:
                check_template(getattr(self, field) or "")
            except TemplateError as error:
                problems[field] = str(error)
        if self.channel == Channel.SMS:
            problems |= {field: "A text message has none." for field in ("subject", "html") if getattr(self, field)}
        if problems:
            raise ValidationError(problems)
