"""How long a tenant's events are kept."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from integrations.adminbase.render import when
from integrations.adminbase.retention import PolicyAdmin, PolicyForm, Term, Terms
from integrations.tenancy import audit
from webhooks.outbound.models import RetentionPolicy
from webhooks.outbound.retention import FIELDS, kept_by, save_policy

TERMS = Terms(
    (
        Term(
            "payload_days",
            "Payloads and answers",
            "Days; without its payload nothing can be sent again. Empty, here and below: as the installation has it.",
        ),
        Term("log_days", "Events and deliveries", "Days, no fewer than payloads."),
        Term("failed_days", "What failed", "Days since then, no fewer than events."),
        Term("dead_letter_alarm", "Dead letters for an alert", "An alert is raised above so many within a day.", unit="a day"),
    ),
    kept_by,
    save_policy,
)


class RetentionForm(PolicyForm):
    terms = TERMS

    class Meta:
        model = RetentionPolicy
        fields = ("tenant", *TERMS.names)


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(PolicyAdmin):
    terms = TERMS
    list_display = ("shown_name", when("updated", "Changed"))
    form = RetentionForm

    def delete_model(self, request: HttpRequest, obj: RetentionPolicy) -> None:
        before = {name: getattr(obj, name) for name in FIELDS}
        tenant_id, pk = obj.tenant_id, obj.pk
        super().delete_model(request, obj)
        audit.record(
            tenant_id=tenant_id,
            action="retention.deleted",
            object_type="webhook_retention",
            object_id=str(pk),
            changes=audit.differences(before, dict.fromkeys(FIELDS)),
        )
