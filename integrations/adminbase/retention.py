"""Pages of policies on how long a tenant's things are kept: one row at most for each tenant, empty where the installation has
its say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_scopes import scope
from unfold.decorators import display

from integrations.adminbase.base import TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import table
from integrations.contracts.errors import InvalidRequest
from integrations.models import Tenant


@dataclass(frozen=True, slots=True)
class Term:
    """A field of the policy in plain words. `unit` stands behind its number, `zero` in place of a 0."""

    name: str
    label: str
    help: str
    unit: str = "days"
    zero: str = ""

    def words(self, value: int) -> str:
        return self.zero if self.zero and value == 0 else f"{value:,} {self.unit}"

    def in_force(self, kept: Any) -> str:
        """Return what holds of it, in words."""
        return self.words(getattr(kept, self.name))


@dataclass(frozen=True, slots=True)
class Terms:
    """A kind of policy: its fields and its services. `kept_by(policy)` returns what holds under a policy, for None what the
    installation says; `save(tenant=, values=)` stores one and raises `InvalidRequest`."""

    all: Sequence[Term]
    kept_by: Callable[[Any], Any]
    save: Callable[..., Any]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(term.name for term in self.all)


class PolicyForm(TenantOwnedForm):
    """The service has the last word about a policy, so a form that is right by itself hands it in as the last step of its
    checks: what the service refuses stands beside its field. An empty field shows in grey what the installation has."""

    terms: ClassVar[Terms]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored: Any = None
        installation = self.terms.kept_by(None)
        for term in self.terms.all:
            if term.name in self.fields:
                field = self.fields[term.name]
                field.label, field.help_text = term.label, term.help
                field.widget.attrs["placeholder"] = term.in_force(installation)

    def _get_validation_exclusions(self) -> set[str]:
        """That there is one already is said here, also to whom the tenant is no question."""
        return {*super()._get_validation_exclusions(), "tenant"}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        tenant = Tenant.objects.filter(pk=self.instance.tenant_id).first()
        if self.errors or tenant is None:
            return
        if self.instance._state.adding and type(self.instance).unscoped.filter(tenant=tenant).exists():
            self.add_error(None, "This tenant has a policy already: change that one.")
            return
        values: Mapping[str, Any] = {name: self.cleaned_data.get(name) for name in self.terms.names}
        try:
            with scope(tenant=tenant):
                self.stored = self.terms.save(tenant=tenant, values=values)
        except InvalidRequest as error:
            self.add_error(error.attr if error.attr in self.fields else None, error.message)


class PolicyAdmin(TenantScopedAdmin):
    """At most one for each tenant; what is empty is as the installation has it."""

    terms: ClassVar[Terms]

    can_add = can_change = can_delete = True
    actions = None
    list_before_template = "admin/hub/installation_keeps.html"
    readonly_fields = ("shown_name",)
    panels = (("What holds", "what_holds"),)

    def get_list_display(self, request: HttpRequest) -> Any:
        return ["shown_name", *(_column(term) for term in self.terms.all), *self.list_display[1:]]

    def declared_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Whoever may not change it reads what holds, below."""
        if obj is not None and not self.may_act(request, obj):
            return ((None, {"fields": () if self.chooses_tenant(request) else ("shown_name",)}),)
        names = self.terms.names
        return ((None, {"fields": tuple(names[at : at + 2] for at in range(0, len(names), 2))}),)

    @display(description="Tenant")
    def shown_name(self, obj: Any) -> str:
        return str(obj.tenant)

    def what_holds(self, request: HttpRequest, obj: Any) -> SafeString:
        kept, installation = self.terms.kept_by(obj), self.terms.kept_by(None)
        rows = []
        for term in self.terms.all:
            holds, own = getattr(kept, term.name), getattr(obj, term.name)
            by = "the tenant" if holds == own else "the installation"
            # What failed is kept no shorter than what did not, and the like.
            rows.append(
                (term.label, term.words(holds), by if holds in (own, getattr(installation, term.name)) else "the others")
            )
        return table(("Of what", "Holds", "Follows from"), rows)

    def installation_keeps(self) -> list[tuple[str, str]]:
        """Return (label, words) of what holds where a tenant says nothing."""
        kept = self.terms.kept_by(None)
        return [(term.label, term.in_force(kept)) for term in self.terms.all]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.pk = form.stored.pk  # it is stored already: see the form


def _column(term: Term) -> Callable[[Any], SafeString | str]:
    """Return a list column with the tenant's own word, a dash where it has none."""

    def column(obj: Any) -> SafeString | str:
        value = getattr(obj, term.name)
        return "-" if value is None else format_html('<span class="whitespace-nowrap">{}</span>', term.words(value))

    column.short_description = term.label  # type: ignore[attr-defined]
    column.admin_order_field = term.name  # type: ignore[attr-defined]
    column.__name__ = f"kept_{term.name}"
    return column
