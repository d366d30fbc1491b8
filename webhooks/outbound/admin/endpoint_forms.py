"""The console's forms about an endpoint. What an endpoint may be is checked by the API's own serializer."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from integrations.adminbase.base import TenantOwnedForm
from integrations.contracts.errors import Conflict
from webhooks.outbound import signing
from webhooks.outbound.endpoints.serializers import EndpointInput
from webhooks.outbound.endpoints.services import require_room
from webhooks.outbound.models import Endpoint, Ordering, PayloadFormat, ReplayMode

SCHEMES = ((signing.SYMMETRIC, "HMAC-SHA256: a shared secret (v1)"), (signing.ASYMMETRIC, "ed25519: a public key (v1a)"))
OVERLAPS = (("0", "none: at once"), ("3600", "1 hour"), ("86400", "24 hours"), ("259200", "3 days"), ("604800", "7 days"))
SPANS = (("1", "the last hour"), ("24", "the last day"), ("168", "the last 7 days"), ("720", "the last 30 days"))
HELD = (("send", "Send what was kept meanwhile"), ("discard", "Discard what was kept: it can be recovered later"))


def flat(problems: Any) -> list[str]:
    """Return the texts of a serializer's errors, however deep they stand."""
    if isinstance(problems, dict):
        return [each for value in problems.values() for each in flat(value)]
    if isinstance(problems, list):
        return list(dict.fromkeys(each for value in problems for each in flat(value)))
    return [str(problems)]


def lines(text: str) -> list[str]:
    """Return what stands on lines of its own, or between commas."""
    return [line.strip() for line in text.replace(",", "\n").splitlines() if line.strip()]


def json_or_none(text: str) -> Any:
    """Return what JSON says, None for nothing; raise the form's own error for what is no JSON."""
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError) as error:
        raise forms.ValidationError("This is not JSON.") from error


def _headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if line.strip() and (not colon or name.strip() in found):
            raise forms.ValidationError("Write one header on each line, as Name: value.")
        if line.strip():
            found[name.strip()] = value.strip()
    return found


def _numbers(text: str) -> list[float]:
    try:
        return [int(each) if each.isdecimal() else float(each) for each in lines(text)]
    except ValueError as error:
        raise forms.ValidationError("Write numbers with commas between them.") from error


def _area(rows: int) -> UnfoldAdminTextareaWidget:
    return UnfoldAdminTextareaWidget(attrs={"rows": rows, "spellcheck": "false"})


READERS: dict[str, Callable[[str], Any]] = {
    "events": lines,
    "channels": lines,
    "filter": json_or_none,
    "retry_delays": _numbers,
    "own_headers": _headers,
}
"""How the text of a field becomes the API's value."""


