"""How long a tenant keeps what the core records."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django_scopes import scope
from unfold.decorators import display

from integrations.adminbase.base import TenantOwnedForm, TenantScopedAdmin
from integrations.contracts.errors import InvalidRequest
from integrations.models import LogRetention, Tenant
from integrations.runtime.keeping import FIELDS, FOR_GOOD, SHORTEST_DAYS, delete_policy, save_policy


class LogRetentionForm(TenantOwnedForm):
    """The service has the last word about a policy, so a form that is right by itself hands it in as the last step of its
    checks: what the service refuses stands beside its field."""

    class Meta:
        model = LogRetention
        fields = ("tenant", *FIELDS)
        help_texts: ClassVar[dict[str, str]] = {
            **{name: f"{days} or more." for name, days in SHORTEST_DAYS.items()},
            "message_days": f"{SHORTEST_DAYS['message_days']} or more; {FOR_GOOD}: for good.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored: LogRetention | None = None

    def _get_validation_exclusions(self) -> set[str]:
        """That there is one already is said here, also to whom the tenant is no question."""
        return {*super()._get_validation_exclusions(), "tenant"}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        tenant = Tenant.objects.filter(pk=self.instance.tenant_id).first()
        if self.errors or tenant is None:
            return
        if self.instance._state.adding and LogRetention.unscoped.filter(tenant=tenant).exists():
            self.add_error(None, "This tenant has a policy already: change that one.")
            return
        try:
            with scope(tenant=tenant):
                self.stored = save_policy(tenant=tenant, values={name: self.cleaned_data.get(name) for name in FIELDS})
        except InvalidRequest as error:
            self.add_error(error.attr if error.attr in self.fields else None, error.message)


@admin.register(LogRetention)
class LogRetentionAdmin(TenantScopedAdmin):
    """At most one for each tenant; what is empty is as the installation has it."""

    can_add = can_change = can_delete = True
    list_display = ("shown_name", *FIELDS)
    form = LogRetentionForm
    actions = None
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("call_log_days", "failed_call_log_days"),
                    ("queue_days", "failed_queue_days"),
                    ("receipt_days", "message_days"),
                )
            },
        ),
    )

    @display(description="Tenant")
    def shown_name(self, obj: LogRetention) -> str:
        return str(obj.tenant)

    def save_model(self, request: HttpRequest, obj: LogRetention, form: Any, change: bool) -> None:
        obj.pk = form.stored.pk  # it is stored already: see the form

    def delete_model(self, request: HttpRequest, obj: LogRetention) -> None:
        delete_policy(obj)
