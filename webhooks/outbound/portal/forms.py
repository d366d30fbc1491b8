"""The portal's forms. What an endpoint may be is checked by the API's own serializer."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms

from webhooks.outbound import signing
from webhooks.outbound.endpoints.serializers import EndpointInput
from webhooks.outbound.models import DeadReason, DeliveryState, Endpoint, Ordering, PayloadFormat, ReplayMode

SCHEMES = ((signing.SYMMETRIC, "HMAC-SHA256: a shared secret (v1)"), (signing.ASYMMETRIC, "ed25519: a public key (v1a)"))
OVERLAPS = (("0", "none: at once"), ("3600", "1 hour"), ("86400", "24 hours"), ("259200", "3 days"), ("604800", "7 days"))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.replace(",", "\n").splitlines() if line.strip()]


def _headers(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or name.strip() in found:
            raise forms.ValidationError("Write one header on each line, as Name: value.")
        found[name.strip()] = value.strip()
    return found


def _json(text: str) -> Any:
    try:
        found = json.loads(text) if text.strip() else None
        again = json.dumps(found, ensure_ascii=False, allow_nan=False)
        again.encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise forms.ValidationError("This is not JSON.") from error
    if "\\u0000" in again:  # nor can the database keep this one
        raise forms.ValidationError("This is not JSON.")
    return found


def _numbers(text: str) -> list[float]:
    try:
        return [int(each) if each.isdecimal() else float(each) for each in _lines(text)]
    except ValueError as error:
        raise forms.ValidationError("Write numbers with commas between them.") from error


READERS: dict[str, Callable[[str], Any]] = {
    "events": _lines,
    "channels": _lines,
    "headers": _headers,
    "filter": _json,
    "retry_delays": _numbers,
}
"""How the text of a field becomes the API's value."""
ONLY_NEW = ("scheme", "secret")
ADVANCED = ("payload_format", "ordering", "batch_size", "batch_wait", "max_in_flight", "rate_per_second", "retry_delays")


class EndpointForm(forms.Form):
    """A new endpoint, or with `stored` what changes of one. `checked` holds the API's values once it is valid."""

    name = forms.CharField(max_length=100, required=False, help_text="What people call it.")
    url = forms.CharField(
        max_length=2000, label="URL", widget=forms.TextInput(attrs={"inputmode": "url", "spellcheck": "false"})
    )
    events = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="One on each line: a type such as payment.completed, a group such as payment.*, or * for everything.",
    )
    headers = forms.CharField(
        required=False,
        label="Own headers",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One on each line, as Name: value. Stored values are masked: a masked line left as it is keeps its value.",
    )
    channels = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One on each line; only events that name one of them are sent. Empty: all.",
    )
    filter = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text="JSON: only events whose body fulfils it are sent. Empty: all.",
    )
    payload_format = forms.ChoiceField(choices=PayloadFormat.choices, label="Format", initial=PayloadFormat.STANDARD)
    ordering = forms.ChoiceField(choices=Ordering.choices, label="Order", initial=Ordering.NONE)
    batch_size = forms.IntegerField(label="Events in one request", initial=1, help_text="1: no batches.")
    batch_wait = forms.IntegerField(label="Wait for a batch", initial=5, help_text="Seconds, at most.")
    max_in_flight = forms.IntegerField(label="Requests at once", initial=8)
    rate_per_second = forms.FloatField(required=False, label="Requests a second", help_text="At most. Empty: no limit.")
    retry_delays = forms.CharField(
        required=False, help_text="Seconds before the second, third ... try, with commas. Empty: the hub's own schedule."
    )
    scheme = forms.ChoiceField(choices=SCHEMES, label="Signatures", initial=signing.SYMMETRIC)
    secret = forms.CharField(
        required=False,
        label="Your own signing secret",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Only to bring one along from another system (whsec_...). Empty: a fresh one is made and shown once.",
    )

    def __init__(self, *args: Any, stored: Endpoint | None = None, **kwargs: Any) -> None:
        if stored is not None:
            kwargs["initial"] = {**_initial(stored), **kwargs.get("initial", {})}
        super().__init__(*args, label_suffix="", **kwargs)
        self.stored = stored
        self.checked: dict[str, Any] = {}
        known = EndpointInput().fields
        for name in list(self.fields):
            if name not in known or (stored is not None and name in ONLY_NEW):
                del self.fields[name]
        if stored is not None and stored.masked_headers() is None:
            del self.fields["headers"]  # they can't be opened: left as they are

    def basic(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in (*ADVANCED, *ONLY_NEW)]

    def advanced(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name in (*ADVANCED, *ONLY_NEW)]

    def advanced_is_open(self) -> bool:
        return any(field.errors for field in self.advanced())

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        given: dict[str, Any] = {}
        for name, value in list(cleaned.items()):
            if name in READERS:
                try:
                    given[name] = READERS[name](value)
                except forms.ValidationError as error:
                    self.add_error(name, error)
            elif name != "secret" or value:
                given[name] = value
        if "secret" in given:
            given.pop("scheme", None)  # it follows from the secret
        checker = EndpointInput(data=given, partial=self.stored is not None, context={"stored": self.stored})
        if not checker.is_valid():
            for name, problems in checker.errors.items():
                if not self.has_error(name):
                    self.add_error(name if name in self.fields else None, _flat(problems))
        elif not self.errors:
            self.checked = dict(checker.validated_data)
        return cleaned


