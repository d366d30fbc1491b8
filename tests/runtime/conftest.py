"""A tenant with a config at the sample provider, jobs that talk to it, and items for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from integrations import registry
from integrations.contracts.provider import Provider
from integrations.models import Config, QueueItem, Tenant
from integrations.models import Provider as ProviderRow
from integrations.runtime import jobs
from integrations.runtime.queue import enqueue
from tests.factories import MovableClock
from tests.runtime.service import SLUG, Service, sample_provider
from tests.runtime.support import SECRET, SampleJob, SampleLocalJob


@pytest.fixture
def standing_clock(clock: MovableClock) -> None:
    """Everything happens at a time that the test sets."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


@pytest.fixture
def provider(service: Service, monkeypatch: pytest.MonkeyPatch, db: None) -> Callable[..., Provider]:
    """`provider(**changes)`: declare the sample provider anew, with changes; it is there without being called too."""
    known = registry.providers()

    def declare(**changes: Any) -> Provider:
        declared = sample_provider(service.url, **changes)
        monkeypatch.setattr(registry, "providers", lambda: {**known, SLUG: declared})
        return declared

    declare()
    ProviderRow.objects.get_or_create(slug=SLUG, defaults={"name": "Sample CRM", "categories": ["crm"], "is_global": True})
    return declare


def config_for(tenant: Tenant, **fields: Any) -> Config:
    config = Config(tenant=tenant, provider_id=SLUG, environment="production", values={"account": "a1"}, **fields)
    config.set_secrets({"api_key": SECRET})
    config.save()
    return config


@pytest.fixture
def config(tenant: Tenant, provider: Any) -> Config:
    return config_for(tenant)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> SampleJob:
    found = SampleJob()
    monkeypatch.setitem(jobs._jobs, found.kind, found)
    return found


@pytest.fixture
def local_job(monkeypatch: pytest.MonkeyPatch) -> SampleLocalJob:
    found = SampleLocalJob()
    monkeypatch.setitem(jobs._jobs, found.kind, found)
    return found


@pytest.fixture
def add(tenant: Tenant, config: Config, job: SampleJob, local_job: SampleLocalJob) -> Callable[..., QueueItem]:
    """`add(operation="act", **fields)`: an item of the sample job; `add(kind=..., ...)`: of another."""

    def make(operation: str = "act", *, payload: dict[str, Any] | None = None, **fields: Any) -> QueueItem:
        fields.setdefault("kind", job.kind)
        fields.setdefault("config_id", config.pk)
        return enqueue(tenant_id=tenant.pk, payload={"operation": operation, **(payload or {})}, **fields)

    return make
