"""How endpoints' settings are written in a form, one on each line."""

from __future__ import annotations

from collections.abc import Mapping

from django import forms
from django.utils.safestring import SafeString

from integrations.adminbase.render import reference
from webhooks.inbound.locate import ENDPOINT
from webhooks.inbound.models import Rejection


def lines_of(text: str) -> list[str]:
    """Return what stands on the lines that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def pairs_of(text: str) -> dict[str, str]:
    """Return `name = value` lines as a mapping; raise `ValidationError` for another line. A value may begin with `=`."""
    found = {}
    for line in lines_of(text):
        name, sign, value = line.partition("=")
        if not sign or not name.strip():
            raise forms.ValidationError(f"Write name = value on each line, not “{line[:60]}”.")
        found[name.strip()] = value.strip()
    return found


def written(pairs: Mapping[str, str]) -> str:
    return "\n".join(f"{name} = {value}" for name, value in pairs.items())


def source_of_rejection(rejection: Rejection) -> SafeString | str:
    """Return the endpoint's name or the source that was noted."""
    if rejection.endpoint is None:
        return rejection.source
    return rejection.endpoint.name or reference(ENDPOINT, rejection.endpoint.pk)