def _initial(stored: Endpoint) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: getattr(stored, name)
        for name in (
            "name",
            "url",
            "payload_format",
            "ordering",
            "batch_size",
            "batch_wait",
            "max_in_flight",
            "rate_per_second",
        )
    }
    return {
        **values,
        "events": "\n".join(map(str, stored.events)),
        "channels": "\n".join(map(str, stored.channels)),
        "filter": json.dumps(stored.filter, indent=2) if stored.filter else "",
        "retry_delays": ", ".join(map(str, stored.retry_delays)),
        "headers": "\n".join(f"{name}: {value}" for name, value in (stored.masked_headers() or {}).items()),
    }


def _flat(problems: Any) -> list[str]:
    """Return the texts of a serializer's errors, however deep they stand."""
    if isinstance(problems, dict):
        return [each for value in problems.values() for each in _flat(value)]
    if isinstance(problems, list):
        return list(dict.fromkeys(each for value in problems for each in _flat(value)))
    return [str(problems)]


class RotateForm(forms.Form):
    """A new signing key. `newest` is the key that was the newest when the page was drawn: pressing twice rotates once."""

    scheme = forms.ChoiceField(choices=SCHEMES, label="Signatures of the new key")
    overlap = forms.ChoiceField(
        choices=OVERLAPS,
        initial="86400",
        label="The old keys go on signing for",
        help_text="Meanwhile each request carries the signatures of both.",
    )
    newest = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", auto_id="rotate_%s", **kwargs)

    @property
    def overlap_time(self) -> timedelta:
        return timedelta(seconds=int(self.cleaned_data["overlap"]))


class _Moment(forms.DateTimeField):
    """A point in time, in the tenant's zone."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")
        super().__init__(widget=widget, **kwargs)


class DeliveryFilterForm(forms.Form):
    """Which deliveries a list shows."""

    state = forms.ChoiceField(choices=[("", "all"), *DeliveryState.choices], required=False)
    type = forms.CharField(max_length=100, required=False, label="Event type")
    since = _Moment(required=False)
    until = _Moment(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", **kwargs)


class DeadLetterForm(forms.Form):
    """Which dead letters a list shows."""

    reason = forms.ChoiceField(choices=[("", "all"), *DeadReason.choices], required=False)
    type = forms.CharField(max_length=100, required=False, label="Event type")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", **kwargs)


class RecoverForm(forms.Form):
    """Which of an endpoint's events are sent again."""

    mode = forms.ChoiceField(choices=ReplayMode.choices, initial=ReplayMode.FAILED, label="What to send again")
    since = _Moment(help_text="Events published at this time and later.")
    until = _Moment(required=False, help_text="Events published before this time. Empty: now.")
    types = forms.CharField(
        required=False,
        label="Event types",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One on each line, groups such as payment.* too. Empty: all that it wants.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", **kwargs)

    def clean_types(self) -> list[str]:
        return _lines(self.cleaned_data["types"])
