"""Pages about sending many events again: the window, the count, the start, and how far it is."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from integrations.contracts.errors import Conflict, InvalidRequest
from webhooks.outbound.event_types import is_pattern
from webhooks.outbound.models import Endpoint, Replay, ReplayState
from webhooks.outbound.portal.access import Visitor, show, to
from webhooks.outbound.portal.deliveries import STOP_ASKING
from webhooks.outbound.portal.endpoints import ASKING, endpoint_of, shown
from webhooks.outbound.portal.forms import RecoverForm
from webhooks.outbound.recovery import replays

ROWS = 20


@ASKING
def recover(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """Choose what to send again, see how many that is, then start. Starting takes the choice that was counted."""
    endpoint = endpoint_of(visitor, endpoint_id)
    form, count = RecoverForm(request.POST or None), None
    if request.method == "POST" and form.is_valid():
        asked = {name: form.cleaned_data[name] for name in ("since", "until", "mode", "types")}
        if wrong := [each for each in asked["types"] if not is_pattern(each)]:
            form.add_error("types", f"{wrong[0][:50]!r} is no event type: write one such as payment.completed or payment.*.")
        else:
            try:
                count = replays.count_replay(endpoint=endpoint, **asked)
                if request.POST.get("action") == "start":
                    started = replays.start_replay(endpoint=endpoint, requested_by=visitor.name, **asked)
                    return to(visitor, "replay", endpoint.pk, started.pk)
            except (InvalidRequest, Conflict) as error:
                form.add_error(error.attr if error.attr in form.fields else None, error.message)
    context = {
        "endpoint": shown(visitor, endpoint),
        "form": form,
        "count": count,
        "replays": Replay.objects.filter(endpoint=endpoint)[:ROWS],
    }
    return show(request, visitor, "recover.html", context, status=400 if form.errors else 200)


@require_safe
def replay(request: HttpRequest, visitor: Visitor, endpoint_id: str, replay_id: str) -> HttpResponse:
    """How far one is."""
    endpoint = endpoint_of(visitor, endpoint_id)
    found = _replay(endpoint, replay_id)
    runs = found.state == ReplayState.RUNNING
    context = {"endpoint": shown(visitor, endpoint), "replay": found, "runs": runs}
    if not request.headers.get("HX-Request"):
        return show(request, visitor, "replay.html", context)
    return show(request, visitor, "replay_parts.html", context, status=200 if runs else STOP_ASKING)


@require_POST
def cancel(request: HttpRequest, visitor: Visitor, endpoint_id: str, replay_id: str) -> HttpResponse:
    """End one that runs."""
    endpoint = endpoint_of(visitor, endpoint_id)
    _replay(endpoint, replay_id)
    replays.cancel_replay(endpoint=endpoint, replay_id=replay_id)
    return to(visitor, "replay", endpoint.pk, replay_id, done="cancelled")


def _replay(endpoint: Endpoint, replay_id: str) -> Replay:
    found: Replay | None = Replay.objects.filter(pk=replay_id, endpoint=endpoint).first()
    if found is None:
        raise Http404
    return found
