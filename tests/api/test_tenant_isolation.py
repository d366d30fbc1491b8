"""Every API route, driven by one tenant with another tenant's ids: 404, nothing shown, nothing changed.

The routes come from the URL resolver: a new route whose path carries an id fails here until it has a case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern
from rest_framework.test import APIClient

from integrations.contracts.messaging import Media
from integrations.management.samples import SampleJob
from integrations.messaging.models import Device, Message, Suppression
from integrations.models import ApiKey, ApiKeyUsage, IdempotencyRecord, Tenant
from integrations.models.base import TenantOwned
from integrations.runtime import jobs
from integrations.tenancy.authentication import create_api_key
from tests import factories
from webhooks.outbound.models import EventTypeDefinition

pytestmark = pytest.mark.django_db
METHODS = ("get", "post", "put", "patch", "delete")

NO_IDS = {"category", "provider", "step"}
"""Path parameters that name something of the installation, not a row of a tenant."""

PLACES = {"index": 0}
"""Path parameters that count within the object whose id stands before them."""

BODIES: dict[tuple[str, str], Any] = {
    ("put", "integrations/{config_id}"): {"provider": "africastalking", "type": "sms"},
    ("put", "integrations/configs/{config_id}"): {"environment": "simulator", "values": {"username": "taken-over"}},
    ("patch", "integrations/configs/{config_id}"): {"values": {"username": "taken-over"}},
    ("put", "integrations/payment-providers/{payment_provider_id}"): {"environment": "simulator", "values": {}},
    ("patch", "integrations/payment-providers/{payment_provider_id}"): {"label": "taken over"},
    ("put", "integrations/fallback-policies/{policy_id}"): {
        "name": "taken over",
        "channel": "sms",
        "steps": [{"channel": "email"}],
    },
    ("put", "integrations/templates/{template_id}"): {"channel": "sms", "name": "fee-due", "body": "taken over"},
    ("patch", "integrations/templates/{template_id}"): {"body": "taken over"},
    ("post", "integrations/templates/{template_id}/test"): {"to": "+254712345678", "data": {"amount": "KES 500"}},
    ("put", "integrations/notification-rules/{rule_id}"): {
        "name": "mine now",
        "event_type": "payment.completed",
        "channel": "sms",
        "template_name": "fee-due",
    },
    ("patch", "integrations/notification-rules/{rule_id}"): {"is_active": False},
    ("put", "integrations/recurring-messages/{recurring_id}"): {
        "name": "mine now",
        "channel": "sms",
        "request": {"to": "+254712345678", "message": "taken over"},
        "frequency": "daily",
        "at": "07:30",
    },
    ("patch", "integrations/recurring-messages/{recurring_id}"): {"is_active": False},
    ("put", "webhooks/{endpoint_id}"): {"name": "mine now", "url": "http://127.0.0.1:8999/x", "events": ["*"]},
    ("patch", "webhooks/{endpoint_id}"): {"name": "mine now"},
    ("post", "webhooks/{endpoint_id}/test"): {},
    ("put", "webhooks/{endpoint_id}/events"): {"events": ["*"]},
    ("post", "webhooks/{endpoint_id}/rotate-secret"): {"overlap_seconds": 0},
    ("post", "webhooks/{endpoint_id}/replay"): {"since": "2024-01-01T00:00:00Z", "until": "2024-01-02T00:00:00Z"},
    ("put", "integration/webhooks/{endpoint_id}"): {"name": "mine now", "url": "http://127.0.0.1:8999/x", "events": ["*"]},
    ("patch", "integration/webhooks/{endpoint_id}"): {"name": "mine now"},
    ("post", "integration/webhooks/{endpoint_id}/dispatch"): {},
    ("put", "integrations/inbound-endpoints/{inbound_endpoint_id}"): {"name": "mine now"},
    ("patch", "integrations/inbound-endpoints/{inbound_endpoint_id}"): {"name": "mine now"},
    ("post", "integrations/inbound-messages/{inbound_id}/reply"): {"text": "taken over"},
    ("post", "integrations/messages/{message_id}/settle"): {"arrived": False},
    ("post", "payments/{payment_id}/receipt"): {"channel": "sms"},
    ("post", "payments/{payment_id}/allocate"): {"reference": {"type": "invoice", "id": "INV-1"}},
}
"""What a route needs to get past its own checks of the body; others are driven with an empty one."""


@dataclass(frozen=True)
class Route:
    """A path below /api/v1/ with `{name}` for each parameter, and the methods its view has."""

    path: str
    methods: tuple[str, ...]

    @property
    def parameters(self) -> set[str]:
        return set(re.findall(r"{(\w+)}", self.path))

    def url(self, values: dict[str, Any]) -> str:
        return "/api/v1/" + self.path.format(**PLACES, **values)


def template(pattern: URLPattern) -> str:
    """Return the pattern's path with its parameters as `{name}`."""
    if isinstance(pattern.pattern, RegexPattern):
        return re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", str(pattern.pattern)).strip("^$")
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))


