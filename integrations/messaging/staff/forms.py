"""The forms of the console. They say what is wrong; what is sent is decided by the channels' services."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.utils.html import escape, linebreaks

from integrations.contracts import clock
from integrations.contracts.messaging import MessageState
from integrations.messaging.email import html_text
from integrations.messaging.models import Channel, MessageCategory, MessageTemplate, RecipientList
from integrations.messaging.safety.categories import BUILT_IN, OPERATIONAL, category_of
from integrations.messaging.sms.services import MAX_LENGTH
from integrations.messaging.staff.access import Desk
from integrations.messaging.staff.keeping import is_id, new_id
from integrations.messaging.staff.reading import Typed, read_addresses, read_numbers
from integrations.messaging.templating import TemplateError, check_template, variables_of

LIST_ID = re.compile(r"lst_[0-9a-z]{26}")
NOW, LATER = "now", "later"
ORDINARY = "-"
"""The choice of no category, where a list's own would be announcements; no category is called that."""
ANNOUNCEMENTS = "bulk"
NOBODY = Typed((), ())


class WriteForm(forms.Form):
    """What all channels have in common: to a list or to typed recipients, from a template or not, now or later."""

    channel: ClassVar[str]
    error_fields: ClassVar[Mapping[str, str]] = {}
    """Field of the service's error -> field of the form, where they are called differently."""

    id = forms.CharField(widget=forms.HiddenInput)
    upload = forms.CharField(required=False, widget=forms.HiddenInput)
    file = forms.FileField(
        required=False,
        label="Or a file with one recipient in each row",
        help_text="Excel (.xlsx) or CSV with headings in its first row, at most 20 MB. Its columns can fill in the text.",
        widget=forms.FileInput(attrs={"accept": ".csv,.xlsx,.txt,text/csv"}),
    )
    template = forms.ChoiceField(required=False, label="Template")
    category = forms.ChoiceField(
        required=False,
        label="Category",
        help_text="Recipients can refuse a category; announcements wait behind other messages. As usual: announcements to the "
        "recipients of a file, an ordinary message to those typed in.",
    )
    when = forms.ChoiceField(
        label="When", choices=[(NOW, "Now"), (LATER, "Later")], initial=NOW, required=False, widget=forms.RadioSelect
    )
    send_at = forms.CharField(
        required=False, label="Date and time", widget=forms.DateTimeInput(attrs={"type": "datetime-local"})
    )

    def __init__(self, *args: Any, desk: Desk, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.desk = desk
        self.fields["id"].initial = new_id()
        self.fields["send_at"].help_text = f"In the time of {desk.tenant} ({desk.tenant.time_zone})."
        rows = MessageTemplate.objects.filter(channel=self.channel, is_active=True)
        self.templates = {str(row.pk): row for row in rows}
        named = [(pk, f"{row.name} ({row.language})" if row.language else row.name) for pk, row in self.templates.items()]
        self._field("template").choices = [("", "None"), *named]
        self.categories = dict(self._categories())
        self._field("category").choices = list(self.categories.items())

    @property
    def recipient_list(self) -> RecipientList | None:
        """The uploaded list that this goes to; None for typed recipients, and for a list of somebody else."""
        raw = self.data.get("upload", "") if self.is_bound else self.initial.get("upload", "")
        if not LIST_ID.fullmatch(str(raw)):
            return None
        found: RecipientList | None = RecipientList.objects.filter(pk=raw).first()
        return found

    @property
    def picked_template(self) -> MessageTemplate | None:
        raw = self.data.get("template", "") if self.is_bound else self.initial.get("template", "")
        return self.templates.get(str(raw))

    @property
    def templates_data(self) -> dict[str, dict[str, Any]]:
        """The templates as the page's script fills them in."""
        return {
            pk: {"subject": row.subject, "text": row.body, "html": row.html or _as_html(row.body), "needs": row.variables}
            for pk, row in self.templates.items()
        }

    @property
    def goes_as(self) -> str:
        """The category that a valid form goes out in: that of a list is announcements, unless somebody says otherwise."""
        given = str(self.cleaned_data.get("category", ""))
        if given == ORDINARY:
            return ""
        to_list = self.recipient_list is not None
        return ANNOUNCEMENTS if not given and to_list and ANNOUNCEMENTS in self.categories else given

    @property
    def category_label(self) -> str:
        return self.categories[self.goes_as or ORDINARY]

    @property
    def send_at_moment(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data.get("moment")
        return moment

    @property
    def names(self) -> list[str]:
        """The variables in what was written."""
        return variables_of(*self.words())

    @abstractmethod
    def words(self) -> tuple[str, ...]:
        """Return what was written, field by field, as `word_fields` names them."""

    @abstractmethod
    def typed(self) -> Typed:
        """Return all recipients that were typed, whatever their role."""

    def kept_fields(self) -> dict[str, str]:
        """What brings this form back: its values as they came."""
        return {
            name: str(self.data.get(name, "")) for name in self.fields if name not in ("id", "upload", "file", "attachments")
        }

    def fail(self, attr: str | None, message: str) -> None:
        """Show a service's refusal beside the field that it names, or above all."""
        name = self.error_fields.get(attr or "", attr or "")
        self.add_error(name if name in self.fields else None, message)

    def clean_id(self) -> str:
        given = str(self.cleaned_data["id"])
        if not is_id(given):
            raise forms.ValidationError("Open the form anew.")
        return given

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.data.get("upload") and self.recipient_list is None:
            self.add_error("file", "The list is not there any more: upload the file again.")
        if cleaned.get("when") == LATER:
            cleaned["moment"] = self._moment(cleaned.get("send_at", ""))
        elif cleaned.get("send_at") and not cleaned.get("when"):
            self.add_error("when", "Now or later?")
        self._check_words()
        return cleaned

    def check_typed(self, name: str, typed: Typed, *, needed: bool) -> None:
        """Put what is wrong with typed recipients beside their field."""
        if self.recipient_list is not None:
            if self.data.get(name, "").strip():
                self.add_error(name, "It goes to the uploaded list: leave this empty, or remove the list.")
        elif typed.problem:
            self.add_error(name, typed.problem)
        elif needed and not typed.good and not self.errors.get("file"):
            self.add_error(name, "Write at least one recipient, or upload a file.")

    def _check_words(self) -> None:
        for name, text in zip(self.word_fields(), self.words(), strict=True):
            try:
                check_template(text)
            except TemplateError as error:
                self.add_error(name, str(error))
        if self.recipient_list is None and self.names and not self.errors:
            lacking = ", ".join(f"{{{{ {name} }}}}" for name in self.names)
            self.add_error(
                self.word_fields()[-1], f"Replace {lacking} by real words, or upload a file whose columns fill it in."
            )

    @abstractmethod
    def word_fields(self) -> tuple[str, ...]:
        """Return the names of the fields that hold what was written."""

    def _moment(self, text: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=self.desk.tenant.zone)
        except ValueError:
            self.add_error("send_at", "Give a date and a time.")
            return None
        if moment <= clock.now():
            self.add_error("send_at", "This is in the past.")
        return moment

    def _categories(self) -> list[tuple[str, str]]:
        own = MessageCategory.objects.values_list("name", flat=True)
        found = [
            category_of(self.desk.tenant.pk, name) for name in dict.fromkeys((*BUILT_IN, *own)) if name not in ("", OPERATIONAL)
        ]
        offered = [each for each in found if not each.is_critical or self.desk.may_use_critical]
        return [("", "As usual"), (ORDINARY, "Ordinary message"), *((each.name, each.label or each.name) for each in offered)]

    def _field(self, name: str) -> forms.ChoiceField:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 tells the type checker what is declared above
        return field


class SmsForm(WriteForm):
    """A text message."""

    channel = Channel.SMS.value
    error_fields = {"message": "text", "body": "text", "data": "text"}
    field_order = ("id", "upload", "to", "file", "template", "text", "category", "sender", "when", "send_at")

    to = forms.CharField(
        required=False,
        label="Phone numbers",
        help_text="One in each line, or with commas between them.",
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )
    text = forms.CharField(label="Text", strip=False, max_length=MAX_LENGTH, widget=forms.Textarea(attrs={"rows": 5}))
    sender = forms.CharField(
        required=False, max_length=20, label="Sender", help_text="A registered name or number; empty: that of the account."
    )

    def words(self) -> tuple[str, ...]:
        return (str(self.data.get("text", "")) if self.is_bound else "",)

    def word_fields(self) -> tuple[str, ...]:
        return ("text",)

    def typed(self) -> Typed:
        return read_numbers(self.data.get("to", ""), country=self.desk.tenant.country) if self.is_bound else NOBODY

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        self.check_typed("to", self.typed(), needed=True)
        return cleaned


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """Any number of files; the value is a list."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[Any]:
        given = data if isinstance(data, list | tuple) else [data] if data else []
        return [super(ManyFilesField, self).clean(each, initial) for each in given]


class EmailForm(WriteForm):
    """An e-mail. `html` comes from the editor; where scripts are off a plain text field, `plain`, stands in its place."""

    channel = Channel.EMAIL.value
    error_fields = {"text": "html", "message": "html", "body": "html", "data": "html", "from": "sender"}
    field_order = (
        "id",
        "upload",
        "to",
        "cc",
        "bcc",
        "file",
        "template",
        "subject",
        "html",
        "plain",
        "attachments",
        "category",
        "sender",
        "when",
        "send_at",
    )

    to = forms.CharField(
        required=False,
        label="To",
        help_text="Addresses, one in each line or with commas between them. They see each other.",
        widget=forms.Textarea(attrs={"rows": 2, "autocomplete": "off", "spellcheck": "false"}),
    )
    cc = forms.CharField(
        required=False, label="Copy (Cc)", widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )
    bcc = forms.CharField(
        required=False, label="Blind copy (Bcc)", widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )
    subject = forms.CharField(label="Subject", max_length=500)
    html = forms.CharField(
        label="Text", required=False, strip=False, max_length=html_text.LONGEST_CLEANED, widget=forms.HiddenInput
    )
    # A sixth of that: a quotation mark becomes six characters of HTML.
    plain = forms.CharField(label="Text", required=False, strip=False, max_length=30_000, widget=forms.Textarea)
    sender = forms.EmailField(
        required=False, max_length=320, label="From", help_text="An address that the account may send from; empty: its own."
    )
    attachments = ManyFilesField(required=False, label="Attachments")

    def written_html(self) -> str:
        """Return the text as HTML; nothing of it has been cleaned."""
        if not self.is_bound:
            return ""
        plain = str(self.data.get("plain", ""))
        return _as_html(plain) if plain.strip() else str(self.data.get("html", ""))

    def words(self) -> tuple[str, ...]:
        return (str(self.data.get("subject", "")) if self.is_bound else "", self.written_html())

    def word_fields(self) -> tuple[str, ...]:
        return ("subject", "html")

    def typed_as(self, role: str) -> Typed:
        return read_addresses(self.data.get(role, "")) if self.is_bound else NOBODY

    def typed(self) -> Typed:
        roles = [self.typed_as(role) for role in ("to", "cc", "bcc")]
        return Typed(tuple(each for role in roles for each in role.good), tuple(each for role in roles for each in role.bad))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for role in ("to", "cc", "bcc"):
            self.check_typed(role, self.typed_as(role), needed=role == "to")
        return cleaned


class HistoryForm(forms.Form):
    """What the history is narrowed down to."""

    channel = forms.ChoiceField(required=False, choices=[("", "All channels"), *Channel.choices])
    status = forms.ChoiceField(
        required=False,
        label="Someone is",
        choices=[("", "Any status"), *((each.value, each.value.capitalize()) for each in MessageState)],
    )
    text = forms.CharField(required=False, max_length=100, label="Text, number or address")


class ColumnsForm(forms.Form):
    """Which column of an uploaded list holds what."""

    address = forms.ChoiceField(label="Address")
    name = forms.ChoiceField(required=False, label="Name")

    def __init__(self, *args: Any, headings: Any, channel: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = [(str(each), str(each)) for each in headings]
        for name, choices in (("address", [("", "Choose a column"), *named]), ("name", [("", "No name column"), *named])):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 tells the type checker what is declared above
            field.choices = choices
        self.fields["address"].label = "Phone numbers are in" if channel == Channel.SMS else "E-mail addresses are in"
        self.fields["name"].label = "Names are in"


def _as_html(text: str) -> str:
    """Return plain text as HTML: nothing in it is markup."""
    return linebreaks(escape(text)) if text else ""
