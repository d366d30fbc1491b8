"""What people write to the tenant."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from integrations.contracts import clock
from integrations.messaging.models.channels import Channel
from integrations.models import Config
from integrations.models.base import PrefixedIdField, TenantOwned


class InboundMessage(TenantOwned):
    """Somebody wrote to a number or mailbox of the tenant. `opted` is what it did to his wishes: `out`, `in` or nothing.

    `media` is a list of `{"type": ..., "id": ...}`, as the provider names its files. Once for each id of the provider.
    """

    id = PrefixedIdField(prefix="inm")
    channel = models.CharField(max_length=10, choices=Channel.choices)
    provider = models.CharField(max_length=50)
    config = models.ForeignKey(Config, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    provider_ref = models.CharField(max_length=200, blank=True)
    address = models.CharField(max_length=512)
    to = models.CharField(max_length=512, blank=True)
    name = models.CharField(max_length=200, blank=True)
    text = models.TextField(blank=True)
    media = models.JSONField(default=list, blank=True)
    opted = models.CharField(max_length=3, blank=True, choices=[("out", "Out"), ("in", "In")])
    trusted = models.BooleanField(default=True)
    reply_to = models.CharField(max_length=200, blank=True)
    received_at = models.DateTimeField(default=clock.now)

    class Meta(TenantOwned.Meta):
        ordering = ["-received_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "provider", "provider_ref"], condition=~Q(provider_ref=""), name="inbound_message_once"
            )
        ]
        indexes = [
            models.Index(fields=["tenant", "-received_at", "-id"], name="inbound_of_tenant"),
            models.Index(fields=["tenant", "channel", "address", "-received_at"], name="inbound_of_address"),
        ]

    def __str__(self) -> str:
        return f"{self.channel} from {self.address}"
