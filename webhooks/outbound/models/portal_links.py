"""Links that open the webhook portal for a while, without a login."""

from __future__ import annotations

from django.db import models

from integrations.contracts import clock
from integrations.models.base import PrefixedIdField, TenantOwned
from webhooks.outbound.models.endpoints import Endpoint


class PortalLink(TenantOwned):
    """A short-lived way into the portal of one tenant, or of one endpoint of it. The token is shown once; only its SHA-256 is
    kept. `frame_ancestors` lists the origins that may embed the portal; empty: none may. `created_by_key` is the id of the API
    key that made it, and that it ends with; empty: a person did."""

    id = PrefixedIdField(prefix="pl")
    label = models.CharField(max_length=100, blank=True)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    endpoint = models.ForeignKey(Endpoint, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    can_write = models.BooleanField(default=False)
    frame_ancestors = models.JSONField(default=list, blank=True)
    created_by = models.CharField(max_length=150, blank=True)
    created_by_key = models.CharField(max_length=40, blank=True, default="", editable=False)
    created = models.DateTimeField(default=clock.now, editable=False)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        indexes = [models.Index(fields=["expires_at"], name="webhook_portal_link_expires")]

    def __str__(self) -> str:
        return self.label or self.pk
