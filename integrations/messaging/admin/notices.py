"""Who is told by template when something happens, and what is sent again and again."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from integrations.adminbase.base import Button, TenantOwnedForm, TenantScopedAdmin
from integrations.adminbase.render import block, table, when
from integrations.contracts.errors import InvalidRequest
from integrations.messaging.models import MessageTemplate, NotificationRule, RecurringMessage
from integrations.messaging.rules import recurring, rules


class RuleForm(TenantOwnedForm):
    """Offers the events that there are and the templates that the person's tenants have; checks as the API does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "event_type" in self.fields:
            described = {each.name: each.description for each in rules.event_types()}
            known = [(name, _shortened(name, described.get(name, ""))) for name in rules.patterns()]
            own = self.instance.event_type
            if own and own not in dict(known):
                known.append((own, own))
            self.fields["event_type"] = forms.ChoiceField(
                choices=known, label="Event", widget=UnfoldAdminSelectWidget(choices=known)
            )
        if "conditions" in self.fields:
            self.fields["conditions"].required = False

    def clean_conditions(self) -> Any:
        return self.cleaned_data.get("conditions") or {}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        _add_problems(self, rules.problems_of)


class RecurringForm(TenantOwnedForm):
    """Checks a recurring message as the API does."""

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        _add_problems(self, recurring.problems_of)


class TryForm(forms.Form):
    """Where to send a rule's message about an invented event."""

    to = forms.CharField(
        max_length=254,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Your own number, e-mail address or, for push, user id. The event is invented; the message is really sent.",
    )


@admin.register(NotificationRule)
class NotificationRuleAdmin(TenantScopedAdmin):
    """Rules are on top of what the hub sends by itself: a payer's receipt needs none."""

    can_add = can_change = can_delete = True
    form = RuleForm
    list_display = ("name", "event_type", "channel", "told", "template_name", "is_active")
    list_filter = (("channel", ChoicesDropdownFilter), "is_active")
    search_fields = ("name", "event_type", "template_name")
    fields = (
        "tenant",
        ("name", "is_active"),
        ("event_type", "delay_minutes"),
        "conditions",
        ("channel", "category"),
        "audience",
        "addresses",
        ("template_name", "language"),
    )
    buttons = (Button("try", "Send a test", "send", form=TryForm),)
    panels = (("What it says of an invented event", "shown_preview"), ("Templates of this channel", "shown_templates"))

    @display(description="Who is told")
    def told(self, obj: NotificationRule) -> str:
        if obj.audience == NotificationRule.Audience.PAYER:
            return obj.get_audience_display()
        return ", ".join(obj.addresses.split())

    def press_try(self, request: HttpRequest, obj: NotificationRule, data: dict[str, Any]) -> str:
        message = rules.send_test(rule=obj, to=data["to"], actor=f"user {request.user.get_username()}")
        return f"The test is on its way: message {message.pk}."

    def shown_preview(self, request: HttpRequest, obj: NotificationRule) -> SafeString:
        try:
            words = rules.preview(obj)
        except InvalidRequest as error:
            return block(f"It can't be sent: {error.message}")
        return block("\n\n".join(filter(None, (words.subject, words.body))))

    def shown_templates(self, request: HttpRequest, obj: NotificationRule) -> SafeString:
        found = MessageTemplate.unscoped.filter(tenant=obj.tenant, channel=obj.channel, is_active=True)
        rows = [(each.name, each.language or "all", ", ".join(each.variables) or "-") for each in found]
        return table(("Name", "Language", "Variables"), rows, empty="This channel has no templates yet.")


@admin.register(RecurringMessage)
class RecurringMessageAdmin(TenantScopedAdmin):
    """A message that goes out every day, week or month; its request is what the channel's send route takes."""

    can_add = can_change = can_delete = True
    form = RecurringForm
    list_display = (
        "name", "channel", "frequency", "is_active", when("next_at", "Next"), when("last_at", "Last"), "last_problem",
    )  # fmt: skip
    list_filter = (("channel", ChoicesDropdownFilter), "is_active")
    search_fields = ("name",)
    fields = (
        "tenant",
        ("name", "is_active"),
        "channel",
        "request",
        ("frequency", "at"),
        ("weekday", "day"),
        ("attachment_url", "attachment_name"),
        "ends_at",
        ("next_at", "last_at"),
        ("last_problem", "created_by"),
    )
    readonly_fields = ("next_at", "last_at", "last_problem", "created_by")
    buttons = (
        Button("now", "Send now", "send", confirm="Send it once more, at once? Its moments stay as they are."),
        Button("pause", "Switch off", "pause"),
        Button("resume", "Switch on", "play_arrow", "primary"),
    )

    def offers(self, request: HttpRequest, obj: RecurringMessage, button: Button) -> bool:
        return button.name == "now" or (button.name == "pause") == obj.is_active

    def press_now(self, request: HttpRequest, obj: RecurringMessage) -> str:
        return f"It is queued: item {recurring.send_now(recurring=obj).pk}."

    def press_pause(self, request: HttpRequest, obj: RecurringMessage) -> str:
        recurring.save_recurring(recurring=obj, values={"is_active": False})
        return "It is off."

    def press_resume(self, request: HttpRequest, obj: RecurringMessage) -> str:
        recurring.save_recurring(recurring=obj, values={"is_active": True})
        return "It is on, and due at its next moment."

    def save_model(self, request: HttpRequest, obj: RecurringMessage, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = f"user {request.user.get_username()}"[:150]
        recurring.arrange(obj)
        super().save_model(request, obj, form, change)


def _add_problems(form: Any, problems_of: Any) -> None:
    """Say what the service would refuse, where the form itself has found nothing wrong."""
    if form.errors or form.instance.tenant_id is None:
        return
    for field, problem in problems_of(form.instance).items():
        form.add_error(field if field in form.fields else None, problem)


def _shortened(name: str, description: str) -> str:
    first = description.partition(":")[0].partition(".")[0]
    return f"{name} ({first[:70]})" if first else name
