"""What was sent: the list of messages, and one of them with its progress and each recipient's story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages as notes
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from integrations.contracts import clock
from integrations.contracts.errors import ProviderError
from integrations.contracts.messaging import MessageState
from integrations.messaging import steering
from integrations.messaging.models import Message, Recipient
from integrations.messaging.selectors import count_states, list_recipients, overall_status
from integrations.messaging.staff.access import CODES, Desk, page, show
from integrations.messaging.staff.forms import HistoryForm
from integrations.messaging.staff.keeping import is_id, new_id
from integrations.messaging.staff.summary import letter, money
from integrations.messaging.transitions import shown_address
from integrations.models import Role

PER_PAGE = 25
RECIPIENTS_PER_PAGE = 50
LAST_PAGE = 10_000
REPORTS_COME = timedelta(minutes=10)
"""How long after all has gone out the page still looks for delivery reports by itself."""
STOP_POLLING = 286
"""The status that makes htmx ask no more."""
MOVES = {"pause": steering.pause, "resume": steering.resume, "cancel": steering.cancel}
DONE = {
    "pause": "Paused: nothing more goes out until somebody resumes.",
    "resume": "It goes on.",
    "cancel": "Cancelled: what had not gone out stays here.",
}
TONES = {
    MessageState.DELIVERED: "good",
    MessageState.READ: "good",
    MessageState.FAILED: "bad",
    MessageState.BOUNCED: "bad",
    MessageState.COMPLAINED: "bad",
    MessageState.UNKNOWN: "warn",
    MessageState.EXPIRED: "warn",
    MessageState.CANCELLED: "plain",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A message in a list: its status in a word, how many recipients it has, and whether its words are hidden."""

    message: Message
    status: str
    recipients: int
    hidden: bool


def rows_of(desk: Desk, found: Sequence[Message] | QuerySet[Message]) -> list[Row]:
    """Return messages with what became of them, in one query for all."""
    shown = list(found)
    counts = count_states([each.pk for each in shown])
    return [
        Row(
            each,
            overall_status(each, counts[each.pk]),
            max(each.expected, sum(counts[each.pk].values())),
            desk.hides(each),
        )
        for each in shown
    ]


@page()
@require_safe
def messages(request: HttpRequest, desk: Desk) -> HttpResponse:
    """The tenant's messages, newest first."""
    form = HistoryForm(request.GET)
    found = _narrowed(desk, form.cleaned_data) if form.is_valid() else Message.objects.none()
    number = _page_number(request)
    some = list(found[(number - 1) * PER_PAGE : number * PER_PAGE + 1])
    narrowed = {name: value for name, value in (form.cleaned_data if form.is_valid() else {}).items() if value}
    context = {
        "form": form,
        "rows": rows_of(desk, some[:PER_PAGE]),
        "number": number,
        "older": f"?{urlencode({**narrowed, 'page': number + 1})}" if len(some) > PER_PAGE else "",
        "newer": f"?{urlencode({**narrowed, 'page': number - 1})}" if number > 1 else "",
    }
    return show(request, desk, "messages.html", context)


@page()
@require_safe
def message(request: HttpRequest, desk: Desk, message_id: str) -> HttpResponse:
    """One message: how far it is, what can be done with it, and everybody's story."""
    found = _found(message_id)
    hidden = desk.hides(found)
    context = {
        **_progress(found, desk),
        **_recipients(request, found),
        "hidden": hidden,
        "letter": "" if hidden else letter(found.html),
    }
    return show(request, desk, "message.html", context)


@page()
@require_safe
def progress(request: HttpRequest, desk: Desk, message_id: str) -> HttpResponse:
    """The part of the page that is asked for again and again. Its buttons come along only when they have changed: somebody
    may just be pressing one."""
    context = _progress(_found(message_id), desk)
    context["renew_actions"] = request.GET.get("was") != context["mark"]
    response = show(request, desk, "progress.html", context, status=200 if context["watched"] else STOP_POLLING)
    if request.GET.get("seen") != context["seen"]:
        response["HX-Trigger"] = "moved"
    return response


@page()
@require_safe
def recipients(request: HttpRequest, desk: Desk, message_id: str) -> HttpResponse:
    """The recipients alone, for the page to renew."""
    return show(request, desk, "recipients.html", _recipients(request, _found(message_id)))


