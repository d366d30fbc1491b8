"""A key in an address is refused, whatever it is asked for, and reported: addresses stand in logs, histories and referrers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse

from integrations.contracts import clock
from integrations.models import ApiKey, AuditEntry
from integrations.runtime.alerts import raise_alert
from integrations.tenancy import audit
from integrations.tenancy.key_shape import keys_in
from integrations.tenancy.keys import find_key
from integrations.tenancy.network import address_of
from integrations.tenancy.route_names import without_ids

logger = structlog.get_logger(__name__)

ALERT = "key_in_url"
FOR_SYSTEMS = ("/api/", "/hooks/", "/webhooks/")
SEEN = "api_key.seen_in_url"
NOTED_EVERY = timedelta(hours=1)
DETAIL = (
    "An API key stands in the address of this request. Send it in the Authorization header; the one you sent is to be rotated."
)


class RefuseKeyInUrl:
    """Answers 400 (`key_in_url`) to requests with a key in path or query, pages and providers' paths included, before anything
    looks at them. Static files are nobody's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(settings.STATIC_URL):
            return self._get_response(request)
        found = keys_in(request.get_full_path())
        if not found:
            return self._get_response(request)
        for value in sorted(set(found))[:5]:
            _report(request, value)
        quiet = {"Cache-Control": "no-store"}
        if not request.path.startswith(FOR_SYSTEMS):
            return HttpResponse(DETAIL, status=400, content_type="text/plain; charset=utf-8", headers=quiet)
        error = {"code": ALERT, "detail": DETAIL, "attr": None}
        return JsonResponse({"type": "client_error", "errors": [error]}, status=400, headers=quiet)


def _report(request: HttpRequest, value: str) -> None:
    """Tell the tenant of the key that it was seen; a key that is none of ours is nobody's trouble."""
    try:
        key = find_key(value)
        if key is None:
            return
        ip = address_of(request)
        with transaction.atomic(), audit.acting(audit.Actor(f"key {key.name}", ip)):
            raise_alert(
                tenant_id=key.tenant_id,
                kind=ALERT,
                subject=key.pk,
                message=f"The API key “{key.name}” ({key.prefix}…) was sent in the address of a request"
                f"{f' from {ip}' if ip else ''}. It was refused; addresses are written to logs: rotate the key.",
            )
            _note(key, f"{request.method} {without_ids(request.path)}")
    except DatabaseError:  # the refusal holds all the same
        logger.exception("key_in_url_not_reported")


def _note(key: ApiKey, route: str) -> None:
    """Write it into the audit once an hour: a system that does it does it with each request; the alert counts them."""
    mine = AuditEntry.unscoped.filter(tenant_id=key.tenant_id, object_type="api_key", object_id=key.pk, action=SEEN)
    if not mine.filter(created__gt=clock.now() - NOTED_EVERY).exists():
        audit.record(
            tenant_id=key.tenant_id,
            action=SEEN,
            object_type="api_key",
            object_id=key.pk,
            object_name=key.name,
            changes={"request": [None, route]},
        )
