"""The button of a message's page by which an admin decides recipients of whom nobody else can tell."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget

from integrations.adminbase.base import Button, TenantScopedAdmin
from integrations.messaging.models import Message
from integrations.messaging.settling import AT_ONCE, recipients_at, settle, unknown_of


class SettleForm(forms.Form):
    """What a person found out about recipients whose outcome is unknown."""

    arrived = forms.ChoiceField(
        choices=[("yes", "It arrived"), ("no", "It did not arrive")],
        label="What the recipients, or the provider's own records, say",
        widget=UnfoldAdminRadioSelectWidget(),
        help_text="Where it did not arrive, the fallback policy goes on, and it may be sent again. It can't be taken back.",
    )
    to = forms.CharField(
        required=False,
        label="Only these recipients",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=f"One a line, as below. Empty: all whose outcome is unknown, {AT_ONCE} at a time.",
    )


class SettleButton(TenantScopedAdmin):
    """Adds the button where there is somebody to decide."""

    buttons = (Button("settle", "Decide unknown recipients", "gavel", "primary", form=SettleForm),)

    def offers(self, request: HttpRequest, obj: Message, button: Button) -> bool:
        if button.name == "settle":
            return unknown_of(obj).exists()
        return super().offers(request, obj, button)

    def press_settle(self, request: HttpRequest, obj: Message, data: dict[str, Any]) -> str:
        named = [line.strip() for line in data["to"].splitlines() if line.strip()]
        arrived = data["arrived"] == "yes"
        count = settle(
            message=obj,
            arrived=arrived,
            by=f"user {request.user.get_username()}",
            recipients=recipients_at(obj, named) if named else None,
        )
        left = unknown_of(obj).count()
        told = f"Decided for {count} recipient{'' if count == 1 else 's'}: {'arrived' if arrived else 'did not arrive'}"
        return f"{told}; {left} still unknown." if left else f"{told}."
