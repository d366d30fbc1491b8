"""What the hostile requests could harm: tenants with every provider, payments, messages, events; and eyes on all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import connection
from django_scopes import scope

from integrations import registry
from integrations.contracts.errors import InvalidRequest
from integrations.contracts.inbound import BadSignature, InboundRequest, MalformedWebhook, WebhookAdapter
from integrations.models import Config, ExternalReference, Tenant
from tests import factories
from tests.webhooks.fuzz.bodies import documented
from tests.webhooks.fuzz.sources import Source, make_sources
from webhooks.inbound.locate import way_in

LEDGERS = frozenset(
    {
        "webhooks_inbound_receipt",
        "webhooks_inbound_rejection",
        "integrations_calllog",
        "integrations_queueitem",
        "integrations_alert",
        "integrations_ratebucket",
        "integrations_idempotencyrecord",  # signatures that were used up
    }
)
"""Where an inbound request may leave its trace: what came, what was turned away, what is to be done about it."""

GENERIC = "generic"
ORDER = (
    b'{"id":"ord_1","type":"order.created","number":"1042","status":"paid","total":{"amount":150000,"currency":"KES"},'
    b'"customer":{"name":"Jane Wanjiku","email":"jane@example.com","phone":"+254712345678"},'
    b'"items":[{"product":"print-a4","quantity":2,"image_url":"https://shop.example/1.jpg"}]}'
)
COUNTERS = ("received", "last_received_at", "rejected", "last_rejected_at")
"""Columns of a source that count its requests."""


@dataclass
class World:
    tenant: Tenant
    configs: dict[str, Config]
    payment_id: str
    sources: dict[str, Source]
    known: dict[str, list[bytes]] = field(default_factory=dict)

    def fingerprint(self, besides: frozenset[str] = frozenset()) -> dict[str, tuple[int, int]]:
        """Return rows and checksum of every table that no request may change before it is worked off, less `besides`."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_prepared_statements WHERE name = 'fingerprint'")
            if cursor.fetchone() is None:
                # Planning it takes longer than carrying it out.
                cursor.execute(f"PREPARE fingerprint AS {_fingerprint()}")
            cursor.execute("EXECUTE fingerprint")
            return {name: (rows, int(total)) for name, rows, total in cursor.fetchall() if name not in besides}


def _tables() -> list[str]:
    return sorted({model._meta.db_table for model in apps.get_models(include_auto_created=True)} - LEDGERS)


def make_world() -> World:
    """Return a tenant with an account at every provider that calls back, and all that could be moved by a forged call.

    Whatever the documented bodies refer to is known here, so that fixed paths find an owner.
    """
    tenant = factories.make_tenant("fuzzed-school")
    configs = {}
    for slug in registry.webhook_adapters():
        configs[slug] = _config(tenant, slug)
    payment = factories.make_payment(tenant, config=configs["mpesa"], provider="mpesa", status="processing", amount_captured=0)
    factories.make_message(tenant)
    factories.make_delivery(factories.make_endpoint(tenant))
    with scope(tenant=tenant):
        for config in configs.values():
            way_in(config)
        sources = make_sources(tenant)
    world = World(tenant, configs, payment.pk, sources)
    for slug, adapter in registry.webhook_adapters().items():
        world.known[slug] = documented(slug)
        _make_known(world, slug, adapter)
    world.known[GENERIC] = [*documented("stripe"), ORDER]
    return world


def _fingerprint() -> str:
    return " UNION ALL ".join(_sum_of(table) for table in _tables())


def _sum_of(table: str) -> str:
    counters = f"ARRAY[{', '.join(repr(column) for column in COUNTERS)}]"
    row = "to_jsonb(t)" if table != "webhooks_inbound_inboundendpoint" else f"to_jsonb(t) - {counters}"
    return f"SELECT '{table}', count(*), coalesce(sum(hashtextextended(({row})::text, 0)::numeric), 0) FROM {table} t"


def _config(tenant: Tenant, slug: str) -> Config:
    for account in ("school", "demo", "studio"):
        try:
            return factories.make_config(tenant, slug, account=account)
        except (AssertionError, KeyError, InvalidRequest):
            continue
    raise AssertionError(f"no demo account of {slug}")


def _make_known(world: World, slug: str, adapter: WebhookAdapter) -> None:
    for body in world.known[slug]:
        for purpose in adapter.purposes:
            try:
                locators = adapter.locate(InboundRequest("POST", purpose, {}, {}, body))
            except (MalformedWebhook, BadSignature):
                continue
            for locator in locators:
                wanted: dict[str, Any] = {
                    "tenant": world.tenant,
                    "provider": slug,
                    "kind": locator.kind,
                    "external_id": locator.external_id,
                }
                if locator.external_id and not ExternalReference.unscoped.filter(**wanted).exists():
                    ExternalReference.unscoped.create(
                        **wanted, config=world.configs[slug], object_type="payment", object_id=world.payment_id
                    )
