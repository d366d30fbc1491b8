"""The pages for writing: the form, its preview, the confirmation, and sending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from integrations.contracts.capabilities import Capability
from integrations.contracts.email import EmailAdapter
from integrations.contracts.errors import InvalidRequest, NotConfigured, ProviderError
from integrations.contracts.messaging import Media
from integrations.messaging.lists import lists
from integrations.messaging.models import Channel, Message, RecipientList
from integrations.messaging.staff import dispatch
from integrations.messaging.staff.access import Desk, changed, page, show, show_changed
from integrations.messaging.staff.attaching import Attached, attach, token_of
from integrations.messaging.staff.forms import EmailForm, SmsForm, WriteForm
from integrations.messaging.staff.keeping import Unsent, keep, kept, new_id
from integrations.messaging.staff.summary import summarise
from integrations.models import Tenant
from integrations.registry import get_provider
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve

FORMS: Mapping[str, type[WriteForm]] = {Channel.SMS: SmsForm, Channel.EMAIL: EmailForm}


@page(sends="sms")
@require_http_methods(["GET", "HEAD", "POST"])
def sms(request: HttpRequest, desk: Desk) -> HttpResponse:
    """Write a text message."""
    return _write(request, desk, Channel.SMS)


@page(sends="email")
@require_http_methods(["GET", "HEAD", "POST"])
def email(request: HttpRequest, desk: Desk) -> HttpResponse:
    """Write an e-mail."""
    return _write(request, desk, Channel.EMAIL)


@page(sends="sms")
@require_POST
def sms_preview(request: HttpRequest, desk: Desk) -> HttpResponse:
    """Answer the part of the page that shows what would be sent."""
    return _preview(request, desk, Channel.SMS)


@page(sends="email")
@require_POST
def email_preview(request: HttpRequest, desk: Desk) -> HttpResponse:
    """The same for an e-mail."""
    return _preview(request, desk, Channel.EMAIL)


@page(writes=True)
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest, desk: Desk, unsent_id: str) -> HttpResponse:
    """Show once more what is about to go out; send it when told to. However often that is told, it goes once, and only what
    was shown: where the text has changed since (in another tab), it is shown again."""
    if request.method == "POST" and changed(request, desk):
        return show_changed(request, desk)
    unsent, form = restore(request, desk, unsent_id)
    if unsent.list_id:
        return HttpResponseRedirect(list_page(unsent.list_id, unsent.id))
    told = request.method == "POST"
    stale = told and request.POST.get("said") != unsent.key
    if told and not stale and (sent := dispatch.sent_before(desk, unsent)) is not None:
        return to_message(sent)
    if not form.is_valid():
        return draw(request, desk, form, unsent.files)
    if told and not stale:
        return _send(request, desk, form, unsent)
    context = {"form": form, "unsent": unsent, "summary": summarise(form), "edit_url": edit_url(unsent), "stale": stale}
    return show(request, desk, "confirm.html", context, status=409 if stale else 200)


def restore(request: HttpRequest, desk: Desk, unsent_id: str) -> tuple[Unsent, WriteForm]:
    """Return what is kept under the id, and its form; `Http404` where there is nothing or it may not be sent by this person."""
    unsent = kept(request, unsent_id, tenant_id=desk.tenant.pk)
    if unsent is None or not desk.may_send(unsent.channel):
        raise Http404
    data = {**unsent.fields, "id": unsent.id, "upload": unsent.list_id}
    return unsent, FORMS[unsent.channel](data, desk=desk)


def edit_url(unsent: Unsent) -> str:
    """Return the address of the form with what was written in it."""
    return f"{reverse(f'staff:{unsent.channel}')}?unsent={unsent.id}"


def list_page(list_id: str, unsent_id: str) -> str:
    """Return the address where a list's columns are picked for what is kept under the id."""
    return f"{reverse('staff:list', args=[list_id])}?unsent={unsent_id}"


def attachment_limit(tenant: Tenant) -> int:
    """Return how many bytes the attachments of an e-mail may have together, at the account that would send it."""
    try:
        view = resolve(Call(Capability.EMAIL, "send"), tenant_id=tenant.pk)
    except (NotConfigured, ProviderError):
        return EmailAdapter.attachment_limit
    adapter = get_provider(view.provider).adapter_class(Capability.EMAIL)
    return adapter.attachment_limit if issubclass(adapter, EmailAdapter) else EmailAdapter.attachment_limit


def to_message(message: Message) -> HttpResponse:
    return HttpResponseRedirect(reverse("staff:message", args=[message.pk]))


def draw(
    request: HttpRequest,
    desk: Desk,
    form: WriteForm,
    files: Sequence[Media],
    *,
    problems: Sequence[str] = (),
    status: int | None = None,
) -> HttpResponse:
    """Return the page for writing with this form in it. `problems` are those that the form itself does not tell."""
    context = {
        "form": form,
        "files": [(token_of(each), each) for each in files],
        "problems": problems,
        "summary": summarise(form) if form.is_bound else None,
        "attachment_limit": attachment_limit(desk.tenant) if form.channel == Channel.EMAIL else 0,
    }
    code = status or (400 if form.is_bound and form.errors else 200)
    return show(request, desk, f"{form.channel}.html", context, status=code)


