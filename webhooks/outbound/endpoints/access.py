"""What all views of webhooks share: finding an endpoint or delivery of the request's tenant, and who may see whole URLs."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from rest_framework.request import Request

from integrations.contracts.errors import Conflict
from integrations.models import Role
from integrations.secrets import SecretUnreadable
from webhooks.outbound.models import Delivery, Endpoint, SigningKey

SCOPE = "webhooks"
ENDPOINT = r"(?P<endpoint_id>we_[0-9a-z]{26})"
DELIVERY = r"(?P<delivery_id>dlv_[0-9a-z]{26})"
REPLAY = r"(?P<replay_id>rpl_[0-9a-z]{26})"


def endpoint_or_404(endpoint_id: str) -> Endpoint:
    """Return the tenant's endpoint; raise `Http404` for one that is not there or deleted."""
    endpoint: Endpoint | None = Endpoint.objects.filter(pk=endpoint_id, deleted_at__isnull=True).first()
    if endpoint is None:
        raise Http404
    return endpoint


def deliveries_of(endpoint_id: str) -> QuerySet[Delivery]:
    return Delivery.objects.filter(endpoint=endpoint_or_404(endpoint_id)).select_related("event", "endpoint")


def delivery_or_404(endpoint_id: str, delivery_id: str) -> Delivery:
    delivery: Delivery | None = deliveries_of(endpoint_id).filter(pk=delivery_id).first()
    if delivery is None:
        raise Http404
    return delivery


def shown_to(request: Request) -> dict[str, Any]:
    """Return the context of `EndpointOutput`: whole URLs for whoever may change them, and nobody else."""
    principal = request.user
    scopes: frozenset[str] = getattr(principal, "scopes", frozenset())
    may_write = not scopes or bool(scopes & {SCOPE, f"{SCOPE}:write", "*"})
    return {"whole_urls": may_write and getattr(principal, "role", "") == Role.ADMIN}


def opened_keys(endpoint: Endpoint) -> list[SigningKey]:
    """Return the endpoint's signing keys; raise `Conflict` where they can't be opened any more."""
    try:
        return endpoint.signing_keys()
    except SecretUnreadable as error:
        raise Conflict("The endpoint's secrets can't be opened any more: rotate them.") from error
