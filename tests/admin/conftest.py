"""Two tenants with a row of everything, and browsers of people with each role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

from integrations.models import Role, Tenant
from tests import factories
from tests.admin.rows import make_rows


@dataclass(frozen=True)
class World:
    """Rows of the school (ours) and of the studio (foreign), by model label."""

    school: Tenant
    studio: Tenant
    ours: dict[str, Any]
    foreign: dict[str, Any]


@pytest.fixture
def world(tenant: Tenant, other_tenant: Tenant) -> World:
    return make_world(tenant, other_tenant)


def make_world(school: Tenant, studio: Tenant) -> World:
    return World(school, studio, make_rows(school), make_rows(studio))


@pytest.fixture
def browser_of(tenant: Tenant) -> Callable[[str], Client]:
    """`browser_of("admin")`: a logged-in client of a school member with that role; `operator`: of a superuser."""
    return lambda role: login(tenant, role)


def login(tenant: Tenant, role: str) -> Client:
    client = Client()
    if role == "operator":
        user = factories.make_user("operator", is_superuser=True)
    else:
        user = factories.make_user(f"school-{role}", tenant=tenant, role=Role(role))
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def list_url(label: str) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_changelist")


def page_url(row: Any, page: str = "change", *more: str) -> str:
    return reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_{page}", args=[quote(row.pk), *more])