@page(writes=True)
@require_POST
def steer(request: HttpRequest, desk: Desk, message_id: str, action: str) -> HttpResponse:
    """Pause, resume, cancel, or send again to those who did not get it."""
    found = _found(message_id)
    if not desk.may_send(found.channel):
        raise Http404
    try:
        if action == "resend":
            once = request.POST.get("once", "")
            key = f"staff:again:{found.pk}:{once if is_id(once) else new_id()}"
            again = steering.resend_to_failed(found, by=desk.name, key=key)
            notes.success(request, "Sent again to those who did not get it.")
            return HttpResponseRedirect(reverse("staff:message", args=[again.pk]))
        MOVES[action](found, by=desk.name)
    except ProviderError as error:
        notes.error(request, error.message)
    else:
        notes.success(request, DONE[action])
    return HttpResponseRedirect(reverse("staff:message", args=[found.pk]))


def _found(message_id: str) -> Message:
    found = Message.objects.filter(pk=message_id).select_related("tenant", "continues").first()
    if found is None:
        raise Http404
    return found


def _narrowed(desk: Desk, given: dict[str, Any]) -> QuerySet[Message]:
    rows = Message.objects.all()
    if given["channel"]:
        rows = rows.filter(channel=given["channel"])
    whose = Recipient.objects.all()
    if given["status"]:
        rows = rows.filter(pk__in=whose.filter(state=given["status"]).values("message_id"))
    text = given["text"].replace("\0", "").strip()
    if text:
        # Numbers are kept without spaces, and people write them without the country code.
        digits = text.replace(" ", "").lstrip("0+") if text.replace(" ", "").lstrip("+").isdigit() else text
        to = whose.filter(Q(address__icontains=digits) | Q(name__icontains=text)).values("message_id")
        said = Q(body__icontains=text) | Q(subject__icontains=text)
        if desk.role != Role.ADMIN:
            said &= ~Q(category=CODES)  # whoever may not read a code can't guess it either, letter by letter
        rows = rows.filter(said | Q(pk=text) | Q(pk__in=to))
    return rows


def _page_number(request: HttpRequest) -> int:
    raw = request.GET.get("page", "1")
    return min(max(int(raw), 1), LAST_PAGE) if raw.isascii() and raw.isdigit() and len(raw) < 9 else 1


def _progress(found: Message, desk: Desk) -> dict[str, Any]:
    now = steering.progress(found)
    going = not now.finished
    counts = [(state, count, TONES.get(MessageState(state), "info")) for state, count in now.counts.items() if count]
    can = {
        "pause": going and found.paused_at is None and found.cancelled_at is None,
        "resume": going and found.paused_at is not None and found.cancelled_at is None,
        "cancel": going and found.cancelled_at is None,
        "resend": bool(now.counts.get(MessageState.FAILED) or now.counts.get(MessageState.EXPIRED)),
    }
    went_at = max(found.created, found.send_at or found.created)
    waits = bool(now.counts.get(MessageState.SENT)) and clock.now() - went_at < REPORTS_COME
    actions = [name for name, possible in can.items() if possible and desk.may_send(found.channel)]
    return {
        "message": found,
        "progress": now,
        "watched": going or waits,
        "counts": counts,
        "cost": money(now.cost, now.currency) if now.cost is not None and now.currency else "",
        "actions": actions,
        "mark": "-".join((now.status, *actions)),
        "seen": ",".join(f"{state}:{count}" for state, count in sorted(now.counts.items())),
        "once": new_id(),
    }


def _recipients(request: HttpRequest, found: Message) -> dict[str, Any]:
    state = request.GET.get("state", "")
    rows = list_recipients(found)
    if state in {each.value for each in MessageState}:
        rows = rows.filter(state=state)
    else:
        state = ""
    number = _page_number(request)
    some = list(rows[(number - 1) * RECIPIENTS_PER_PAGE : number * RECIPIENTS_PER_PAGE + 1])
    query = {"state": state} if state else {}
    return {
        "message": found,
        "recipients": [(each, shown_address(each)) for each in some[:RECIPIENTS_PER_PAGE]],
        "state": state,
        "states": [each.value for each in MessageState],
        "here": f"?{urlencode({**query, 'page': number})}",
        "older": f"?{urlencode({**query, 'page': number + 1})}#recipients" if len(some) > RECIPIENTS_PER_PAGE else "",
        "newer": f"?{urlencode({**query, 'page': number - 1})}#recipients" if number > 1 else "",
    }
