"""How long a tenant's events are kept."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django_scopes import scope
from unfold.decorators import display

from integrations.adminbase.base import TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import when
from integrations.contracts.errors import InvalidRequest
from integrations.models import Tenant
from integrations.tenancy import audit
from webhooks.outbound.models import RetentionPolicy
from webhooks.outbound.retention import FIELDS, save_policy


class RetentionForm(TenantOwnedForm):
    """The service has the last word about a policy, so a form that is right by itself hands it in as the last step of its
    checks: what the service refuses stands beside its field."""

    class Meta:
        model = RetentionPolicy
        fields = ("tenant", *FIELDS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored: RetentionPolicy | None = None

    def _get_validation_exclusions(self) -> set[str]:
        """That there is one already is said here, also to whom the tenant is no question."""
        return {*super()._get_validation_exclusions(), "tenant"}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        tenant = Tenant.objects.filter(pk=self.instance.tenant_id).first()
        if self.errors or tenant is None:
            return
        if self.instance._state.adding and RetentionPolicy.unscoped.filter(tenant=tenant).exists():
            self.add_error(None, "This tenant has a policy already: change that one.")
            return
        try:
            with scope(tenant=tenant):
                self.stored = save_policy(tenant=tenant, values={name: self.cleaned_data.get(name) for name in FIELDS})
        except InvalidRequest as error:
            self.add_error(error.attr if error.attr in self.fields else None, error.message)


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(TenantScopedAdmin):
    """At most one for each tenant; what is empty is as the installation has it."""

    can_add = can_change = can_delete = True
    list_display = ("shown_name", *FIELDS, when("updated", "Changed"))
    form = RetentionForm
    actions = None
    fieldsets = ((None, {"fields": (("payload_days", "log_days"), ("failed_days", "dead_letter_alarm"))}),)

    @display(description="Tenant")
    def shown_name(self, obj: RetentionPolicy) -> str:
        return str(obj.tenant)

    def save_model(self, request: HttpRequest, obj: RetentionPolicy, form: Any, change: bool) -> None:
        obj.pk = form.stored.pk  # it is stored already: see the form

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
