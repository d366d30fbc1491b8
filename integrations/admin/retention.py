"""How long a tenant keeps what the core records."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from integrations.adminbase.retention import PolicyAdmin, PolicyForm, Term, Terms
from integrations.models import LogRetention
from integrations.runtime.keeping import delete_policy, kept_by, save_policy, shortest

TERMS = Terms(
    (
        Term("call_log_days", "Calls", "Days in the call log. Empty, here and below: as the installation has it."),
        Term("failed_call_log_days", "Calls that failed", "Days, no fewer than calls that went well."),
        Term("queue_days", "Queue: what was done", f"Days since then, {shortest('queue_days')} or more."),
        Term("failed_queue_days", "Queue: what failed", f"Days since then, {shortest('failed_queue_days')} or more."),
        Term("receipt_days", "Webhooks received", "Days since they came."),
        Term("message_days", "Messages", f"Days, {shortest('message_days')} or more; 0: for good.", zero="for good"),
    ),
    kept_by,
    save_policy,
)


class LogRetentionForm(PolicyForm):
    terms = TERMS

    class Meta:
        model = LogRetention
        fields = ("tenant", *TERMS.names)


@admin.register(LogRetention)
class LogRetentionAdmin(PolicyAdmin):
    terms = TERMS
    form = LogRetentionForm

    def delete_model(self, request: HttpRequest, obj: LogRetention) -> None:
        delete_policy(obj)
