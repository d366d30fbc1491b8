"""An uploaded list: which column holds what, which rows can't be used, and what the first ones would get."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from integrations.contracts.errors import ProviderError
from integrations.messaging.lists import lists
from integrations.messaging.models import Channel, RecipientList, RecipientListPart
from integrations.messaging.staff import dispatch, summary
from integrations.messaging.staff.access import Desk, page, show
from integrations.messaging.staff.forms import ColumnsForm, WriteForm
from integrations.messaging.staff.keeping import Unsent
from integrations.messaging.staff.writing import edit_url, restore

BAD_SHOWN = 50
ROWS_SHOWN = 5


@page(writes=True)
@require_http_methods(["GET", "HEAD", "POST"])
def show_list(request: HttpRequest, desk: Desk, list_id: str) -> HttpResponse:
    """Pick the columns for what was written (`?unsent=`), see the report, send. Without a text: show the first rows."""
    recipient_list = RecipientList.objects.filter(pk=list_id).first()
    if recipient_list is None:
        raise Http404
    unsent_id = request.POST.get("unsent") or request.GET.get("unsent") or ""
    if not unsent_id:
        return show(request, desk, "list.html", {"list": recipient_list, "first_rows": _first_rows(recipient_list)})
    unsent, form = restore(request, desk, unsent_id)
    if unsent.list_id != recipient_list.pk:
        raise Http404
    if not form.is_valid():
        return HttpResponseRedirect(edit_url(unsent))
    guess = lists.guess_columns(recipient_list, unsent.channel)
    given = request.POST if request.method == "POST" else {"address": guess.address, "name": guess.name}
    picked = ColumnsForm(given, headings=recipient_list.columns, channel=unsent.channel)
    return _report(request, desk, recipient_list, unsent, form, picked, guess)


def _report(
    request: HttpRequest,
    desk: Desk,
    recipient_list: RecipientList,
    unsent: Unsent,
    form: WriteForm,
    picked: ColumnsForm,
    guess: lists.Columns,
) -> HttpResponse:
    report, problem = None, ""
    if picked.is_valid():
        address, name = picked.cleaned_data["address"], picked.cleaned_data["name"]
        # The columns for other channels go along as they were guessed: the tenant's fallback rules may use them.
        others = {way: heading for way, heading in guess.alternatives.items() if heading != address}
        columns = lists.Columns(address=address, name=name, alternatives=others)
        draft = dispatch.draft_of(desk, form, unsent)
        try:
            report = lists.check_list(
                tenant=desk.tenant,
                recipient_list=recipient_list,
                channel=unsent.channel,
                columns=columns,
                body=draft.body,
                subject=draft.subject,
                html=draft.html,
            )
            if request.method == "POST" and request.POST.get("action") == "send" and report.good:
                message = dispatch.send_to_list(desk, recipient_list, columns, draft)
                return HttpResponseRedirect(reverse("staff:message", args=[message.pk]))
        except ProviderError as error:
            problem = error.message
    context: dict[str, Any] = {
        "list": recipient_list,
        "unsent": unsent,
        "edit_url": edit_url(unsent),
        "picked": picked,
        "problem": problem,
        "variables": lists.variables(recipient_list),
        "names": form.names,
        "send_at": form.send_at_moment,
        "first_rows": _first_rows(recipient_list),
    }
    if report is not None:
        sms = unsent.channel == Channel.SMS
        context |= {
            "report": report,
            "bad_rows": report.bad_rows[:BAD_SHOWN],
            "unusual": summary.unusual(tuple(report.unusual)),
            "is_sms": sms,
            "cost": summary.cost(desk.tenant, unsent.channel, segments=report.segments, recipients=report.good),
        }
    return show(request, desk, "list.html", context, status=400 if problem or not picked.is_valid() else 200)


def _first_rows(recipient_list: RecipientList) -> list[list[str]]:
    part = RecipientListPart.objects.filter(recipient_list=recipient_list).order_by("number").first()
    return [] if part is None else part.rows[:ROWS_SHOWN]
