"""Pages about endpoints: the list, one of them, making and changing it, its keys, on and off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from integrations.contracts import clock
from integrations.contracts.errors import Conflict, InvalidRequest
from integrations.secrets import SecretUnreadable
from webhooks.outbound import signing
from webhooks.outbound.endpoints import services
from webhooks.outbound.endpoints.urls import masked_url
from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import Breaker, Delivery, DeliveryState, Endpoint, EndpointHealth, SigningKey
from webhooks.outbound.portal.access import Visitor, show, to
from webhooks.outbound.portal.forms import EndpointForm, RotateForm

LISTED = 200
LAST = 10
"""Deliveries on an endpoint's own page."""
TWICE = timedelta(minutes=1)
"""While a test of this age is on its way, pressing the button again leads to it."""
ASKING = require_http_methods(["GET", "HEAD", "POST"])


@dataclass(frozen=True, slots=True)
class Shown:
    """An endpoint as a visitor sees it: `url` hides what may be a token from those who may change nothing."""

    row: Endpoint
    url: str
    tone: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key without its secret. `until` is set once another has taken its place."""

    id: str
    scheme: str
    created: object
    until: object
    used: bool
    public: str


def endpoint_of(visitor: Visitor, endpoint_id: str) -> Endpoint:
    """Return an endpoint that this visitor may see; raise `Http404`."""
    found: Endpoint | None = (
        Endpoint.objects.select_related("health").filter(pk=endpoint_id, deleted_at__isnull=True).first()
        if visitor.only in ("", endpoint_id)
        else None
    )
    if found is None:
        raise Http404
    return found


def shown(visitor: Visitor, endpoint: Endpoint) -> Shown:
    """Return how the endpoint fares, in the words of its page."""
    tone, state, detail = _state(endpoint)
    url = endpoint.url if visitor.may_write else masked_url(endpoint.url)
    return Shown(endpoint, url, tone, state, detail)


def _state(endpoint: Endpoint) -> tuple[str, str, str]:
    if not endpoint.is_active:
        return ("failed" if endpoint.disabled_reason else "cancelled"), "off", endpoint.disabled_reason
    health: EndpointHealth | None = getattr(endpoint, "health", None)
    if health is None or (health.last_success_at is None and health.last_failure_at is None):
        return "", "waiting", "no event was sent yet, tests aside"
    now = clock.now()
    if health.paused_until is not None and health.paused_until > now:
        return "paused", "paused", "the receiver asked for a break"
    if health.breaker != Breaker.CLOSED:
        return "failed", "failing", f"{health.failures} failures in a row: tried again once in a while"
    if health.failures:
        return "partial", "failing", f"{health.failures} failure{'' if health.failures == 1 else 's'} in a row"
    return "delivered", "healthy", ""


def keys_of(endpoint: Endpoint) -> list[Key] | None:
    """Return the endpoint's keys, newest first, without their secrets; None where they can't be opened."""
    try:
        keys = endpoint.signing_keys()
    except SecretUnreadable:
        return None
    now = clock.now()
    used = {key["id"] for key in signing.in_use(keys, now)}
    return [
        Key(
            id=key["id"],
            scheme=key["scheme"],
            created=parse_datetime(key["created"]),
            until=parse_datetime(key["expires_at"]) if key["expires_at"] else None,
            used=key["id"] in used,
            public=public_key(key),
        )
        for key in keys
    ]


def public_key(key: SigningKey) -> str:
    return signing.public_key(key["secret"]) if key["scheme"] == signing.ASYMMETRIC else ""


# --- Pages ------------------------------------------------------------------------------------------------------------------


@require_safe
def listing(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """All endpoints, and how they fare."""
    rows = Endpoint.objects.select_related("health").filter(deleted_at__isnull=True)
    if visitor.only:
        rows = rows.filter(pk=visitor.only)
    found = list(rows[: LISTED + 1])
    context = {"rows": [shown(visitor, each) for each in found[:LISTED]], "more": len(found) > LISTED}
    return show(request, visitor, "endpoints.html", context)


@ASKING
def add(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Make an endpoint; its secret is shown with the answer, this once."""
    form = EndpointForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            endpoint, _secret = services.create_endpoint(tenant=visitor.tenant, **form.checked)
        except (Conflict, InvalidRequest, ValueError) as error:
            _blame(form, error)
        else:
            return _key_once(request, visitor, endpoint, endpoint.signing_keys()[0], made=True)
    return show(request, visitor, "endpoint_form.html", {"form": form}, status=400 if form.errors else 200)


