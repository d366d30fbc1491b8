"""Pages to read: the catalogue of event types, and programs that verify our signatures."""

from __future__ import annotations

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from webhooks.outbound.event_types import TEST_EVENT
from webhooks.outbound.models import subscribes
from webhooks.outbound.portal.access import Visitor, show
from webhooks.outbound.portal.endpoints import endpoint_of, keys_of, shown
from webhooks.outbound.portal.samples import SAMPLES
from webhooks.outbound.publishing import definitions


@require_safe
def event_types(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """What may happen, by its first word; of an endpoint's own link what that one asked for."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in _all(visitor):
        groups.setdefault(each["type"].partition(".")[0], []).append(each)
    return show(request, visitor, "event_types.html", {"groups": sorted(groups.items())})


@require_safe
def event_type(request: HttpRequest, visitor: Visitor, name: str) -> HttpResponse:
    """One type: schema and example."""
    found = next((each for each in _all(visitor) if each["type"] == name), None)
    if found is None:
        raise Http404
    context = {"kind": found, "schema": _text(found["schema"]), "example": _text(found["example"])}
    return show(request, visitor, "event_type.html", context)


@require_safe
def samples(request: HttpRequest, visitor: Visitor, endpoint_id: str) -> HttpResponse:
    """Programs that verify what this endpoint is sent: its id filled in, a public key too, and no secret."""
    endpoint = endpoint_of(visitor, endpoint_id)
    keys = keys_of(endpoint) or []
    public = " ".join(each.public for each in keys if each.used and each.public)
    mixed = bool(public) and any(each.used and not each.public for each in keys)
    programs = [(each, each.text(endpoint_id=endpoint.pk, public_key=public)) for each in SAMPLES]
    context = {"endpoint": shown(visitor, endpoint), "samples": programs, "public": public, "mixed": mixed}
    return show(request, visitor, "samples.html", context)


def _all(visitor: Visitor) -> list[dict[str, Any]]:
    found = definitions.catalogue()
    if visitor.only:
        wanted = [*endpoint_of(visitor, visitor.only).events, TEST_EVENT]
        found = [each for each in found if subscribes(wanted, each["type"])]
    return sorted(found, key=lambda each: str(each["type"]))


def _text(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) if document is not None else ""  # from jsonb: no half surrogates
