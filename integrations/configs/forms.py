"""The admin's form of a config, generated from the provider's ConfigSchema.

Schema fields are form fields named `value_<name>`, so that none can collide with a column. Secrets never travel to the
browser: the input is empty, its placeholder shows the last four characters, and left empty it keeps what is stored.
"""

from __future__ import annotations

from typing import Any

from django import forms

from integrations.configs import schemas, services
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.provider import Provider
from integrations.contracts.schema import Choice, Field, Flag, Integer, SchemaErrors, Text
from integrations.models import Config, Tenant
from integrations.registry import get_provider
from integrations.runtime.rate_limit.limits import FASTEST, MOST, SLOWEST, described
from integrations.runtime.rate_limit.limits import NAMES as LIMITS
from integrations.secrets import SecretUnreadable

PREFIX = "value_"
CLEAR = "clear_"
LIMIT = "limit_"


def _whole_limit(name: str, label: str, text: str) -> forms.IntegerField:
    return forms.IntegerField(min_value=1, max_value=MOST[name], required=False, label=label, help_text=text)


class ConfigForm(forms.ModelForm):  # type: ignore[type-arg]
    """Base of the generated forms. Set `instance.tenant` (or leave `tenant` in the form) before `is_valid()`.

    `save(commit=True)` writes through the services. The admin, which saves in two steps, calls `save(commit=False)` (writes
    nothing) and then `apply()`; both leave the stored row's id in `instance`.
    """

    provider: Provider

    limit_rate = forms.FloatField(
        min_value=SLOWEST,
        max_value=FASTEST,
        required=False,
        label="Calls a second",
        help_text="Of one operation. Empty, here and below: as the provider declares.",
    )
    limit_burst = _whole_limit("burst", "Burst", "Calls that may be saved up.")
    limit_concurrency = _whole_limit("concurrency", "Calls at once", "Of all operations together.")
    limit_daily = _whole_limit("daily", "Calls a day", "Of all operations together, until midnight UTC.")

    class Meta:
        model = Config
        fields = ["tenant", "label", "environment", "is_active"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = self._stored_secrets()
        allowed = schemas.environments(self.provider)
        if self.instance.pk and self.instance.environment not in allowed:
            allowed = [*allowed, self.instance.environment]
        self.fields["environment"] = forms.ChoiceField(
            choices=[(each, each.capitalize()) for each in allowed], initial=self.instance.environment
        )
        for declared in self.provider.config:
            name = PREFIX + declared.name
            if name not in self.fields:
                continue
            field = self.fields[name]
            if declared.secret:
                field.widget.attrs["placeholder"] = stored.get(declared.name, "")
                field.required = declared.required and declared.name not in stored
                if declared.name in stored and not declared.required:
                    self.fields[CLEAR + declared.name] = forms.BooleanField(
                        required=False, label=f"Remove: {field.label}", help_text="Deletes the stored value."
                    )
            elif self.instance.pk:
                self.initial.setdefault(name, self.instance.values.get(declared.name))
        self._show_limits()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self._check_environment(cleaned)
        try:
            kept = self.instance.secrets() if self.instance.pk else {}
        except SecretUnreadable:
            kept = {}
        values = self.config_values()
        kept = {name: value for name, value in kept.items() if values.get(name, "") is not None}
        try:
            plain, secrets = schemas.clean(self.provider, values, kept_secrets=kept, complete=bool(cleaned.get("is_active")))
            if "environment" not in self.errors and (cleaned.get("is_active") or self._account_changed()):
                environment = cleaned.get("environment") or self.instance.environment
                schemas.check_keys(self.provider, environment, {**plain, **secrets})
        except SchemaErrors as error:
            for name, text in error.errors.items():
                field = PREFIX + name
                if field not in self.errors:
                    self.add_error(field if field in self.fields else None, text)
        return cleaned

    def _show_limits(self) -> None:
        for name, declared in described(self.provider.rate_limit).items():
            if LIMIT + name in self.fields:
                self.fields[LIMIT + name].widget.attrs["placeholder"] = "no limit" if declared is None else f"{declared:g}"
                self.initial.setdefault(LIMIT + name, self.instance.limits.get(name))

    def limits(self) -> dict[str, Any] | None:
        """Return the account's own limits, None where the form does not ask for them."""
        asked = [name for name in LIMITS if LIMIT + name in self.fields]
        return {name: self.cleaned_data.get(LIMIT + name) for name in asked} if asked else None

    def _account_changed(self) -> bool:
        """Tell whether more than the label changes: an account whose keys are wrong already can still be switched off."""
        return not self.instance.pk or bool(
            set(self.changed_data) - {"tenant", "label", "is_active", *(LIMIT + name for name in LIMITS)}
        )

    def _check_environment(self, cleaned: dict[str, Any]) -> None:
        if cleaned.get("environment"):
            try:
                schemas.check_environment(self.provider, cleaned["environment"])
            except InvalidRequest as error:
                self.add_error("environment", error.message)

    def config_values(self) -> dict[str, Any]:
        """Return the schema's values as the services take them: None for a secret that is to be removed."""
        values: dict[str, Any] = {}
        for declared in self.provider.config:
            value = self.cleaned_data.get(PREFIX + declared.name)
            if self.cleaned_data.get(CLEAR + declared.name) and not value:
                value = None
            elif declared.secret and not value:
                continue
            values[declared.name] = value
        return values

    def save(self, commit: bool = True) -> Config:
        """Store through the services and return the row; with `commit=False` only return the unsaved instance."""
        if commit:
            return self.apply()
        self.save_m2m = lambda: None  # what the admin calls after its second step
        return self.instance

    def apply(self, *, tenant: Tenant | None = None) -> Config:
        """Write the valid form through the services. `tenant` is who owns a new config, where the form does not say."""
        asked = ("environment", "label", "is_active")
        chosen: dict[str, Any] = {name: self.cleaned_data[name] for name in asked if name in self.cleaned_data}
        chosen["limits"] = self.limits()
        if self.instance.pk:
            stored = services.update_config(config=self.instance, values=self.config_values(), replace=True, **chosen)
        else:
            stored = services.create_config(
                tenant=tenant or self.instance.tenant,
                provider=self.provider.slug,
                values=self.config_values(),
                **{"environment": self.instance.environment, **chosen},
            )
        for column in Config._meta.concrete_fields:
            setattr(self.instance, column.attname, getattr(stored, column.attname))
        self.instance._state.adding = False
        return stored

    def _stored_secrets(self) -> dict[str, str]:
        if not self.instance.pk:
            return {}
        try:
            return self.instance.masked_secrets()
        except SecretUnreadable:
            return {}


def config_form_class(provider: Provider | str) -> type[ConfigForm]:
    """Return the form for configs of this provider; raise `UnknownProvider`."""
    declared = get_provider(provider) if isinstance(provider, str) else provider
    fields: dict[str, Any] = {PREFIX + field.name: _form_field(field) for field in declared.config}
    meta = type("Meta", (ConfigForm.Meta,), {})
    name = f"{declared.slug.replace('-', ' ').title().replace(' ', '')}ConfigForm"
    return type(name, (ConfigForm,), {**fields, "provider": declared, "Meta": meta, "__module__": __name__})


def _form_field(field: Field) -> forms.Field:
    described = field.describe()
    common: dict[str, Any] = {
        "label": described["label"],
        "help_text": field.help,
        "initial": None if field.secret else field.default,
        "required": field.required and field.default is None,
    }
    if field.secret:
        widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"})
        return forms.CharField(widget=widget, strip=False, **common)
    if isinstance(field, Choice):
        choices = list(field.choices) if field.default is not None else [("", "---------"), *field.choices]
        return forms.ChoiceField(choices=choices, **common)
    if isinstance(field, Integer):
        return forms.IntegerField(min_value=field.minimum, max_value=field.maximum, **common)
    if isinstance(field, Flag):
        return forms.BooleanField(**{**common, "required": False})
    if isinstance(field, Text) and field.multiline:
        return forms.CharField(widget=forms.Textarea(attrs={"rows": 6}), **common)
    return forms.CharField(**common)