class EndpointForm(TenantOwnedForm):
    """A new endpoint, or what changes of one. `checked` holds the API's values once it is valid.

    What is left empty is as the API has it where it is not given. The headers are called `own_headers` here: the model has a
    method `headers` that opens them, which a page that only shows the form's fields must not find.
    """

    url = forms.CharField(max_length=2000, label="URL", widget=UnfoldAdminTextInputWidget())
    events = forms.CharField(
        widget=_area(4),
        help_text="One on each line: a type such as payment.completed, a group such as payment.*, or * for everything.",
    )
    channels = forms.CharField(
        required=False, widget=_area(2), help_text="One on each line: only events that name one of them. Empty: all."
    )
    filter = forms.CharField(
        required=False, widget=_area(4), help_text='JSON, such as {"data.object.amount": {"$gte": 100000}}. Empty: all.'
    )
    own_headers = forms.CharField(
        required=False,
        widget=_area(3),
        help_text="One on each line, as Name: value. Stored values are masked; a masked line left as it is keeps its value.",
    )
    payload_format = forms.ChoiceField(
        choices=PayloadFormat.choices, required=False, label="Format", widget=UnfoldAdminSelectWidget()
    )
    ordering = forms.ChoiceField(choices=Ordering.choices, required=False, label="Order", widget=UnfoldAdminSelectWidget())
    batch_size = forms.IntegerField(
        required=False, widget=UnfoldAdminIntegerFieldWidget(), help_text="Events in one request; 1: no batches."
    )
    batch_wait = forms.IntegerField(
        required=False, widget=UnfoldAdminIntegerFieldWidget(), help_text="Seconds to wait for a batch, at most."
    )
    max_in_flight = forms.IntegerField(
        required=False, label="At once", widget=UnfoldAdminIntegerFieldWidget(), help_text="Requests, over all workers."
    )
    rate_per_second = forms.FloatField(
        required=False, label="A second", widget=UnfoldAdminTextInputWidget(), help_text="Requests; empty: no limit."
    )
    retry_delays = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Seconds after the first, second ... failed try, with commas. Empty: the hub's own schedule.",
    )
    scheme = forms.ChoiceField(
        choices=SCHEMES, required=False, label="Signatures", initial=signing.SYMMETRIC, widget=UnfoldAdminSelectWidget()
    )
    secret = forms.CharField(
        required=False,
        label="Secret of your own",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
        help_text="Only to bring one along from another system. Empty: a fresh one is made and shown once.",
    )

    class Meta:
        model = Endpoint
        fields = (
            "tenant", "name", "url", "events", "channels", "filter", "payload_format", "ordering", "batch_size", "batch_wait",
            "max_in_flight", "rate_per_second", "retry_delays", "is_active",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.checked: dict[str, Any] = {}
        stored = self.instance
        self.initial["events"] = "\n".join(map(str, stored.events))
        self.initial["channels"] = "\n".join(map(str, stored.channels))
        self.initial["filter"] = json.dumps(stored.filter, indent=2) if stored.filter else ""
        self.initial["retry_delays"] = ", ".join(map(str, stored.retry_delays))
        if self._is_new():
            for name in ("batch_size", "batch_wait", "max_in_flight"):
                self.initial.setdefault(name, self._usual(name))
        else:
            masked = stored.masked_headers()
            if masked is None:
                self.fields.pop("own_headers", None)  # they can't be opened: left as they are
            else:
                self.initial["own_headers"] = "\n".join(f"{name}: {value}" for name, value in masked.items())

    def _is_new(self) -> bool:
        return bool(self.instance._state.adding)

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self._is_new() and not self.errors and self.instance.tenant_id:
            try:
                require_room(self.instance.tenant_id)
            except Conflict as error:
                self.add_error(None, error.message)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        known = set(EndpointInput().fields)
        given: dict[str, Any] = {}
        for name in self.fields:
            value = cleaned.get(name)
            target = "headers" if name == "own_headers" else name
            if name not in cleaned or target not in known:
                continue
            if name in READERS:
                try:
                    value = cleaned[name] = READERS[name](value)
                except forms.ValidationError as error:
                    self.add_error(name, error)
                    continue
            elif value in (None, "") and name != "rate_per_second":
                if name in ("name", "scheme", "secret"):
                    continue
                value = cleaned[name] = self._usual(name)
            given[target] = value
        checker = EndpointInput(
            data=given, partial=not self._is_new(), context={} if self._is_new() else {"stored": self.instance}
        )
        if checker.is_valid():
            self.checked = {**dict(checker.validated_data), "name": cleaned.get("name", "")}
        else:
            for target, problems in checker.errors.items():
                name = "own_headers" if target == "headers" else target
                if not self.has_error(name):
                    where: Any = name if name in self.fields else None
                    self.add_error(where, flat(problems))
        return cleaned

    def _usual(self, name: str) -> Any:
        return getattr(Endpoint(), name)


class RotateForm(forms.Form):
    """A new signing key."""

    scheme = forms.ChoiceField(choices=SCHEMES, label="Signatures of the new key", widget=UnfoldAdminSelectWidget())
    overlap = forms.ChoiceField(
        choices=OVERLAPS,
        initial="86400",
        label="The old keys go on signing for",
        widget=UnfoldAdminSelectWidget(),
        help_text="Meanwhile each request carries the signatures of both.",
    )

    def clean_overlap(self) -> timedelta:
        return timedelta(seconds=int(self.cleaned_data["overlap"]))


class SwitchOnForm(forms.Form):
    """What becomes of what an endpoint was owed while it was off."""

    held = forms.ChoiceField(choices=HELD, initial="send", label="What it was owed", widget=UnfoldAdminRadioSelectWidget())


class RecoverForm(forms.Form):
    """Which of an endpoint's events are sent again."""

    mode = forms.ChoiceField(
        choices=ReplayMode.choices,
        initial=ReplayMode.FAILED,
        label="What to send again",
        widget=UnfoldAdminRadioSelectWidget(),
    )
    hours = forms.ChoiceField(choices=SPANS, initial="24", label="Published in", widget=UnfoldAdminSelectWidget())
    types = forms.CharField(
        required=False, widget=_area(2), label="Event types", help_text="One on each line, payment.* too. Empty: all it wants."
    )

    def clean_hours(self) -> timedelta:
        return timedelta(hours=int(self.cleaned_data["hours"]))

    def clean_types(self) -> list[str]:
        return lines(self.cleaned_data["types"])
