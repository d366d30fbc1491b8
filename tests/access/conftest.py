"""Clients with keys, whose rows the tests look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from integrations.models import ApiKey, Tenant
from integrations.tenancy.authentication import create_api_key

KEYS = "/api/v1/apikeys"


def bearer(value: str, ip: str = "") -> APIClient:
    """Return a client that sends this key, as if from this address."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {value}", **({"REMOTE_ADDR": ip} if ip else {}))
    return client


def codes(answer: Any) -> list[tuple[str, str | None]]:
    """Return (code, attr) of each error."""
    return [(error["code"], error["attr"]) for error in answer.json()["errors"]]


@pytest.fixture
def with_key(tenant: Tenant) -> Callable[..., tuple[APIClient, ApiKey]]:
    """`with_key(scopes=[...], ...)`: a client with a fresh key of `tenant`, and its row."""

    def make(name: str = "sis", **fields: Any) -> tuple[APIClient, ApiKey]:
        row, value = create_api_key(tenant=tenant, name=name, **fields)
        return bearer(value), row

    return make
