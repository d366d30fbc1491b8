"""The portal's visitors: people who have logged in, and browsers that hold a link and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django_scopes import scope

from integrations.models import Membership, Role, Tenant, User
from tests import factories
from webhooks.outbound.models import Delivery, DeliveryAttempt, DeliveryState, Endpoint, PortalLink
from webhooks.outbound.portal import links

MakeClient = Callable[..., Client]


@pytest.fixture
def logged_in(tenant: Tenant) -> MakeClient:
    """`logged_in(Role.ADMIN, tenant=...)`: the browser of a new member who has logged in; CSRF is checked as in life."""

    def make(role: str = Role.ADMIN, *, name: str = "jane", of: tuple[Tenant, ...] = (tenant,), **fields: Any) -> Client:
        user = User.objects.create_user(username=name, password=factories.PASSWORD, **fields)
        for each in of:
            Membership.unscoped.create(tenant=each, user=user, role=role)
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return make


@pytest.fixture
def endpoint(tenant: Tenant) -> Endpoint:
    return factories.make_endpoint(tenant, name="Books")


@pytest.fixture
def foreign(other_tenant: Tenant) -> Endpoint:
    """An endpoint of the other tenant."""
    return factories.make_endpoint(other_tenant, name="Foreign books")


def make_link(tenant: Tenant, **fields: Any) -> tuple[PortalLink, str]:
    """Return a link and the path that it opens."""
    with scope(tenant=tenant):
        link, token = links.create_link(tenant=tenant, created_by="key test", **fields)
    return link, f"/portal/l/{token}/"


def make_dead(endpoint: Endpoint, **fields: Any) -> Delivery:
    """Return a delivery that failed for good after one attempt."""
    delivery = factories.make_delivery(endpoint)
    now = delivery.created
    values = {"status_code": 500, "error_class": "http_status", "error": "HTTP 500", "response_head": "no <b>luck</b>"}
    DeliveryAttempt.unscoped.create(
        tenant_id=endpoint.tenant_id,
        delivery=delivery,
        number=1,
        started_at=now,
        finished_at=now,
        duration_ms=12,
        **{**values, **fields},
    )
    Delivery.unscoped.filter(pk=delivery.pk).update(
        state=DeliveryState.FAILED, attempts=1, dead_reason="exhausted", last_error="HTTP 500", finished_at=now
    )
    delivery.refresh_from_db()
    return delivery


def text_of(answer: Any) -> str:
    text: str = answer.content.decode()
    return text


def everything(tenant: Tenant) -> list[Any]:
    models = (Endpoint, Delivery, PortalLink)
    ignored = {"last_used_at"}
    rows = [row for model in models for row in model.unscoped.filter(tenant=tenant).order_by("pk").values()]
    return [{name: value for name, value in row.items() if name not in ignored} for row in rows]


def writing_pages(endpoint: Endpoint, dead: Delivery) -> list[str]:
    base = f"endpoints/{endpoint.pk}/"
    return [
        *(f"{base}{page}/" for page in ("edit", "rotate", "switch", "delete", "test", "recover")),
        f"{base}deliveries/{dead.pk}/resend/",
        "dead-letters/resend/",
        "endpoints/new/",
    ]


def reading_pages(endpoint: Endpoint, dead: Delivery) -> list[str]:
    base = f"endpoints/{endpoint.pk}/"
    return [
        "",
        base,
        *(f"{base}{page}/" for page in ("verify", "deliveries", "recover")),
        f"{base}deliveries/{dead.pk}/",
        "dead-letters/",
        "events/",
        "events/payment.completed/",
    ]
