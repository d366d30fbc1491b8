"""The sample gateway, installed for one test."""

from __future__ import annotations

from typing import Any

import pytest

from integrations import registry
from integrations.configs import routing, selectors, wizard
from integrations.configs.services import create_config
from integrations.contracts.adapter import Registration
from integrations.models import Config, Tenant
from integrations.models import Provider as ProviderRow
from tests.configs.sample_gateway import PROVIDER, SLUG, TEST_KEY, SampleGateway


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, db: None) -> type[SampleGateway]:
    """The adapter's class; what a test sets on it is gone afterwards."""
    known, hooks = registry.providers(), registry.webhook_adapters()
    for module in (registry, selectors):
        monkeypatch.setattr(module, "providers", lambda: {**known, SLUG: PROVIDER})
    for module in (routing, wizard):
        monkeypatch.setattr(module, "webhook_adapters", lambda: {**hooks, SLUG: PROVIDER.webhook_adapter()})
    monkeypatch.setattr(SampleGateway, "answer", Registration("Registered."))
    monkeypatch.setattr(SampleGateway, "during", None)
    monkeypatch.setattr(SampleGateway, "asked", [])
    ProviderRow.objects.update_or_create(
        slug=SLUG, defaults={"name": PROVIDER.name, "categories": PROVIDER.categories, "docs_url": PROVIDER.docs_url}
    )
    return SampleGateway


def sample_config(tenant: Tenant, **fields: Any) -> Config:
    values = {"secret_key": TEST_KEY, **fields.pop("values", {})}
    return create_config(tenant=tenant, **{"provider": SLUG, "environment": "sandbox", "values": values, **fields})
