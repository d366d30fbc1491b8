"""A template's page to try it out: its variables as fields, what it says of them, and one real message to an address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django_scopes import scope
from unfold.widgets import UnfoldAdminTextInputWidget

from integrations.adminbase.base import Button, HubAdmin
from integrations.contracts.errors import InvalidRequest, ProviderError
from integrations.messaging import trying
from integrations.messaging.models import Channel, Message, MessageTemplate
from integrations.messaging.sms.segments import count_segments
from integrations.messaging.templating import LONGEST_VALUE

VALUE = "data."
"""Begins the names of the fields that are for variables; `to` and `from` are none of them."""
ADDRESSES = {
    Channel.SMS: "A phone number.",
    Channel.WHATSAPP: "The number of somebody who has written to your account within the last 24 hours.",
    Channel.EMAIL: "An e-mail address.",
    Channel.PUSH: "The id of a user with registered devices, or a device's token.",
}


class TryTemplateForm(forms.Form):
    """A field for each variable, and the address. Nothing is required here: a preview shows what is not filled in yet, and what
    a message needs the service says."""

    def __init__(self, template: MessageTemplate, data: Any = None) -> None:
        super().__init__(data)
        for name in trying.asked_of(template):
            self.fields[VALUE + name] = _line(name, max_length=LONGEST_VALUE)
        if template.channel == Channel.EMAIL:
            self.fields["from"] = _line("From", max_length=320, help_text="The account's own address if left empty.")
        self.fields["to"] = _line("Send the test to", max_length=512, help_text=ADDRESSES[Channel(template.channel)])

    def values(self) -> dict[str, str]:
        """Return what was given for the variables, by their paths; of a form that is not valid what is right of it."""
        cleaned = self.cleaned_data if self.is_bound else {}
        return {name.removeprefix(VALUE): value for name, value in cleaned.items() if name.startswith(VALUE)}


class TryTemplateMixin(HubAdmin):
    """The button “Preview and test” of a template, for those who may change it, and its page."""

    # That it has a form makes it a link to a page; which fields there are depends on the template, so `press_view` makes it.
    buttons: ClassVar[Sequence[Button]] = (Button("test", "Preview and test", "send", form=forms.Form),)

    def press_view(self, request: HttpRequest, object_id: str, button: str) -> HttpResponse:
        """Show the page of the test; its form's fields are the object's own, which other buttons' are not."""
        if button != "test":
            return super().press_view(request, object_id, button)
        if request.method not in ("GET", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        template = self.get_object(request, unquote(object_id))
        if template is None:
            missing: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return missing
        if not self.may_act(request, template):
            raise PermissionDenied
        form = TryTemplateForm(template, request.POST if request.method == "POST" else None)
        if form.is_valid() and "send" in request.POST:
            message = self._send(request, template, form)
            if message is not None:
                self.log_change(request, template, f"Sent a test: message {message.pk}.")
                messages.success(request, f"The test is on its way: message {message.pk}.")
                return HttpResponseRedirect(self.page_of(template))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Preview and test",
            "subtitle": str(template),
            "form": form,
            "back": self.page_of(template),
            **_shown(template, form),
        }
        return TemplateResponse(request, "admin/hub/template_test.html", context)

    @staticmethod
    def _send(request: HttpRequest, template: MessageTemplate, form: TryTemplateForm) -> Message | None:
        """Return the message; where it is refused, say so in the form."""
        try:
            with scope(tenant=template.tenant), transaction.atomic():
                return trying.send_test(
                    template=template,
                    to=form.cleaned_data["to"],
                    data=trying.nested(form.values()),
                    sender=form.cleaned_data.get("from", ""),
                    created_by=f"user {request.user.get_username()}, trying a template",
                )
        except ProviderError as error:
            form.add_error(error.attr if error.attr in form.fields else None, error.message)
            return None


def _line(label: str, **given: Any) -> forms.CharField:
    return forms.CharField(label=label, required=False, widget=UnfoldAdminTextInputWidget(), **given)


def _shown(template: MessageTemplate, form: TryTemplateForm) -> dict[str, Any]:
    """Return what the page shows of the template: its words, and of a text its parts; or why it has none."""
    try:
        words = trying.preview(template, form.values())
    except InvalidRequest as error:
        return {"problem": error.message}
    counted = count_segments(words.body) if template.channel == Channel.SMS else None
    return {"words": words, "counted": counted}
