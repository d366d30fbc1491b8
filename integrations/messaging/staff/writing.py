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
from integrations.messaging.models import Channel, RecipientList
from integrations.messaging.staff import dispatch
from integrations.messaging.staff.access import Desk, page, show
from integrations.messaging.staff.forms import EmailForm, SmsForm, WriteForm
from integrations.messaging.staff.keeping import Unsent, keep, kept
from integrations.messaging.staff.summary import summarise
from integrations.models import Tenant
from integrations.registry import get_provider
from integrations.runtime.jobs import Call
from integrations.runtime.resolve import resolve

FORMS: Mapping[str, type[WriteForm]] = {Channel.SMS: SmsForm, Channel.EMAIL: EmailForm}
MOST_FILES = 20


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
    """Show once more what is about to go out; send it when told to. However often that is told, it goes once."""
    unsent, form = restore(request, desk, unsent_id)
    if unsent.list_id:
        return HttpResponseRedirect(list_page(unsent.list_id, unsent.id))
    if not form.is_valid():
        return _draw(request, desk, form, unsent.files)
    if request.method == "POST":
        return _send(request, desk, form, unsent)
    context = {"form": form, "unsent": unsent, "summary": summarise(form), "edit_url": edit_url(unsent)}
    return show(request, desk, "confirm.html", context)


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


def _write(request: HttpRequest, desk: Desk, channel: str) -> HttpResponse:
    if request.method != "POST":
        return _open(request, desk, channel)
    data, problem = _with_upload(request, desk)
    action = data.get("action", "send")
    if action == "template":
        return _filled_from_template(request, desk, channel, data)
    form = FORMS[channel](data, request.FILES, desk=desk)
    valid = form.is_valid()
    if problem is not None:
        form.add_error("file", problem)
    files = _files(request, form, desk)
    unsent = Unsent(
        str(form.cleaned_data.get("id", "")), desk.tenant.pk, channel, form.kept_fields(), data.get("upload", ""), files
    )
    if unsent.id and (files or not form.errors):
        keep(request, unsent)
    if action == "preview" or not valid or form.errors:
        return _draw(request, desk, form, files, status=200 if action == "preview" else None)
    if unsent.list_id:
        return HttpResponseRedirect(list_page(unsent.list_id, unsent.id))
    if len(form.typed().good) > 1:
        return HttpResponseRedirect(reverse("staff:confirm", args=[unsent.id]))
    return _send(request, desk, form, unsent)


def _open(request: HttpRequest, desk: Desk, channel: str) -> HttpResponse:
    unsent = kept(request, request.GET.get("unsent", ""), tenant_id=desk.tenant.pk, channel=channel)
    if unsent is not None:
        form = FORMS[channel](initial={**unsent.fields, "id": unsent.id, "upload": unsent.list_id}, desk=desk)
        return _draw(request, desk, form, unsent.files)
    given = {name: request.GET[name] for name in ("to", "upload") if name in request.GET}
    return _draw(request, desk, FORMS[channel](initial=given, desk=desk), ())


def _draw(
    request: HttpRequest, desk: Desk, form: WriteForm, files: Sequence[Media], *, status: int | None = None
) -> HttpResponse:
    context = {
        "form": form,
        "files": files,
        "summary": summarise(form) if form.is_bound else None,
        "attachment_limit": attachment_limit(desk.tenant) if form.channel == Channel.EMAIL else 0,
    }
    code = status or (400 if form.is_bound and form.errors else 200)
    return show(request, desk, f"{form.channel}.html", context, status=code)


def _preview(request: HttpRequest, desk: Desk, channel: str) -> HttpResponse:
    form = FORMS[channel](request.POST, desk=desk)
    form.is_valid()
    return show(request, desk, f"{channel}_preview.html", {"summary": summarise(form)})


def _filled_from_template(request: HttpRequest, desk: Desk, channel: str, data: QueryDict) -> HttpResponse:
    form = FORMS[channel](data, desk=desk)
    template = form.picked_template
    words: dict[str, str] = {}
    if template is not None:
        given = form.templates_data[str(template.pk)]
        words = {"text": given["text"]} if channel == Channel.SMS else {"subject": given["subject"], "html": given["html"]}
        words |= {} if channel == Channel.SMS else {"plain": template.body}
    initial = {**data.dict(), **words}
    return _draw(request, desk, FORMS[channel](initial=initial, desk=desk), ())


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


def _files(request: HttpRequest, form: WriteForm, desk: Desk) -> tuple[Media, ...]:
    """Return the attachments: those kept from before, without the removed, and the new ones. Says what is too much."""
    if form.channel != Channel.EMAIL:
        return ()
    before = kept(request, str(form.data.get("id", "")), tenant_id=desk.tenant.pk, channel=form.channel)
    removed = set(request.POST.getlist("remove_file"))
    old = [each for number, each in enumerate(before.files if before else ()) if str(number) not in removed]
    limit = attachment_limit(desk.tenant)
    uploaded = request.FILES.getlist("attachments")
    size = sum(len(each.content) for each in old) + sum(each.size or 0 for each in uploaded)
    if size > limit:
        form.add_error("attachments", f"Together they have {size / 1e6:.1f} MB; at most {limit / 1e6:.1f} MB can be sent.")
        return tuple(old)
    if len(old) + len(uploaded) > MOST_FILES:
        form.add_error("attachments", f"At most {MOST_FILES} files.")
        return tuple(old)
    new = [
        Media(each.name or "file", each.content_type or "application/octet-stream", content=each.read()) for each in uploaded
    ]
    return (*old, *new)


def _send(request: HttpRequest, desk: Desk, form: WriteForm, unsent: Unsent) -> HttpResponse:
    try:
        message = dispatch.send_typed(desk, form, unsent)
    except ProviderError as error:
        form.fail(error.attr, error.message)
        return _draw(request, desk, form, unsent.files)
    return HttpResponseRedirect(reverse("staff:message", args=[message.pk]))
