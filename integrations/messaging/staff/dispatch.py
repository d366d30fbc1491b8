"""From what was written at a desk to a message. The key makes one message of it, however often it is asked for."""

from __future__ import annotations

from integrations.contracts.errors import InvalidRequest
from integrations.messaging.drafts import Draft
from integrations.messaging.email import emails, html_text
from integrations.messaging.lists import lists
from integrations.messaging.models import Channel, Message, RecipientList
from integrations.messaging.sending import find_by_key
from integrations.messaging.sms import services
from integrations.messaging.staff.access import Desk
from integrations.messaging.staff.forms import EmailForm, WriteForm
from integrations.messaging.staff.keeping import Unsent


def sent_before(desk: Desk, unsent: Unsent, *, files_known: bool = True) -> Message | None:
    """Return the message that this form has become already with the same words and files; None where there is none. Without
    `files_known`, when nobody can tell any more which files it had, the last one with the same words."""
    if (found := find_by_key(desk.tenant, unsent.key)) is not None or files_known:
        return found
    rows = Message.unscoped.filter(tenant=desk.tenant, key__startswith=unsent.words_key)
    last: Message | None = rows.order_by("-created", "-pk").first()
    return last


def send_typed(desk: Desk, form: WriteForm, unsent: Unsent) -> Message:
    """Send to the recipients that were typed into a valid form. Raises as the channel's service does."""
    if (existing := find_by_key(desk.tenant, unsent.key)) is not None:
        return existing
    said = form.cleaned_data
    template = form.picked_template
    name = template.name if template is not None else ""
    if isinstance(form, EmailForm):
        html = html_text.clean(form.written_html())
        if not html_text.text_of(html).strip():
            raise InvalidRequest("The e-mail has no text.", attr="html")
        return emails.send_email(
            tenant=desk.tenant,
            to=form.typed_as("to").mailboxes,
            cc=form.typed_as("cc").mailboxes,
            bcc=form.typed_as("bcc").mailboxes,
            sender=said["sender"],
            subject=said["subject"],
            html=html,
            attachments=tuple(unsent.files),
            category=form.goes_as,
            send_at=form.send_at_moment,
            key=unsent.key,
            created_by=desk.name,
        )
    return services.send_sms(
        tenant=desk.tenant,
        to=form.typed().good,
        message=said["text"],
        sender=said["sender"].strip(),
        category=form.goes_as,
        send_at=form.send_at_moment,
        template_name=name,
        key=unsent.key,
        created_by=desk.name,
    )


def draft_of(desk: Desk, form: WriteForm, unsent: Unsent) -> Draft:
    """Return what goes to each row of a list, from a valid form."""
    said = form.cleaned_data
    template = form.picked_template
    subject, html, body = "", "", form.words()[-1]
    if isinstance(form, EmailForm):
        html = html_text.clean(form.written_html())
        subject, body = said["subject"], html_text.text_of(html)
    return Draft(
        channel=form.channel,
        body=body,
        subject=subject,
        html=html,
        sender=said.get("sender", "").strip(),
        template_name=template.name if template is not None else "",
        category=form.goes_as,
        send_at=form.send_at_moment,
        attachments=tuple(unsent.files) if form.channel == Channel.EMAIL else (),
        key=unsent.key,
        created_by=desk.name,
    )


def send_to_list(desk: Desk, recipient_list: RecipientList, columns: lists.Columns, draft: Draft) -> Message:
    """Send to every good row of a list. Raises as `lists.send_list` does."""
    if (existing := find_by_key(desk.tenant, draft.key)) is not None:
        return existing
    return lists.send_list(tenant=desk.tenant, recipient_list=recipient_list, columns=columns, draft=draft)