def _write(request: HttpRequest, desk: Desk, channel: str) -> HttpResponse:
    if request.method != "POST":
        return _open(request, desk, channel)
    if changed(request, desk):
        return _written_for_another(request, desk, channel)
    data, problem = _with_upload(request, desk)
    form = FORMS[channel](data, request.FILES, desk=desk)
    valid = form.is_valid()
    attached = _attached(request, form, desk)
    given_id, upload = str(form.cleaned_data.get("id", "")), data.get("upload", "")
    unsent = Unsent(given_id, desk.tenant.pk, channel, form.kept_fields(), upload, attached.files)
    action = data.get("action", "send")
    # Asked before all else: a time that lay ahead then may be over by now.
    asks = action not in ("template", "preview") and unsent.id and problem is None
    if asks and (sent := _sent_before(desk, unsent, attached)) is not None:
        return to_message(sent)
    if problem is not None:
        form.add_error("file", problem)
    if attached.problem:
        form.add_error("attachments", attached.problem)
    if unsent.id and (attached.files or attached.had_some or not form.errors):
        keep(request, unsent)
    if action == "template":
        problems = [each for each in (problem, attached.problem) if each]
        return _filled_from_template(request, desk, channel, data, attached.files, problems)
    if action == "preview" or not valid or form.errors:
        return draw(request, desk, form, attached.files, status=200 if action == "preview" else None)
    if unsent.list_id:
        return HttpResponseRedirect(list_page(unsent.list_id, unsent.id))
    if len(form.typed().good) > 1:
        return HttpResponseRedirect(reverse("staff:confirm", args=[unsent.id]))
    return _send(request, desk, form, unsent)


def _written_for_another(request: HttpRequest, desk: Desk, channel: str) -> HttpResponse:
    """Show the words again, under a new id and without the files: those of the other tenant stay there."""
    data = request.POST.copy()
    data["id"], data["upload"] = new_id(), ""
    form = FORMS[channel](data, desk=desk)
    form.is_valid()
    form.add_error(
        None,
        f"You have changed to {desk.tenant} since this page was opened, and nothing was sent. Look at everything again, choose "
        "files again, and then send it; or change back.",
    )
    return draw(request, desk, form, (), status=409)


def _open(request: HttpRequest, desk: Desk, channel: str) -> HttpResponse:
    unsent = kept(request, request.GET.get("unsent", ""), tenant_id=desk.tenant.pk, channel=channel)
    if unsent is not None:
        form = FORMS[channel](initial={**unsent.fields, "id": unsent.id, "upload": unsent.list_id}, desk=desk)
        return draw(request, desk, form, unsent.files)
    given = {name: request.GET[name] for name in ("to", "upload") if name in request.GET}
    return draw(request, desk, FORMS[channel](initial=given, desk=desk), ())


def _preview(request: HttpRequest, desk: Desk, channel: str) -> HttpResponse:
    form = FORMS[channel](request.POST, desk=desk)
    form.is_valid()
    return show(request, desk, f"{channel}_preview.html", {"summary": summarise(form)})


def _filled_from_template(
    request: HttpRequest, desk: Desk, channel: str, data: QueryDict, files: Sequence[Media], problems: Sequence[str]
) -> HttpResponse:
    form = FORMS[channel](data, desk=desk)
    template = form.picked_template
    words: dict[str, str] = {}
    if template is not None:
        given = form.templates_data[str(template.pk)]
        words = {"text": given["text"]} if channel == Channel.SMS else {"subject": given["subject"], "html": given["html"]}
        words |= {} if channel == Channel.SMS else {"plain": template.body}
    initial = {**data.dict(), **words}
    return draw(request, desk, FORMS[channel](initial=initial, desk=desk), files, problems=problems)


def _with_upload(request: HttpRequest, desk: Desk) -> tuple[QueryDict, str | None]:
    """Return the form's data, naming the list that an uploaded file has become; and what is wrong with the file."""
    data = request.POST.copy()
    if data.get("remove_upload"):
        data["upload"] = ""
    given = request.FILES.get("file")
    if not isinstance(given, UploadedFile):
        return data, None
    try:
        stored: RecipientList = lists.store_file(
            tenant=desk.tenant, file=given, filename=given.name or "", created_by=desk.name
        )
    except InvalidRequest as error:
        return data, error.message
    data["upload"] = stored.pk
    return data, None


def _attached(request: HttpRequest, form: WriteForm, desk: Desk) -> Attached:
    if form.channel != Channel.EMAIL:
        return Attached()
    before = kept(request, str(form.data.get("id", "")), tenant_id=desk.tenant.pk, channel=form.channel)
    return attach(request, before.files if before else None, limit=attachment_limit(desk.tenant))


def _sent_before(desk: Desk, unsent: Unsent, attached: Attached) -> Message | None:
    files_known = attached.told or not attached.gone
    if attached.problem and files_known:
        return None  # other files are wanted than those that went
    return dispatch.sent_before(desk, unsent, files_known=files_known)


def _send(request: HttpRequest, desk: Desk, form: WriteForm, unsent: Unsent) -> HttpResponse:
    try:
        message = dispatch.send_typed(desk, form, unsent)
    except ProviderError as error:
        form.fail(error.attr, error.message)
        return draw(request, desk, form, unsent.files)
    return to_message(message)
