"""An uploaded list: which column holds what, which rows can't be used, and what the first ones would get."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from integrations.contracts.errors import ProviderError
from integrations.messaging.lists import lists
from integrations.messaging.models import Channel, RecipientList, RecipientListPart
from integrations.messaging.staff import dispatch, summary
from integrations.messaging.staff.access import Desk, changed, page, show, show_changed
from integrations.messaging.staff.forms import ColumnsForm, WriteForm
from integrations.messaging.staff.keeping import Unsent
from integrations.messaging.staff.writing import draw, edit_url, restore, to_message

BAD_SHOWN = 50
ROWS_SHOWN = 5


@page(writes=True)
@require_http_methods(["GET", "HEAD", "POST"])
def show_list(request: HttpRequest, desk: Desk, list_id: str) -> HttpResponse:
    """Pick the columns for what was written (`?unsent=`), see the report, send. Without a text: show the first rows. Only what
    was shown is sent: where the text has changed since (in another tab), the report comes again."""
    if request.method == "POST" and changed(request, desk):
        return show_changed(request, desk)
    recipient_list = RecipientList.objects.filter(pk=list_id).first()
    if recipient_list is None:
        raise Http404
    unsent_id = request.POST.get("unsent") or request.GET.get("unsent") or ""
    if not unsent_id:
        return show(request, desk, "list.html", {"list": recipient_list, "first_rows": _first_rows(recipient_list)})
    unsent, form = restore(request, desk, unsent_id)
    if unsent.list_id != recipient_list.pk:
        raise Http404
    sends = request.method == "POST" and request.POST.get("action") == "send" and request.POST.get("said") == unsent.key
    if sends and (sent := dispatch.sent_before(desk, unsent)) is not None:
        return to_message(sent)
    if not form.is_valid():
        return draw(request, desk, form, unsent.files)
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
    stale = request.method == "POST" and request.POST.get("said") != unsent.key
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
            if request.method == "POST" and request.POST.get("action") == "send" and report.good and not stale:
                return to_message(dispatch.send_to_list(desk, recipient_list, columns, draft))
        except ProviderError as error:
            problem = error.message
    context: dict[str, Any] = {
        "list": recipient_list,
        "unsent": unsent,
        "edit_url": edit_url(unsent),
        "picked": picked,
        "problem": problem,
        "stale": stale,
        "category": form.category_label,
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
    wrong = problem or not picked.is_valid()
    return show(request, desk, "list.html", context, status=400 if wrong else 409 if stale else 200)


def _first_rows(recipient_list: RecipientList) -> list[list[str]]:
    part = RecipientListPart.objects.filter(recipient_list=recipient_list).order_by("number").first()
    return [] if part is None else part.rows[:ROWS_SHOWN]