@require_safe
def detail(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """One endpoint: what it is, how it fares, and what can be done."""
    endpoint = endpoint_of(visitor, endpoint_id)
    keys = keys_of(endpoint)
    context = {
        "endpoint": shown(visitor, endpoint),
        "headers": endpoint.masked_headers(),
        "keys": keys,
        "public_keys": f"{settings.PUBLIC_BASE_URL}/api/v1/webhooks/{endpoint.pk}/public-keys",
        "rotate": RotateForm(initial={"newest": keys[0].id, "scheme": keys[0].scheme} if keys else {}),
        "held": Delivery.objects.filter(endpoint=endpoint, state=DeliveryState.HELD).count() if not endpoint.is_active else 0,
        "deliveries": Delivery.objects.filter(endpoint=endpoint).select_related("event")[:LAST],
        "health": getattr(endpoint, "health", None),
    }
    if request.headers.get("HX-Request"):
        return show(request, visitor, "delivery_rows.html", context)
    return show(request, visitor, "endpoint.html", context)


@ASKING
def edit(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """Change what was written of an endpoint."""
    endpoint = endpoint_of(visitor, endpoint_id)
    if not visitor.may_write:  # the form shows the whole URL
        raise Http404
    form = EndpointForm(request.POST or None, stored=endpoint)
    if request.method == "POST" and form.is_valid():
        try:
            services.update_endpoint(endpoint_id=endpoint.pk, changes=form.checked)
        except (InvalidRequest, ValueError) as error:
            _blame(form, error)
        else:
            return to(visitor, "endpoint", endpoint.pk, done="saved")
    context = {"form": form, "endpoint": shown(visitor, endpoint)}
    return show(request, visitor, "endpoint_form.html", context, status=400 if form.errors else 200)


@require_POST
def rotate(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """Make a new signing key and show it, this once."""
    endpoint, form = endpoint_of(visitor, endpoint_id), RotateForm(request.POST)
    if not form.is_valid():
        raise InvalidRequest("Choose a kind of signature and an overlap from the lists.")
    with transaction.atomic():
        keys = keys_of(services.locked(endpoint.pk))  # pressed twice: the second one sees what the first has done
        if keys and form.cleaned_data["newest"] != keys[0].id:
            raise InvalidRequest(
                "The keys have changed since that page was opened: nothing was done. Look at them again first."
            )
        endpoint, key = services.rotate_secret(
            endpoint_id=endpoint.pk, overlap=form.overlap_time, scheme=form.cleaned_data["scheme"]
        )
    return _key_once(request, visitor, endpoint, key, made=False)


@require_POST
def switch(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """Switch an endpoint on, sending or discarding what was held, or off."""
    endpoint = endpoint_of(visitor, endpoint_id)
    on, held = request.POST.get("to") == "on", "discard" if request.POST.get("held") == "discard" else "send"
    services.update_endpoint(endpoint_id=endpoint.pk, changes={"is_active": on}, held=held)
    done = "off" if not on else "on-discarded" if held == "discard" else "on"
    return to(visitor, "endpoint", endpoint.pk, done=done)


@ASKING
def delete(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """Take an endpoint out of use for good, once it was asked for twice."""
    endpoint = endpoint_of(visitor, endpoint_id)
    if request.method == "POST":
        services.delete_endpoint(endpoint_id=endpoint.pk)
        return to(visitor, "endpoints", done="deleted")
    return show(request, visitor, "delete.html", {"endpoint": shown(visitor, endpoint)})


@require_POST
def send_test(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """Send a test event, and lead to its delivery; pressed twice, one is sent."""
    endpoint_of(visitor, endpoint_id)
    with transaction.atomic():
        endpoint = services.locked(endpoint_id)
        waiting = {"state": DeliveryState.PENDING, "event__type": TEST_EVENT, "created__gt": clock.now() - TWICE}
        delivery = Delivery.objects.filter(endpoint=endpoint, **waiting).first() or services.send_test(endpoint=endpoint)
    return to(visitor, "delivery", endpoint.pk, delivery.pk, done="test")


def _key_once(request: HttpRequest, visitor: Visitor, endpoint: Endpoint, key: SigningKey, *, made: bool) -> HttpResponse:
    """Show a new key with the answer itself: it stands in no address, no session and no log. Of an ed25519 pair the private
    half stays with us, since receivers only verify."""
    context = {
        "endpoint": shown(visitor, endpoint),
        "made": made,
        "scheme": key["scheme"],
        "value": public_key(key) or key["secret"],
        "is_public": key["scheme"] == signing.ASYMMETRIC,
    }
    return show(request, visitor, "key_once.html", context)


def _blame(form: EndpointForm, error: Exception) -> None:
    """Say what a service refused at the field that it names."""
    attr = getattr(error, "attr", None) or ""
    form.add_error(attr if attr in form.fields else None, getattr(error, "message", "") or str(error))
