"""The forms of inbound endpoints: one for each scheme, one for provider accounts. The services check what is entered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms

from integrations.adminbase.base import TenantOwnedForm
from integrations.adminbase.widgets import dress
from integrations.contracts.errors import InvalidRequest
from webhooks.inbound.admin.texts import lines_of, pairs_of, written
from webhooks.inbound.endpoints import checks, services
from webhooks.inbound.endpoints.serializers import shown_options
from webhooks.inbound.generic import handshakes, schemes
from webhooks.inbound.models import InboundEndpoint, Scheme

OPTION = "option_"
LINES = ("events", "allowed_ips")
PAIRS = ("event_types", "fields")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "algorithm": schemes.ALGORITHMS,
    "encoding": schemes.ENCODINGS,
    "handshake": handshakes.HANDSHAKES,
}
_HELP = {
    "header": "The header that the signature or key stands in.",
    "prefix": "What stands before it in the header, such as sha256=.",
    "timestamp_header": "The header with the signed time; leave it empty where no time is signed.",
    "template": "What is signed: {body}, and {timestamp} where the time stands. Empty: the usual form.",
    "username": "The user name that the sender signs in with.",
    "header_prefix": "webhook, or svix for senders that use that library's names.",
    "handshake": "A question that the sender asks when the address is entered: of Meta, of Microsoft Graph, or ?challenge=.",
    "verify_token": "The word that Meta's handshake must name.",
}
_LINES_HELP = {
    "events": "Source types that are worked off, one on each line, * for any part. Empty: all.",
    "allowed_ips": "Addresses or networks that may send, one on each line. Empty: any.",
}
_PAIRS_HELP = {
    "event_types": "Lines of source type = event type; * = order.created for all others. Without any no event is told.",
    "fields": "member = path, such as id = data.order.id or shop = =main. Empty: the whole body.",
}


class EndpointForm(TenantOwnedForm):
    """Of a provider account's row, and the base of the sources'."""

    scheme_name: Scheme | None = None
    events = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 3}), help_text=_LINES_HELP["events"])
    allowed_ips = forms.CharField(
        required=False,
        label="Allowed addresses",
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_LINES_HELP["allowed_ips"],
    )

    class Meta:
        model = InboundEndpoint
        fields = ("tenant", "name", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.scheme_name is not None and self.instance._state.adding:
            self.instance.scheme = self.scheme_name
        for name in LINES:
            self.initial[name] = "\n".join(getattr(self.instance, name))
        for name in PAIRS:
            self.initial[name] = written(getattr(self.instance, name))
        for name, value in shown_options(self.instance).items():
            self.initial[OPTION + name] = value
        dress(self.fields)

    def settings(self) -> dict[str, Any]:
        """Return what was entered, as the services take it."""
        given: dict[str, Any] = {}
        options: dict[str, str] = {}
        for name, value in self.cleaned_data.items():
            if name.startswith(OPTION):
                options[name.removeprefix(OPTION)] = value
            elif name in services.OF_ALL | services.OF_SOURCES:
                given[name] = value
        return {**given, "options": options} if self.scheme_name is not None else given

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for name in LINES:
            cleaned[name] = lines_of(cleaned.get(name, ""))
        for name in PAIRS:
            if name in self.fields:
                try:
                    cleaned[name] = pairs_of(cleaned.get(name, ""))
                except forms.ValidationError as error:
                    self.add_error(name, error)
        self.cleaned_data = cleaned
        tenant = cleaned.get("tenant")
        if not self.errors and (tenant is not None or self.instance.tenant_id):
            self._check(tenant.pk if tenant is not None else self.instance.tenant_id)
        return self.cleaned_data

    def _check(self, tenant_id: int) -> None:
        """Ask the services about each setting on its own, so that every mistake is shown."""
        probe = InboundEndpoint(
            tenant_id=tenant_id,
            scheme=self.instance.scheme,
            config_id=self.instance.config_id,
            options=self.instance.options,
            sealed_verify_token=self.instance.sealed_verify_token,
        )
        for name, value in self.settings().items():
            self._try(lambda name=name, value=value: services.checked_settings(probe, {name: value}))
        if self.scheme_name is not None and "secret" in self.fields:
            kind = self.scheme_name
            self._try(lambda: checks.secret(kind, self.cleaned_data.get("secret", "")))

    def _try(self, check: Any) -> None:
        try:
            check()
        except InvalidRequest as error:
            name = (error.attr or "").replace("options.", OPTION)
            self.add_error(name if name in self.fields else None, error.message)


def form_for(scheme: Scheme | None, *, adding: bool) -> type[EndpointForm]:
    """Return the form of a source with this scheme; of a provider account's row for None."""
    if scheme is None:
        return EndpointForm
    members: dict[str, Any] = {"scheme_name": scheme}
    if adding:
        members["secret"] = forms.CharField(
            required=scheme in checks.GIVEN,
            max_length=500,
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
            label="Public key" if scheme == Scheme.ED25519 else "Secret",
            help_text="What the sender gave you." if scheme in checks.GIVEN else "Empty: one is made, and shown once.",
        )
    for name in option_names(scheme):
        members[OPTION + name] = _option(name, schemes.OPTIONS[scheme].get(name, ""))
    for name, text in _PAIRS_HELP.items():
        members[name] = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 4}), help_text=text)
    names = ("tenant", "name", "is_active", "tolerance", "dedupe_path", "type_path")
    members["Meta"] = type("Meta", (), {"model": InboundEndpoint, "fields": names})
    return type("SourceForm", (EndpointForm,), members)


def option_names(scheme: Scheme) -> list[str]:
    """Return the options of a scheme, in the order of the form."""
    return [*schemes.OPTIONS[scheme], "handshake", "verify_token"]


def _option(name: str, default: str) -> forms.Field:
    label = name.replace("_", " ").capitalize()
    text = f"{_HELP.get(name, '')} {f'Empty: {default}.' if default else ''}".strip()
    if name in _CHOICES:
        choices = [("", f"default ({default})" if default else "none"), *((each, each) for each in _CHOICES[name])]
        return forms.ChoiceField(required=False, label=label, choices=choices, help_text=text)
    return forms.CharField(required=False, max_length=200, label=label, help_text=text)


class RotateForm(forms.Form):
    """How long the old secret, or a provider's former path, goes on counting."""

    overlap = forms.TypedChoiceField(
        coerce=int,
        initial=24,
        choices=[(0, "not at all: end it now"), (1, "1 hour"), (24, "1 day"), (72, "3 days"), (168, "7 days")],
        label="The old one counts for",
        widget=forms.Select(),
    )
    secret = forms.CharField(
        required=False,
        max_length=500,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="What the sender gave you; empty: one is made. Not for provider accounts, which get a new address.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dress(self.fields)

    @staticmethod
    def span(hours: int) -> timedelta:
        return timedelta(hours=hours)
