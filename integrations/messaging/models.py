"""Messages, whom they went to, and what became of them."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.messaging.templating import TemplateError, check_template, variables_of
from integrations.models import Config
from integrations.models.base import PrefixedIdField, TenantOwned


class Channel(models.TextChoices):
    SMS = "sms", "SMS"
    EMAIL = "email", "E-mail"
    PUSH = "push", "Push"
    WHATSAPP = "whatsapp", "WhatsApp"


LANGUAGE = RegexValidator(r"^[a-z]{2,3}(-[A-Z]{2})?$", "Write en, or en-KE.")
STATES = [(state.value, state.value.capitalize()) for state in MessageState]


class Message(TenantOwned):
    """One text, to one or many recipients; what happened to it is in the recipients.

    `provider` and `config` were chosen when it was accepted and stay: a retry never moves it to another account.
    `config` is empty where the installation's account serves the tenant.
    """

    id = PrefixedIdField(prefix="msg")
    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.SMS)
    provider = models.CharField(max_length=50)
    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    sender = models.CharField(max_length=20, blank=True)
    body = models.TextField()
    segments = models.PositiveSmallIntegerField()
    encoding = models.CharField(max_length=10)
    reference_type = models.CharField(max_length=30, blank=True)
    reference_id = models.CharField(max_length=60, blank=True)
    category = models.CharField(max_length=30, blank=True)
    template_name = models.CharField(max_length=60, blank=True, help_text="The template that the text was made from.")
    key = models.CharField(max_length=150, blank=True, help_text="At most one message of a tenant has this key.")
    send_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=150, blank=True)
    created = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["-created", "-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], condition=~Q(key=""), name="message_key_once")]
        indexes = [
            models.Index(fields=["tenant", "-created", "-id"], name="message_of_tenant"),
            models.Index(fields=["tenant", "reference_type", "reference_id"], name="message_of_reference"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.pk}"


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


class Recipient(TenantOwned):
    """One address of a message. `state` changes through `transitions.advance` alone; delivered and failed are final.

    `given_up`: failed in our queue, the provider certainly has not sent it; then, and only then, a person may retry it.
    `tries` counts the provider's answers that asked for another try. `cost` is in major units of `currency`.
    """

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="recipients")
    address = models.CharField(max_length=512)
    state = models.CharField(max_length=10, choices=STATES, default=MessageState.QUEUED.value)
    provider_ref = models.CharField(max_length=200, blank=True)
    provider_status = models.CharField(max_length=100, blank=True)
    detail = models.TextField(blank=True)
    given_up = models.BooleanField(default=False)
    tries = models.PositiveSmallIntegerField(default=0)
    cost = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    updated = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["message", "address"], name="recipient_once")]
        indexes = [
            models.Index(fields=["tenant", "provider_ref"], condition=~Q(provider_ref=""), name="recipient_provider_ref"),
            models.Index(fields=["tenant", "address"], condition=Q(state="unknown"), name="recipient_unknown"),
        ]

    def __str__(self) -> str:
        return f"{self.address}: {self.state}"


class MessageEvent(TenantOwned):
    """One line of a recipient's story; never changed. `state` is the state reached, empty where it stayed."""

    recipient = models.ForeignKey(Recipient, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    state = models.CharField(max_length=10, blank=True, choices=STATES)
    detail = models.TextField(blank=True)
    source = models.CharField(max_length=20)

    class Meta(TenantOwned.Meta):
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.state or self.detail}"


class UnmatchedReport(TenantOwned):
    """A delivery report for an id we do not know yet: it may have overtaken our own commit.

    Applied when the id turns up within `reports.REPLAY_WINDOW`; kept as unmatched after that.
    """

    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    provider = models.CharField(max_length=50)
    provider_ref = models.CharField(max_length=200)
    address = models.CharField(max_length=512)
    payload = models.JSONField()
    created = models.DateTimeField(default=clock.now)
    matched_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["id"]
        indexes = [
            models.Index(fields=["tenant", "address"], condition=Q(matched_at__isnull=True), name="unmatched_report_open")
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.provider_ref}"


class Suppression(TenantOwned):
    """An address that is not to be written to any more on a channel, and why."""

    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.SMS)
    address = models.CharField(max_length=512)
    reason = models.CharField(max_length=200)
    source = models.CharField(max_length=50, blank=True)
    created = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "channel", "address"], name="suppression_once")]

    def __str__(self) -> str:
        return f"{self.channel} {self.address}"
