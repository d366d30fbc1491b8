"""Messages, whom they went to, and what became of them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.messaging.models.channels import Channel
from integrations.messaging.models.lists import RecipientList
from integrations.messaging.models.push import Device
from integrations.models import Config
from integrations.models.base import PrefixedIdField, TenantOwned

STATES = [(state.value, state.value.capitalize()) for state in MessageState]


class Message(TenantOwned):
    """One text, to one or many recipients; what happened to it is in the recipients.

    `provider` and `config` were chosen when it was accepted and stay: a retry never moves it to another account.
    `config` is empty where the installation's account serves the tenant. `body`, `subject` and `html` are what is sent; where
    it is `personal` they are templates, filled in for each recipient with the message's `data` and his own. `content` holds
    what only its channel knows (`content.py`). A message to a list is `prepared_at` when the last row has its recipient;
    `expected` is how many rows there are. `continues`: sent in place of, or again to some of, another message's recipients.
    """

    id = PrefixedIdField(prefix="msg")
    tenant = models.ForeignKey("integrations.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    channel = models.CharField(max_length=10, choices=Channel.choices, default=Channel.SMS)
    provider = models.CharField(max_length=50)
    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    sender = models.CharField(max_length=320, blank=True)
    subject = models.CharField(max_length=500, blank=True)
    body = models.TextField(blank=True)
    html = models.TextField(blank=True)
    content = models.JSONField(default=dict, blank=True)
    personal = models.BooleanField(default=False)
    data = models.JSONField(default=dict, blank=True)
    segments = models.PositiveSmallIntegerField(default=0)
    encoding = models.CharField(max_length=10, blank=True)
    reference_type = models.CharField(max_length=30, blank=True)
    reference_id = models.CharField(max_length=60, blank=True)
    category = models.CharField(max_length=30, blank=True)
    template_name = models.CharField(max_length=60, blank=True, help_text="The template that the text was made from.")
    language = models.CharField(max_length=10, blank=True)
    priority = models.PositiveSmallIntegerField(default=5)
    key = models.CharField(max_length=150, blank=True, help_text="At most one message of a tenant has this key.")
    send_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Not sent later than that.")
    paused_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    override_reason = models.CharField(max_length=200, blank=True, help_text="Why the suppression list was passed over.")
    recipient_list = models.ForeignKey(RecipientList, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    prepared_at = models.DateTimeField(null=True, blank=True)
    expected = models.PositiveIntegerField(default=0)
    unit_cost = models.DecimalField(
        max_digits=14, decimal_places=6, null=True, blank=True, help_text="Expected for each recipient."
    )
    currency = models.CharField(max_length=3, blank=True)
    continues = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="continued_by")
    step = models.PositiveSmallIntegerField(default=0, help_text="Which step of the fallback policy it is; 0: none.")
    created_by = models.CharField(max_length=150, blank=True)
    created = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["-created", "-id"]
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], condition=~Q(key=""), name="message_key_once")]
        indexes = [
            models.Index(fields=["tenant", "-created", "-id"], name="message_of_tenant"),
            models.Index(
                fields=["tenant", "reference_id", "reference_type"], condition=~Q(reference_id=""), name="message_by_reference"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.channel} {self.pk}"


class Recipient(TenantOwned):
    """One address of a message; of an e-mail: `role` to, cc or bcc, and which of its letters, `envelope`. `state` changes
    through `transitions.advance` alone; delivered and failed are final.

    `given_up`: failed in our queue, the provider certainly has not sent it; then, and only then, a person may retry it.
    `tries` counts the provider's answers that asked for another try. `cost` is in major units of `currency`. `alternatives`
    maps other channels to his address there; `instead_of` is the one in whose place this one was sent, on another way.
    """

    tenant = models.ForeignKey("integrations.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False)
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="recipients", db_index=False)
    address = models.CharField(max_length=512)
    name = models.CharField(max_length=200, blank=True)
    role = models.CharField(max_length=3, blank=True, choices=[("to", "To"), ("cc", "Cc"), ("bcc", "Bcc")])
    envelope = models.PositiveIntegerField(default=0)
    data = models.JSONField(default=dict, blank=True)
    alternatives = models.JSONField(default=dict, blank=True)
    device = models.ForeignKey(Device, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    instead_of = models.OneToOneField("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="continued_by")
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
    opened_at = models.DateTimeField(null=True, blank=True)
    clicked_at = models.DateTimeField(null=True, blank=True)
    updated = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["message", "address"], name="recipient_once")]
        indexes = [
            models.Index(fields=["tenant", "provider_ref"], condition=~Q(provider_ref=""), name="recipient_provider_ref"),
            models.Index(fields=["tenant", "address"], condition=Q(state="unknown"), name="recipient_unknown"),
            models.Index(fields=["message", "state"], name="recipient_progress"),
            models.Index(fields=["tenant", "address"], name="recipient_of_address"),
        ]

    def __str__(self) -> str:
        return f"{self.address}: {self.state}"


class MessageEvent(TenantOwned):
    """One line of a recipient's story; never changed. `state` is the state reached, empty where it stayed; `engagement` what
    happened around it (`contracts.messaging.Engagement`)."""

    recipient = models.ForeignKey(Recipient, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField()
    state = models.CharField(max_length=10, blank=True, choices=STATES)
    detail = models.TextField(blank=True)
    source = models.CharField(max_length=20)
    engagement = models.CharField(max_length=15, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.state or self.detail}"


class Attachment(TenantOwned):
    """A file that goes along with a message: its `content`, or the public `url` of it, fetched by us (e-mail) or by the
    provider (WhatsApp). `content_id` makes it a picture inside of the HTML text."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="attachments")
    filename = models.CharField(max_length=200)
    content_type = models.CharField(max_length=120)
    size = models.PositiveIntegerField(default=0)
    content = models.BinaryField(default=b"")
    url = models.URLField(max_length=2000, blank=True)
    content_id = models.CharField(max_length=120, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["id"]

    def __str__(self) -> str:
        return self.filename


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