def walk(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from walk(entry, prefix + str(entry.pattern))
        else:
            yield prefix + template(entry), entry


def api_routes() -> list[Route]:
    found = []
    for path, pattern in walk(get_resolver()):
        view = getattr(pattern.callback, "cls", None)
        if path.startswith("api/v1/") and view is not None:
            methods = tuple(method for method in METHODS if hasattr(view, method))
            found.append(Route(path.removeprefix("api/v1/"), methods))
    return found


NO_ROWS = {"schema", "docs", "redoc", "integrations/sms/balance", "integrations/whatsapp/templates"}
"""Documents, and questions to the tenant's own provider."""

FOR_ANYBODY = {"webhooks/{endpoint_id}/public-keys"}
"""Receivers have no account here, and fetch the public keys that verify what we send them. Nothing else is in the answer."""

ROUTES = api_routes()
WITH_IDS = [route for route in ROUTES if route.parameters - NO_IDS and route.path not in FOR_ANYBODY]
LISTS = [route for route in ROUTES if not route.parameters and "get" in route.methods and route.path not in NO_ROWS]


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are fetched from the provider: here all have the same content."""
    monkeypatch.setattr("integrations.messaging.inbound.fetch_file", lambda row, index: Media("a.png", "image/png", b"a"))


@pytest.fixture
def theirs(other_tenant: Tenant) -> dict[str, Any]:
    """One object of the other tenant for each id that a path may carry."""
    jobs.register(SampleJob())
    config = factories.make_config(other_tenant, "africastalking", account="studio")
    gateway = factories.make_config(other_tenant, "mpesa", account="studio")
    endpoint = factories.make_endpoint(other_tenant)
    return {
        "config_id": config.pk,
        "payment_provider_id": gateway.pk,
        "log_id": factories.make_log(other_tenant, external_reference="their-log").pk,
        "item_id": factories.make_item(other_tenant, state="failed").pk,
        "list_id": factories.make_list(other_tenant).pk,
        "message_id": factories.make_message(other_tenant).pk,
        "template_id": factories.make_template(other_tenant).pk,
        "policy_id": factories.make_fallback_policy(other_tenant, "email").pk,
        "email_id": Message.unscoped.create(tenant=other_tenant, channel="email", provider="smtp").pk,
        "whatsapp_id": Message.unscoped.create(tenant=other_tenant, channel="whatsapp", provider="whatsapp").pk,
        "inbound_id": factories.make_inbound(other_tenant, media=[{"type": "image/png", "id": "1"}]).pk,
        "device_id": Device.unscoped.create(tenant=other_tenant, token="their-device-token", platform="android").pk,
        "suppression_id": Suppression.unscoped.create(tenant=other_tenant, address="+254700000001").pk,
        "rule_id": factories.make_notification_rule(other_tenant).pk,
        "recurring_id": factories.make_recurring_message(other_tenant).pk,
        "payment_id": factories.make_payment(other_tenant, receipt_number="2026-000001").pk,
        "setup_id": factories.make_setup(gateway).pk,
        "method_id": factories.make_payer_method(gateway).pk,
        "endpoint_id": endpoint.pk,
        "inbound_endpoint_id": factories.make_source(other_tenant)[0].pk,
        "delivery_id": factories.make_delivery(endpoint).pk,
        "replay_id": factories.make_replay(endpoint).pk,
        "event_id": factories.make_delivery(endpoint).event_id,
        "type_name": EventTypeDefinition.unscoped.create(tenant=other_tenant, name="their.own_type").name,
        "key_id": create_api_key(tenant=other_tenant, name="their key")[0].pk,
        "link_id": factories.make_portal_link(other_tenant).pk,
    }


def everything_of(tenant: Tenant) -> dict[str, list[dict[str, Any]]]:
    """Return every row of the tenant, as stored."""
    models = [model for model in apps.get_models() if issubclass(model, TenantOwned)]
    return {
        model._meta.label: list(model.unscoped.filter(tenant=tenant).order_by("pk").values())
        for model in models
        if model not in (ApiKey, ApiKeyUsage, IdempotencyRecord)
    }


def test_the_walk_finds_the_routes() -> None:
    paths = {route.path for route in ROUTES}
    assert {"health", "integrations/configs/{config_id}", "payments/{payment_id}/receipt", "webhooks/{endpoint_id}"} <= paths
    assert len(WITH_IDS) >= 15
    # The alias has the same routes; what is true of one is true of the other.
    alias = {path for path, _ in walk(get_resolver()) if path.startswith("api/") and not path.startswith("api/v1/")}
    assert {f"api/{path}" for path in paths} <= alias


def test_every_id_in_a_path_has_a_case(theirs: dict[str, Any]) -> None:
    unknown = {route.path: route.parameters - NO_IDS - theirs.keys() - PLACES.keys() for route in WITH_IDS}
    assert {path: names for path, names in unknown.items() if names} == {}
    stale = [key for key in BODIES if key[1] not in {route.path for route in ROUTES}]
    assert stale == []


@pytest.mark.parametrize("route", WITH_IDS, ids=lambda route: route.path)
def test_a_foreign_id_is_404_and_changes_nothing(
    route: Route, admin_api: APIClient, other_tenant: Tenant, theirs: dict[str, Any], api: Callable[..., APIClient]
) -> None:
    url = route.url(theirs)
    owner = api(other_tenant)
    before = everything_of(other_tenant)
    for method in route.methods:
        if method == "get":
            assert owner.get(url).status_code == 200, "the case's own object is not there: the 404 would prove nothing"
        answer = getattr(admin_api, method)(url, BODIES.get((method, route.path), {}) if method != "get" else None)
        assert answer.status_code == 404, f"{method} {url}: {answer.content[:300]!r}"
    assert everything_of(other_tenant) == before


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.path)
def test_a_list_shows_nothing_foreign(route: Route, admin_api: APIClient, other_tenant: Tenant, theirs: dict[str, Any]) -> None:
    answer = admin_api.get(route.url({}))
    assert answer.status_code == 200
    if "results" in answer.json():
        rows = answer.json()["results"]
        assert not {row.get("id") for row in rows} & set(theirs.values())
    text = answer.content.decode()
    strange = [value for value in theirs.values() if isinstance(value, str) and value in text]
    assert strange == []
    assert "their-log" not in text
    assert other_tenant.slug not in text


def test_the_owner_sees_all_of_it_in_the_lists(
    api: Callable[..., APIClient], other_tenant: Tenant, theirs: dict[str, Any]
) -> None:
    owner = api(other_tenant)
    bodies = [owner.get(route.url({})).json() for route in LISTS]
    seen = {row.get("id") for body in bodies if "results" in body for row in body["results"]}
    assert set(theirs.values()) - seen == {theirs["replay_id"], theirs["setup_id"], theirs["type_name"]}, (
        "replays are listed below their endpoint, setups are not listed, and event types have a name for an id"
    )


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("payments/refund", {"payment": "{payment_id}"}, 404),
        ("integrations/setup/africastalking/test", {"config": "{config_id}"}, 400),
        ("integrations/setup/africastalking/webhooks", {"config": "{config_id}"}, 400),
        ("integrations/setup/africastalking/activate", {"config": "{config_id}"}, 400),
        ("integrations/setup/mpesa/primary", {"config": "{payment_provider_id}"}, 400),
        ("integrations/setup/mpesa/test-transaction", {"config": "{payment_provider_id}"}, 400),
        ("integrations/setup/mpesa/credentials", {"config": "{payment_provider_id}", "values": {}}, 400),
        ("integrations/email/send", {"to": "a@x.ke", "subject": "a", "text": "a", "config": "{config_id}"}, 422),
        ("integrations/push/ack", {"message": "{message_id}", "event": "opened"}, 404),
        ("webhooks/filters/test", {"filter": {}, "event": "{event_id}"}, 400),
        ("webhooks/filters/test", {"filter": {}, "type": "{type_name}"}, 400),
        ("integrations/push/send", {"to": "c-device-token", "body": "hi", "config": "{config_id}"}, 422),
        ("integrations/sms/send", {"to": "+254712345678", "message": "hi", "config": "{config_id}"}, 422),
    ],
)
def test_a_foreign_id_in_a_body_is_refused_and_changes_nothing(
    path: str, body: dict[str, Any], status: int, admin_api: APIClient, other_tenant: Tenant, theirs: dict[str, Any]
) -> None:
    before = everything_of(other_tenant)
    given = {name: value.format(**theirs) if isinstance(value, str) else value for name, value in body.items()}
    answer = admin_api.post(f"/api/v1/{path}", given)
    assert answer.status_code == status, answer.content
    assert everything_of(other_tenant) == before


def test_a_bulk_retry_passes_over_foreign_ids(admin_api: APIClient, other_tenant: Tenant, theirs: dict[str, Any]) -> None:
    before = everything_of(other_tenant)
    answer = admin_api.post("/api/v1/integrations/queue/retry", {"ids": [theirs["item_id"]]})
    assert answer.json() == {"retried": [], "refused": [], "more": False}
    assert everything_of(other_tenant) == before
