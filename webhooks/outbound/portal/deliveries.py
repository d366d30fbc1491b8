"""Pages about deliveries: the list, one of them with each attempt, sending it again, and what is dead."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from integrations.contracts.ids import is_id
from webhooks.outbound.models import Delivery, DeliveryState, Endpoint
from webhooks.outbound.portal.access import Visitor, show, to
from webhooks.outbound.portal.endpoints import endpoint_of, shown
from webhooks.outbound.portal.forms import DeadLetterForm, DeliveryFilterForm
from webhooks.outbound.publishing import formats
from webhooks.outbound.recovery.resending import retry_delivery, send_again

ROWS = 50
LOOKED_AT = 10_000
"""Deliveries of an endpoint that one page with conditions looks at: no index answers them all."""
WAITING = (DeliveryState.PENDING, DeliveryState.GATHERING, DeliveryState.BATCHED)
STOP_ASKING = 286
"""The status at which htmx swaps the part in and polls no more."""
SENT_AGAIN = 100
"""Dead letters that one press of the button sends."""


@require_safe
def listing(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """What was and will be sent to an endpoint, newest first."""
    endpoint = endpoint_of(visitor, endpoint_id)
    form = DeliveryFilterForm(request.GET)
    found = Delivery.objects.filter(endpoint=endpoint).select_related("event")
    conditions: dict[str, Any] = {}
    if form.is_valid():
        asked = form.cleaned_data
        conditions = {
            "state": asked["state"],
            "event__type": asked["type"],
            "created__gte": asked["since"],
            "created__lt": asked["until"],
        }
    context = {"endpoint": shown(visitor, endpoint), "form": form, **_page(request, found, conditions)}
    template = "delivery_rows.html" if request.headers.get("HX-Request") else "deliveries.html"
    return show(request, visitor, template, context)


@require_safe
def detail(request: HttpRequest, visitor: Visitor, endpoint_id: str, delivery_id: str) -> HttpResponse:
    """One delivery: the request as sent, and each attempt with what was answered."""
    endpoint = endpoint_of(visitor, endpoint_id)
    delivery = _delivery(endpoint, delivery_id)
    body, waits = _body(delivery, endpoint), delivery.state in WAITING
    context = {
        "endpoint": shown(visitor, endpoint),
        "delivery": delivery,
        "tries": delivery.tries.order_by("-number"),
        "body": body,
        "pretty": _pretty(body),
        "passengers": delivery.passengers.select_related("event").order_by("position"),
        "waits": waits,
        "may_resend": visitor.may_write
        and endpoint.is_active
        and not delivery.in_flight()
        and delivery.state not in (DeliveryState.BATCHED, DeliveryState.HELD)
        and delivery.event.erased_at is None,
    }
    if not request.headers.get("HX-Request"):
        return show(request, visitor, "delivery.html", context)
    return show(request, visitor, "delivery_parts.html", context, status=200 if waits else STOP_ASKING)


@require_POST
def resend(request: HttpRequest, visitor: Visitor, endpoint_id: str, delivery_id: str) -> HttpResponse:
    """Send a delivery now, by the rules of `retry_delivery`."""
    endpoint = endpoint_of(visitor, endpoint_id)
    _delivery(endpoint, delivery_id)
    retry_delivery(endpoint=endpoint, delivery_id=delivery_id)
    return to(visitor, "delivery", endpoint.pk, delivery_id, done="resent")


@require_safe
def dead_letters(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """What failed for good, with the reason."""
    return _dead_letters(request, visitor)


@require_POST
def redrive(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Send chosen dead letters again; those that can't be are named with the reason."""
    chosen = [each for each in request.POST.getlist("delivery") if is_id("dlv", each)][:SENT_AGAIN]
    found = list(_dead(visitor).filter(pk__in=chosen))
    resent = send_again([each.pk for each in found], states={DeliveryState.FAILED}, whole_schedule=True, recorded_as="redriven")
    refused = [(each, resent.refused[each.pk]) for each in found if each.pk in resent.refused]
    if refused or not chosen:
        return _dead_letters(request, visitor, refused=refused, empty=not refused)
    return to(visitor, "dead_letters", done="redriven")


def _dead_letters(request: HttpRequest, visitor: Visitor, **context: Any) -> HttpResponse:
    form, found = DeadLetterForm(request.GET), _dead(visitor)
    conditions: dict[str, Any] = {}
    if form.is_valid():
        conditions = {"dead_reason": form.cleaned_data["reason"], "event__type": form.cleaned_data["type"]}
    status = 409 if context.get("refused") or context.get("empty") else 200
    page = _page(request, found, conditions)
    return show(request, visitor, "dead_letters.html", {"form": form, **page, **context}, status=status)


def _dead(visitor: Visitor) -> QuerySet[Delivery]:
    found = Delivery.objects.filter(state=DeliveryState.FAILED, endpoint__deleted_at__isnull=True)
    if visitor.only:
        found = found.filter(endpoint=visitor.only)
    return found.select_related("event", "endpoint")


def _page(request: HttpRequest, found: QuerySet[Delivery], conditions: dict[str, Any]) -> dict[str, Any]:
    """Return a page of these deliveries, newest first; `before` is the id of the last one of the page before: rows that arrive
    meanwhile move nothing. With conditions a page looks at `LOOKED_AT` deliveries, and the next one further back."""
    wanted = {name: value for name, value in conditions.items() if value}
    before = request.GET.get("before", "")
    found = found.order_by("-id")
    if is_id("dlv", before):
        found = found.filter(pk__lt=before)
    last = list(found.values_list("pk", flat=True)[LOOKED_AT - 1 : LOOKED_AT + 1]) if wanted else []
    if len(last) > 1:
        found = found.filter(pk__gte=last[0])
    rows = list(found.filter(**wanted)[: ROWS + 1])
    query = request.GET.copy()
    query.pop("done", None)
    query.pop("before", None)
    first = f"?{query.urlencode()}"
    query["before"] = rows[ROWS - 1].pk if len(rows) > ROWS else last[0] if len(last) > 1 else ""
    older = f"?{query.urlencode()}" if query["before"] else ""
    looked = LOOKED_AT if len(rows) <= ROWS and older else 0
    return {"deliveries": rows[:ROWS], "first": first, "older": older, "at_top": not before, "looked_at": looked}


def _delivery(endpoint: Endpoint, delivery_id: str) -> Delivery:
    found: Delivery | None = (
        Delivery.objects.filter(pk=delivery_id, endpoint=endpoint).select_related("event", "carrier").first()
    )
    if found is None:
        raise Http404
    return found


def _body(delivery: Delivery, endpoint: Endpoint) -> str:
    """Return the text that is sent, byte for byte; empty where the payload was erased or is not kept any more."""
    passengers = [each.event.payload for each in delivery.passengers.select_related("event").order_by("position")]
    payloads = [delivery.event.payload, *passengers]
    if not all(payloads):
        return ""
    try:
        rendered = [formats.render(each, endpoint.payload_format) for each in payloads]
    except (ValueError, KeyError):  # a payload of another shape than the format can be made of
        rendered = payloads
    return formats.batch(delivery.pk, delivery.created, rendered) if passengers else rendered[0]


def _pretty(body: str) -> str:
    try:
        return _printable(json.dumps(json.loads(body), indent=2, ensure_ascii=False)) if body else ""
    except (ValueError, RecursionError):
        return body


def _printable(text: str) -> str:
    """Half a surrogate pair, which JSON can carry escaped, has no place in a page."""
    return text.encode("utf-8", "replace").decode()
