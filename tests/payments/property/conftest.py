"""The model gateways, registered like any provider."""

from __future__ import annotations

import pytest

from integrations import registry
from tests.payments.property.gateways import model_providers


@pytest.fixture
def model_gateways(monkeypatch: pytest.MonkeyPatch, registered: None, transactional_db: None) -> None:
    known = {**registry.providers(), **model_providers()}
    monkeypatch.setattr(registry, "providers", lambda: known)
