"""Who changed what: endpoints, keys, credentials, links."""

from __future__ import annotations

from django.db import models

from integrations.contracts import clock
from integrations.models.base import TenantOwned


class AuditEntry(TenantOwned):
    """One change by somebody. `actor` is a user name, `key <name>` or `portal link <id>`; `changes` holds {field: [before,
    after]} with secrets masked. Never changed, never deleted but by retention."""

    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=60)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=60)
    object_name = models.CharField(max_length=150, blank=True)
    changes = models.JSONField(default=dict, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    created = models.DateTimeField(default=clock.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["tenant", "-id"], name="audit_of_tenant"),
            models.Index(fields=["tenant", "object_type", "object_id"], name="audit_of_object"),
            models.Index(fields=["created"], name="audit_created"),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.object_type} {self.object_id}"
